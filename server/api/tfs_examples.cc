#include "server/api/tfs_examples.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/nearest_word.h"
#include "engine/base/status.h"
#include "server/api/row_values.h"
#include "server/api/tfs_codec.h"
#include "server/api/tfs_signature.h"

namespace baton::api {
namespace {

using tensorflow::Example;
using tensorflow::Feature;
using Features = google::protobuf::Map<std::string, Feature>;

// One request's examples on their way to tensors.
class ExampleDecoder {
 public:
  ExampleDecoder(const tensorflow::serving::Input& input, const repository::Signature* signature,
                 const serving::Servable& servable, size_t max_tensor_bytes)
      : signature_(signature),
        servable_(servable),
        check_(servable, &TfTypeName, max_tensor_bytes) {
    const google::protobuf::RepeatedPtrField<Example>* examples = &input.example_list().examples();
    if (input.has_example_list_with_context()) {
      examples = &input.example_list_with_context().examples();
      context_ = &input.example_list_with_context().context().features().feature();
    }
    for (const Example& example : *examples) examples_.push_back(&example.features().feature());
  }

  absl::StatusOr<DecodedInputs> Decode() {
    if (examples_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Describe(servable_),
                       ": input has no examples; send at least one in example_list or "
                       "example_list_with_context"));
    }
    const std::vector<engine::ValueInfo>& infos = servable_.signature().inputs;
    DecodedInputs out;
    for (size_t i = 0; i < infos.size(); ++i) {
      ASSIGN_OR_RETURN(Tensor tensor, DecodeInput(i));
      out.views.push_back(tensor.view());
      out.copies.push_back(std::move(tensor));
    }
    out.rows = check_.rows();
    return out;
  }

 private:
  int64_t examples() const { return static_cast<int64_t>(examples_.size()); }

  const std::string& FeatureOf(const engine::ValueInfo& info) const {
    if (signature_ == nullptr) return info.name;
    const auto named = signature_->inputs.find(info.name);
    return named == signature_->inputs.end() ? info.name : named->second.source;
  }

  // Null if neither the example nor the context has it.
  const Feature* Find(size_t example, const std::string& name) const {
    for (const Features* features : {examples_[example], context_}) {
      if (features == nullptr) continue;
      const auto found = features->find(name);
      if (found == features->end() || found->second.kind_case() == Feature::KIND_NOT_SET) continue;
      return &found->second;
    }
    return nullptr;
  }

  absl::Status Fault(size_t index, size_t example, const std::string& feature,
                     absl::string_view fault) const {
    return check_.Fault(index,
                        absl::StrCat("example ", example, ": feature \"", feature, "\" ", fault));
  }

  absl::Status Missing(size_t index, size_t example, const std::string& feature) const {
    std::vector<std::string> sent;
    constexpr size_t kMost = 1000;
    for (const auto& [name, value] : *examples_[example]) {
      const bool has_values = value.kind_case() != Feature::KIND_NOT_SET;
      if (has_values && sent.size() < kMost) sent.push_back(name);
    }
    std::sort(sent.begin(), sent.end());
    const std::string nearest = NearestWord(feature, sent);
    return Fault(index, example, feature,
                 nearest.empty() ? "is missing; send it, or give it a default in the signature"
                                 : absl::StrCat("is missing; the example has \"",
                                                absl::CHexEscape(nearest), "\""));
  }

  // The shape of input `index` for all examples.
  absl::StatusOr<Shape> ShapeOf(size_t index) const {
    const engine::ValueInfo& info = servable_.signature().inputs[index];
    if (!info.has_rank) {
      return check_.Fault(index, "the model leaves its shape open; send tensors with Predict");
    }
    Shape shape;
    for (const engine::Dim& dim : info.dims) shape.push_back(dim.value);
    if (!shape.empty() && shape[0] == -1) shape[0] = examples();
    const bool by_row = !shape.empty() && shape[0] == examples();
    if (!by_row && examples() != 1) {
      return check_.Fault(index, absl::StrCat("sent ", examples(),
                                              " examples, but the model has no batch dimension of "
                                              "any size; send one"));
    }
    const auto open = std::count(shape.begin(), shape.end(), -1);
    if (open == 0) return shape;
    if (open > 1) {
      return check_.Fault(index,
                          "more than one dimension of a row is open; send tensors with Predict");
    }
    // What is not given follows from how many values there are.
    Shape row;
    for (size_t d = by_row ? 1 : 0; d < shape.size(); ++d) {
      if (shape[d] != -1) row.push_back(shape[d]);
    }
    ASSIGN_OR_RETURN(const int64_t known, CheckedNumElements(row));
    const std::string& name = FeatureOf(info);
    const Feature* first = Find(0, name);
    if (first == nullptr) return Missing(index, 0, name);
    const int64_t values = FeatureSize(*first, info.type);
    if (known == 0 || values == 0 || values % known != 0) {
      return Fault(index, 0, name,
                   absl::StrCat("has ", values, " values, expected a multiple of ", known));
    }
    std::replace(shape.begin(), shape.end(), int64_t{-1}, values / known);
    return shape;
  }

  absl::StatusOr<Tensor> DecodeInput(size_t index) {
    const engine::ValueInfo& info = servable_.signature().inputs[index];
    ASSIGN_OR_RETURN(Shape shape, ShapeOf(index));
    ASSIGN_OR_RETURN(const int64_t elements,
                     check_.Input(index, info.type, TfTypeName(info.type), shape));
    const std::string& name = FeatureOf(info);
    const repository::DefaultValues* missing = DefaultOf(signature_, info.name);
    const int64_t row = elements / examples();
    Tensor tensor(info.type, std::move(shape));
    for (size_t example = 0; example < examples_.size(); ++example) {
      const int64_t at = static_cast<int64_t>(example) * row;
      const Feature* feature = Find(example, name);
      if (feature == nullptr && missing == nullptr) return Missing(index, example, name);
      const absl::Status put = feature != nullptr ? PutFeature(*feature, tensor, at, row)
                                                  : PutDefault(*missing, tensor, at, row);
      if (!put.ok()) return Fault(index, example, name, put.message());
    }
    return tensor;
  }

  const repository::Signature* const signature_;
  const serving::Servable& servable_;
  InputCheck check_;
  std::vector<const Features*> examples_;
  const Features* context_ = nullptr;
};

}  // namespace

int64_t CountExamples(const tensorflow::serving::Input& input) {
  return input.has_example_list_with_context() ? input.example_list_with_context().examples_size()
                                               : input.example_list().examples_size();
}

absl::StatusOr<DecodedInputs> DecodeExamples(const tensorflow::serving::Input& input,
                                             const repository::Signature* signature,
                                             const serving::Servable& servable,
                                             size_t max_tensor_bytes) {
  return ExampleDecoder(input, signature, servable, max_tensor_bytes).Decode();
}

}  // namespace baton::api
