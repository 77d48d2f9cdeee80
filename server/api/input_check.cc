#include "server/api/input_check.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/nearest_word.h"
#include "engine/base/status.h"

namespace baton::api {
namespace {

// For inputs whose rank the model leaves open; NumPy's own bound.
constexpr size_t kMostDims = 64;

// A name that a caller sent, safe to print and of bounded length.
std::string Quoted(absl::string_view name) {
  constexpr size_t kLongest = 100;
  const bool cut = name.size() > kLongest;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kLongest)), cut ? "…" : "", "\"");
}

// As ShapeToString, for shapes that nobody has checked yet.
std::string PrintShape(absl::Span<const int64_t> shape) {
  constexpr size_t kMost = 16;
  return absl::StrCat("[", absl::StrJoin(shape.subspan(0, kMost), ","),
                      shape.size() > kMost ? ",…" : "", "]");
}

std::string DidYouMean(absl::string_view name, const std::vector<engine::ValueInfo>& known) {
  const std::string nearest = NearestName(name, known);
  return nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?");
}

std::string ListOf(const std::vector<engine::ValueInfo>& infos, TypeNamer type_name) {
  return absl::StrJoin(infos, ", ", [&](std::string* out, const engine::ValueInfo& info) {
    absl::StrAppend(out, "\"", info.name, "\"");
    if (type_name != nullptr) absl::StrAppend(out, " ", Describe(info, type_name));
  });
}

}  // namespace

std::string Describe(const engine::ValueInfo& info, TypeNamer type_name) {
  if (!info.has_rank) return absl::StrCat(type_name(info.type), " of any shape");
  return absl::StrCat(type_name(info.type), "[",
                      absl::StrJoin(info.dims, ",",
                                    [](std::string* out, const engine::Dim& dim) {
                                      if (dim.value >= 0) {
                                        absl::StrAppend(out, dim.value);
                                      } else {
                                        absl::StrAppend(out, "?");
                                      }
                                    }),
                      "]");
}

std::string Describe(const serving::Servable& servable) {
  return absl::StrCat("model \"", servable.model(), "\" version ", servable.version());
}

std::string NearestName(absl::string_view name, const std::vector<engine::ValueInfo>& known) {
  std::vector<std::string> names;
  for (const engine::ValueInfo& info : known) names.push_back(info.name);
  return NearestWord(name, names, /*least_distance=*/2);
}

absl::Status UnknownOutput(const serving::Servable& servable, absl::string_view name) {
  return UnknownOutput(servable, name, servable.signature().outputs);
}

absl::Status UnknownOutput(const serving::Servable& servable, absl::string_view name,
                           const std::vector<engine::ValueInfo>& known) {
  return absl::InvalidArgumentError(absl::StrCat(Describe(servable), ": no output named ",
                                                 Quoted(name), DidYouMean(name, known),
                                                 " Its outputs: ", ListOf(known, nullptr)));
}

absl::Status InputCheck::Names(absl::Span<const absl::string_view> sent,
                               const std::vector<bool>& optional) const {
  const std::vector<engine::ValueInfo>& inputs = inputs_;
  const auto fault = [&](const std::string& text) {
    return absl::InvalidArgumentError(
        absl::StrCat(Describe(servable_), ": ", text, " Its inputs: ", ListOf(inputs, type_name_)));
  };
  for (size_t i = 0; i < sent.size(); ++i) {
    const bool known = std::any_of(inputs.begin(), inputs.end(),
                                   [&](const auto& info) { return info.name == sent[i]; });
    if (!known) {
      return fault(absl::StrCat("no input named ", Quoted(sent[i]), DidYouMean(sent[i], inputs)));
    }
    // Unknown names return above, so at most inputs.size() names come before a repetition.
    if (std::find(sent.begin(), sent.begin() + i, sent[i]) != sent.begin() + i) {
      return fault(absl::StrCat("input ", Quoted(sent[i]), " was sent twice."));
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const engine::ValueInfo& info = inputs[i];
    if (!optional.empty() && optional[i]) continue;
    if (std::find(sent.begin(), sent.end(), info.name) == sent.end()) {
      return fault(absl::StrCat("input \"", info.name, "\" is missing; sent: ",
                                sent.empty() ? "none" : absl::StrJoin(sent, ", "), "."));
    }
  }
  return absl::OkStatus();
}

absl::Status InputCheck::Fault(size_t index, absl::string_view fault) const {
  const engine::ValueInfo& info = inputs_[index];
  return absl::InvalidArgumentError(absl::StrCat(Describe(servable_), ": input \"", info.name,
                                                 "\" (", Describe(info, type_name_), "): ", fault));
}

absl::Status InputCheck::ShapeFault(size_t index, absl::string_view sent_type,
                                    absl::Span<const int64_t> shape,
                                    absl::string_view fault) const {
  const engine::ValueInfo& info = inputs_[index];
  return absl::InvalidArgumentError(
      absl::StrCat(Describe(servable_), ": input \"", info.name, "\": sent ", sent_type,
                   PrintShape(shape), ", expected ", Describe(info, type_name_), ": ", fault));
}

absl::StatusOr<int64_t> InputCheck::Input(size_t index, DataType type, absl::string_view sent_type,
                                          absl::Span<const int64_t> shape) {
  const engine::ValueInfo& info = inputs_[index];
  const auto fault = [&](absl::string_view text) {
    return ShapeFault(index, sent_type, shape, text);
  };
  if (type != info.type) return fault("wrong data type");
  if (shape.size() > kMostDims) {
    return fault(absl::StrCat("rank is ", shape.size(), ", at most ", kMostDims, " is allowed"));
  }
  const absl::StatusOr<int64_t> elements = CheckedNumElements(shape);
  if (!elements.ok()) return fault(elements.status().message());
  const bool batched = servable_.max_batch_size() > 0;
  if (info.has_rank) {
    if (shape.size() != info.dims.size()) {
      const bool row_alone = batched && shape.size() + 1 == info.dims.size();
      return fault(absl::StrCat("rank is ", shape.size(), ", must be ", info.dims.size(),
                                row_alone ? "; send one row with a first dimension of 1" : ""));
    }
    for (size_t d = 0; d < shape.size(); ++d) {
      if (info.dims[d].value >= 0 && shape[d] != info.dims[d].value) {
        return fault(
            absl::StrCat("dimension ", d, " is ", shape[d], ", must be ", info.dims[d].value));
      }
    }
  }
  if (batched) {
    if (shape.empty()) return fault("a batch dimension is missing");
    const int64_t rows = shape[0];
    if (rows == 0) return fault("the batch is empty; send at least one row");
    if (rows > servable_.max_batch_size()) {
      return fault(absl::StrCat("the batch has ", rows, " rows, at most ",
                                servable_.max_batch_size(), " are allowed; send it in parts"));
    }
    if (rows_ >= 0 && rows != rows_) {
      return fault(absl::StrCat("the batch has ", rows, " rows, but input \"",
                                inputs_[rows_from_].name, "\" has ", rows_));
    }
    rows_ = rows;
    rows_from_ = index;
  }
  const size_t bytes = static_cast<size_t>(*elements) * DataTypeSize(type);  // fits: both checked
  if (bytes > max_tensor_bytes_) {
    return fault(absl::StrCat("that is ", bytes, " bytes, at most ", max_tensor_bytes_,
                              " are allowed (--max_message_mb)"));
  }
  return *elements;
}

absl::Status InputCheck::StringBytes(size_t index, size_t bytes) const {
  if (bytes <= max_tensor_bytes_) return absl::OkStatus();
  return Fault(index, absl::StrCat("its strings take ", bytes, " bytes, at most ",
                                   max_tensor_bytes_, " are allowed (--max_message_mb)"));
}

absl::Status InputCheck::Bytes(size_t index, size_t sent, size_t expected) const {
  if (sent == expected) return absl::OkStatus();
  return Fault(index, absl::StrCat("sent ", sent, " bytes of data, its shape needs ", expected));
}

}  // namespace baton::api
