#include "server/api/tfs_results.h"

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/tensor_types.h"
#include "server/api/input_check.h"
#include "server/api/tfs_codec.h"
#include "server/api/tfs_signature.h"

namespace baton::api {
namespace {

using repository::Signature;
using repository::SignatureMethod;
using AllFloats = TypeList<float, double, Float16, Bfloat16>;

constexpr char kSignatureHint[] = "a signature (\"signatures\" in config.pbtxt)";

absl::Status OutputFault(const serving::Servable& servable, size_t index, absl::string_view found,
                         absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      Describe(servable), ": output \"", servable.signature().outputs[index].name, "\" is ", found,
      ", expected ", expected, "; name another in ", kSignatureHint, ", or call Predict"));
}

std::string Found(const TensorView& output) {
  return absl::StrCat(TfTypeName(output.type), ShapeToString(output.shape));
}

bool IsFloat(DataType type) {
  return DispatchType(type, AllFloats(), [](auto) { return absl::OkStatus(); }).ok();
}

// The elements of `output` as floats. REQUIRES: a type of AllFloats.
std::vector<float> Floats(const TensorView& output) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(output.size()));
  const absl::Status known = DispatchType(output.type, AllFloats(), [&](auto tag) -> absl::Status {
    for (const auto& value : output.values<typename decltype(tag)::type>()) {
      values.push_back(ConvertElement<float>(value));
    }
    return absl::OkStatus();
  });
  BATON_CHECK_MSG(known.ok(), known.ToString());
  return values;
}

// How many columns `output` has that is one row for each example; -1: it is not. A single
// example's row may come without the first dimension.
int64_t Columns(const TensorView& output, int64_t examples) {
  if (output.shape.size() == 2 && output.shape[0] == examples) return output.shape[1];
  if (output.shape.size() == 1 && examples == 1) return output.shape[0];
  return -1;
}

}  // namespace

absl::StatusOr<ResultOutputs> FindResults(const Signature* signature, SignatureMethod method,
                                          const serving::Servable& servable) {
  ResultOutputs out;
  Signature own;
  own.method = method;
  if (signature == nullptr) signature = &own;
  if (!signature->classes.empty()) out.classes = OutputIndex(servable, signature->classes);
  if (out.classes.has_value() && signature->scores.empty()) return out;

  std::vector<std::string> names;
  for (const engine::ValueInfo& info : servable.signature().outputs) names.push_back(info.name);
  const absl::StatusOr<size_t> index = MainOutput(*signature, names);
  if (!index.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        Describe(servable), ": ", index.status().message(), "; do it in ", kSignatureHint));
  }
  const engine::ValueInfo& info = servable.signature().outputs[*index];
  if (!IsFloat(info.type)) {
    return OutputFault(servable, *index, Describe(info, &TfTypeName), "DT_FLOAT");
  }
  out.values = *index;
  if (signature != &own && !signature->labels.empty()) {
    out.labels = &signature->labels;
  } else if (const auto& labels = servable.config().class_labels; labels.contains(info.name)) {
    out.labels = &labels.at(info.name);
  }
  return out;
}

absl::Status MakeClassification(const ResultOutputs& from, const serving::Servable& servable,
                                int64_t examples, absl::Span<const TensorView> outputs,
                                tensorflow::serving::ClassificationResult& result) {
  absl::Span<const std::string> names;
  std::vector<float> scores;
  int64_t columns = -1;
  if (from.classes.has_value()) {
    const TensorView& classes = outputs[*from.classes];
    columns = Columns(classes, examples);
    if (classes.type != DataType::kString || columns < 0) {
      return OutputFault(servable, *from.classes, Found(classes),
                         absl::StrCat("DT_STRING[", examples, ",classes]"));
    }
    names = classes.values<std::string>();
  }
  if (from.values.has_value()) {
    const TensorView& values = outputs[*from.values];
    const int64_t found = Columns(values, examples);
    if (found < 0 || (from.classes.has_value() && found != columns)) {
      return OutputFault(
          servable, *from.values, Found(values),
          absl::StrCat("scores of [", examples, ",",
                       from.classes.has_value() ? absl::StrCat(columns) : "classes", "]"));
    }
    columns = found;
    scores = Floats(values);
  }
  for (int64_t example = 0; example < examples; ++example) {
    auto& added = *result.add_classifications();
    for (int64_t c = 0; c < columns; ++c) {
      const auto at = static_cast<size_t>(example * columns + c);
      auto& one = *added.add_classes();
      if (!scores.empty()) one.set_score(scores[at]);
      if (!names.empty()) {
        one.set_label(names[at]);
      } else if (from.labels != nullptr && static_cast<size_t>(c) < from.labels->size()) {
        one.set_label((*from.labels)[static_cast<size_t>(c)]);
      } else {
        one.set_label(absl::StrCat(c));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status MakeRegression(const ResultOutputs& from, const serving::Servable& servable,
                            int64_t examples, absl::Span<const TensorView> outputs,
                            tensorflow::serving::RegressionResult& result) {
  const TensorView& output = outputs[*from.values];
  const bool fits = output.shape.size() <= 1 || (output.shape.size() == 2 && output.shape[1] == 1);
  if (!fits || output.size() != examples) {
    return OutputFault(
        servable, *from.values, Found(output),
        absl::StrCat("one value for each example, [", examples, "] or [", examples, ",1]"));
  }
  for (const float value : Floats(output)) result.add_regressions()->set_value(value);
  return absl::OkStatus();
}

}  // namespace baton::api
