#include "server/serving/padding.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <set>
#include <type_traits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/tensor_types.h"
#include "server/serving/padded_copy.h"
#include "server/serving/warm_up.h"

namespace baton::serving {
namespace {

using Mode = repository::LengthOptions::Mode;

// Lengths for trying whether a model takes padding, where there are no buckets to tell them. Not
// shorter, so that a mask that is made up has an element that counts.
constexpr int64_t kTrialLengths[] = {5, 11, 23, 90, 300};

// `text` as one element; false if it is none.
template <typename T>
bool ParseElement(const std::string& text, T& element) {
  if constexpr (std::is_same_v<T, bool>) {
    return absl::SimpleAtob(text, &element);
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return absl::SimpleAtoi(text, &element);
  } else if constexpr (std::is_integral_v<T>) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < std::numeric_limits<T>::lowest() ||
        value > static_cast<int64_t>(std::numeric_limits<T>::max())) {
      return false;
    }
    element = static_cast<T>(value);
    return true;
  } else {
    double value = 0;
    if (!absl::SimpleAtod(text, &value)) return false;
    element = ConvertElement<T>(value);
    return true;
  }
}

// Nothing if `text` is no value of this type.
std::optional<Tensor> ParsePadValue(DataType type, const std::string& text) {
  Tensor value(type, {});
  if (type == DataType::kString) {
    value.mutable_values<std::string>()[0] = text;
    return value;
  }
  bool parsed = false;
  DispatchType(type, AllFixed(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    parsed = ParseElement(text, value.mutable_values<T>()[0]);
    return absl::OkStatus();
  }).IgnoreError();
  if (!parsed) return std::nullopt;
  return value;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Padding>> Padding::Make(
    const repository::LengthOptions& options, const engine::Signature& signature) {
  if (!LooksBatchable(signature)) {
    return absl::FailedPreconditionError(
        "the model's inputs and outputs do not all have a batch dimension of any size in front");
  }
  std::shared_ptr<Padding> padding(new Padding(options, signature));
  RETURN_IF_ERROR(padding->FindLengths());
  RETURN_IF_ERROR(padding->ReadPadValues());
  return padding;
}

absl::Status Padding::FindLengths() {
  std::set<std::string> batch, open;
  for (const engine::ValueInfo& input : signature_.inputs) batch.insert(input.dims[0].symbol);
  for (size_t i = 0; i < signature_.inputs.size(); ++i) {
    const std::vector<engine::Dim>& dims = signature_.inputs[i].dims;
    open_.push_back(static_cast<int64_t>(dims.size()) - 1);
    for (size_t axis = 1; axis < dims.size(); ++axis) {
      open_.push_back(dims[axis].value);
      const std::string& name = dims[axis].symbol;
      if (dims[axis].value >= 0 || (!name.empty() && batch.contains(name))) continue;
      open.insert(name);
      const auto& wanted = options_.dims;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) {
        continue;
      }
      const auto same = std::find_if(lengths_.begin(), lengths_.end(), [&](const Length& length) {
        return !name.empty() && length.name == name;
      });
      lengths_.push_back(
          {i, axis, open_.size() - 1, static_cast<size_t>(same - lengths_.begin()), name});
    }
  }
  open.erase("");
  for (const std::string& name : options_.dims) {
    if (open.contains(name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "parameters[length_dims] names \"", name, "\"; the model's inputs leave open, by name: ",
        open.empty() ? "nothing" : absl::StrJoin(open, ", ")));
  }
  if (lengths_.empty()) {
    return absl::FailedPreconditionError("no input has a dimension of any size but the batch's");
  }
  for (const engine::ValueInfo& output : signature_.outputs) {
    std::vector<OutputLength>& cuts = outputs_.emplace_back();
    for (size_t axis = 1; axis < output.dims.size(); ++axis) {
      const engine::Dim& dim = output.dims[axis];
      if (dim.value >= 0 || dim.symbol.empty()) continue;
      for (size_t l = 0; l < lengths_.size(); ++l) {
        if (lengths_[l].first == l && lengths_[l].name == dim.symbol) cuts.push_back({axis, l});
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Padding::ReadPadValues() {
  for (size_t i = 0; i < signature_.inputs.size(); ++i) {
    const engine::ValueInfo& input = signature_.inputs[i];
    const auto given = options_.pad_values.find(input.name);
    if (given == options_.pad_values.end()) {
      // A new tensor is 0, or the empty string.
      pad_.push_back(options_.pad_with_first_element ? Tensor() : Tensor(input.type, {}));
      continue;
    }
    std::optional<Tensor> value = ParsePadValue(input.type, given->second);
    if (!value) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameters[pad_value.", input.name, "] is \"", given->second,
                       "\"; expected a value of the input's type, ", DataTypeName(input.type)));
    }
    pad_.push_back(*std::move(value));
  }
  for (const auto& given : options_.pad_values) {
    const bool padded = std::any_of(lengths_.begin(), lengths_.end(), [&](const Length& length) {
      return signature_.inputs[length.input].name == given.first;
    });
    if (padded) continue;
    return absl::InvalidArgumentError(absl::StrCat("parameters[pad_value.", given.first,
                                                   "]: the model has no input of this name that "
                                                   "is padded"));
  }
  return absl::OkStatus();
}

int64_t Padding::Round(int64_t length) const {
  if (length < 1) return length;
  if (options_.mode == Mode::kPowersOfTwo) {
    return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(length)));
  }
  const auto bucket = std::lower_bound(options_.buckets.begin(), options_.buckets.end(), length);
  return bucket == options_.buckets.end() ? length : *bucket;
}

bool Padding::IsConsistent(const ShapeKey& key) const {
  if (key.size() != open_.size()) return false;
  for (size_t i = 0; i < key.size(); ++i) {
    if (open_[i] >= 0 && open_[i] != key[i]) return false;
  }
  return std::all_of(lengths_.begin(), lengths_.end(), [&](const Length& length) {
    return key[length.at] == key[lengths_[length.first].at];
  });
}

ShapeKey Padding::KeyOf(absl::Span<const TensorView> inputs) const {
  ShapeKey key = MakeShapeKey(inputs, /*batched=*/true);
  if (joins_lengths() || !IsConsistent(key)) return key;
  for (const Length& length : lengths_) key[length.at] = Round(key[length.at]);
  return key;
}

std::optional<ShapeKey> Padding::Join(const ShapeKey& a, const ShapeKey& b) const {
  if (a.size() != open_.size() || b.size() != open_.size()) return std::nullopt;
  ShapeKey joint = a;
  for (const Length& length : lengths_) {
    const int64_t other = b[length.at];
    if (other != joint[length.at] && std::min(other, joint[length.at]) < 1) return std::nullopt;
    joint[length.at] = std::max(other, joint[length.at]);
  }
  // What is left must be equal.
  auto length = lengths_.begin();
  for (size_t i = 0; i < b.size(); ++i) {
    if (length != lengths_.end() && length->at == i) {
      ++length;
    } else if (b[i] != joint[i]) {
      return std::nullopt;
    }
  }
  return joint;
}

void Padding::WriteInput(size_t index, const TensorView& rows, absl::Span<const int64_t> shape,
                         void* to) const {
  CopyPadded(rows, shape, pad_[index].empty() ? rows.data : pad_[index].data(), to);
}

std::vector<Tensor> Padding::PadInputs(absl::Span<const TensorView> inputs,
                                       const ShapeKey& key) const {
  std::vector<Shape> shapes = ShapesOf(key, inputs[0].shape[0], /*batched=*/true);
  std::vector<Tensor> padded;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Tensor& tensor = padded.emplace_back(inputs[i].type, std::move(shapes[i]));
    WriteInput(i, inputs[i], tensor.shape(), tensor.mutable_data());
  }
  return padded;
}

absl::Status Padding::CutOutput(size_t index, absl::Span<const TensorView> inputs,
                                absl::Span<const Shape> plan_shapes, TensorView& output,
                                std::vector<Tensor>& copies) const {
  Shape own = output.shape;
  for (const OutputLength& cut : outputs_[index]) {
    const Length& length = lengths_[cut.length];
    const int64_t padded = plan_shapes[length.input][length.axis];
    if (cut.axis >= own.size() || own[cut.axis] != padded) {
      return absl::InternalError(absl::StrCat(
          "output \"", signature_.outputs[index].name, "\" has shape ", ShapeToString(output.shape),
          ", and not ", padded, " as \"", length.name,
          "\", as its input; name its dimension otherwise, or leave length_buckets out"));
    }
    own[cut.axis] = inputs[length.input].shape[length.axis];
  }
  if (own == output.shape) return absl::OkStatus();
  // The first bytes, if only the slowest dimension that is not 1 has changed.
  const auto [cut, padded] = std::mismatch(own.begin(), own.end(), output.shape.begin());
  const bool at_front = std::all_of(own.begin(), cut, [](int64_t d) { return d == 1; }) &&
                        std::equal(cut + 1, own.end(), padded + 1);
  if (!at_front) {
    Tensor& copy = copies.emplace_back(output.type, own);
    CopyPadded(output, own, nullptr, copy.mutable_data());
    output.data = copy.data();
  }
  output.shape = std::move(own);
  return absl::OkStatus();
}

ShapeKey Padding::KeyFor(int64_t length) const {
  ShapeKey key = open_;
  std::replace_if(
      key.begin(), key.end(), [](int64_t d) { return d < 0; }, length);
  return key;
}

std::vector<ShapeKey> Padding::BucketKeys() const {
  const auto open = std::count_if(open_.begin(), open_.end(), [](int64_t d) { return d < 0; });
  std::vector<ShapeKey> keys;
  if (static_cast<size_t>(open) != lengths_.size()) return keys;
  for (const int64_t bucket : options_.buckets) keys.push_back(KeyFor(bucket));
  return keys;
}

std::optional<ShapeKey> Padding::Longer(const ShapeKey& key) const {
  ShapeKey longer = key;
  for (const Length& length : lengths_) {
    int64_t& size = longer[length.at];
    const bool is_longest = options_.mode == Mode::kBuckets && size >= options_.buckets.back();
    if (!is_longest) size = joins_lengths() ? size + size / 2 + 1 : Round(size + 1);
  }
  if (longer == key) return std::nullopt;
  return longer;
}

std::vector<std::pair<ShapeKey, ShapeKey>> Padding::Trials() const {
  std::vector<int64_t> lengths(std::begin(kTrialLengths), std::end(kTrialLengths));
  if (options_.mode == Mode::kBuckets) {
    // Something that is padded to the shortest, and to the longest.
    const std::vector<int64_t>& buckets = options_.buckets;
    const int64_t shortest = buckets.front(), longest = buckets.back();
    const int64_t before = buckets.size() > 1 ? buckets[buckets.size() - 2] : 0;
    lengths = {shortest - shortest / 3, std::max(before + 1, longest - longest / 2)};
  }
  std::vector<std::pair<ShapeKey, ShapeKey>> trials;
  for (const int64_t length : lengths) {
    ShapeKey key = KeyFor(length);
    if (std::optional<ShapeKey> longer = Longer(key)) {
      trials.emplace_back(std::move(key), *std::move(longer));
    }
  }
  return trials;
}

}  // namespace baton::serving
