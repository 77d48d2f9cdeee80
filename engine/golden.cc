#include "engine/golden.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "engine/tensor_io.h"

namespace baton::engine {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kSamplePrefix = "test_data_set_";

// Numbers in names count as numbers, so that test_data_set_10 comes after test_data_set_9.
bool NaturallyLess(const std::string& a, const std::string& b) {
  return std::make_pair(a.size(), absl::string_view(a)) <
         std::make_pair(b.size(), absl::string_view(b));
}

// The files `<prefix><k>.pb` of a directory, by k.
absl::StatusOr<std::vector<std::pair<int, std::string>>> NumberedFiles(const std::string& directory,
                                                                       absl::string_view prefix) {
  std::vector<std::pair<int, std::string>> files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    absl::string_view number = name;
    int k = 0;
    if (absl::ConsumePrefix(&number, prefix) && absl::ConsumeSuffix(&number, ".pb") &&
        absl::SimpleAtoi(number, &k) && k >= 0) {
      files.emplace_back(k, it->path().string());
    }
  }
  if (error) {
    return absl::InternalError(absl::StrCat("read directory ", directory, ": ", error.message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The tensors for `values`, in their order: each file by its tensor's name, else by its number.
absl::StatusOr<std::vector<Tensor>> ReadTensors(const std::string& directory,
                                                absl::string_view prefix,
                                                const std::vector<ValueInfo>& values) {
  ASSIGN_OR_RETURN(const auto files, NumberedFiles(directory, prefix));
  std::vector<std::optional<Tensor>> found(values.size());
  for (const auto& [number, path] : files) {
    ASSIGN_OR_RETURN(NamedTensor named, ReadTensorProtoFile(path));
    const auto it = std::find_if(values.begin(), values.end(),
                                 [&](const ValueInfo& v) { return v.name == named.name; });
    const size_t index =
        it != values.end() ? static_cast<size_t>(it - values.begin()) : static_cast<size_t>(number);
    if (index >= values.size()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", named.name,
                                                     "\" belongs to nothing; the model has ",
                                                     values.size(), " ", prefix, "s"));
    }
    if (found[index].has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": a second tensor for \"", values[index].name, "\""));
    }
    found[index] = std::move(named.tensor);
  }
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!found[i].has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(directory, ": no file for \"", values[i].name,
                                                     "\"; expected ", prefix, i, ".pb, or another ",
                                                     prefix, "*.pb whose tensor has that name"));
    }
    tensors.push_back(*std::move(found[i]));
  }
  return tensors;
}

template <typename T>
std::string Print(const TensorView& tensor, size_t index) {
  const T value = tensor.values<T>()[index];
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
    return absl::StrCat(value.ToFloat());
  } else if constexpr (std::is_same_v<T, std::string>) {
    return absl::StrCat("\"", value, "\"");
  } else if constexpr (std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t>) {
    return absl::StrCat(static_cast<int>(value));
  } else {
    return absl::StrCat(value);
  }
}

std::string PrintElement(const TensorView& tensor, int64_t flat_index) {
  const size_t index = static_cast<size_t>(flat_index);
  switch (tensor.type) {
    case DataType::kFloat:
      return Print<float>(tensor, index);
    case DataType::kDouble:
      return Print<double>(tensor, index);
    case DataType::kFloat16:
      return Print<Float16>(tensor, index);
    case DataType::kBfloat16:
      return Print<Bfloat16>(tensor, index);
    case DataType::kInt8:
      return Print<int8_t>(tensor, index);
    case DataType::kUint8:
      return Print<uint8_t>(tensor, index);
    case DataType::kInt16:
      return Print<int16_t>(tensor, index);
    case DataType::kUint16:
      return Print<uint16_t>(tensor, index);
    case DataType::kInt32:
      return Print<int32_t>(tensor, index);
    case DataType::kUint32:
      return Print<uint32_t>(tensor, index);
    case DataType::kInt64:
      return Print<int64_t>(tensor, index);
    case DataType::kUint64:
      return Print<uint64_t>(tensor, index);
    case DataType::kBool:
      return Print<bool>(tensor, index);
    case DataType::kString:
      return Print<std::string>(tensor, index);
    case DataType::kUndefined:
      break;
  }
  return "?";
}

// "[1,3]" for the element at `flat_index`.
std::string PrintIndex(const Shape& shape, int64_t flat_index) {
  Shape index(shape.size());
  for (size_t d = shape.size(); d > 0; --d) {
    index[d - 1] = flat_index % shape[d - 1];
    flat_index /= shape[d - 1];
  }
  return ShapeToString(index);
}

}  // namespace

absl::StatusOr<std::vector<GoldenSample>> ReadGoldenSamples(const std::string& directory,
                                                            const Signature& signature) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (absl::StartsWith(name, kSamplePrefix) && it->is_directory(ignored)) names.push_back(name);
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat("read directory ", directory, ": ", error.message()));
  }
  std::sort(names.begin(), names.end(), NaturallyLess);

  std::vector<GoldenSample> samples;
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(directory, "/", name);
    GoldenSample sample{.name = name, .inputs = {}, .outputs = {}};
    ASSIGN_OR_RETURN(sample.inputs, ReadTensors(path, "input_", signature.inputs));
    ASSIGN_OR_RETURN(sample.outputs, ReadTensors(path, "output_", signature.outputs));
    samples.push_back(std::move(sample));
  }
  return samples;
}

absl::Status RunGoldenSample(const Model& model, Session& session, const GoldenSample& sample,
                             const Tolerance& tolerance, int threads, GoldenResult* result) {
  const std::string context = absl::StrCat("golden sample \"", sample.name, "\"");
  std::vector<Shape> shapes;
  std::vector<TensorView> views;
  for (const Tensor& input : sample.inputs) {
    shapes.push_back(input.shape());
    views.push_back(input.view());
  }
  const auto plan = model.GetPlan(shapes, threads);
  if (!plan.ok()) return Annotate(plan.status(), context);
  const auto outputs = session.Run(**plan, views);
  if (!outputs.ok()) return Annotate(outputs.status(), context);

  absl::Status status;
  for (size_t i = 0; i < sample.outputs.size(); ++i) {
    const std::string where =
        absl::StrCat(context, ": output \"", model.signature().outputs[i].name, "\"");
    const TensorView actual = (*outputs)[i], expected = sample.outputs[i].view();
    const auto difference = Compare(actual, expected, tolerance.rtol, tolerance.atol);
    if (!difference.ok()) {
      status.Update(
          absl::FailedPreconditionError(absl::StrCat(where, ": ", difference.status().message())));
      continue;
    }
    if (result != nullptr) {
      result->max_abs_error = std::max(result->max_abs_error, difference->max_abs);
      result->max_rel_error = std::max(result->max_rel_error, difference->max_rel);
    }
    if (difference->within) continue;
    status.Update(absl::FailedPreconditionError(
        absl::StrCat(where, ": element ", PrintIndex(expected.shape, difference->first_bad), " is ",
                     PrintElement(actual, difference->first_bad), ", expected ",
                     PrintElement(expected, difference->first_bad), " within rtol ", tolerance.rtol,
                     ", atol ", tolerance.atol, "; largest error ", difference->max_abs,
                     " (relative ", difference->max_rel, ")")));
  }
  return status;
}

absl::StatusOr<std::shared_ptr<const Model>> LoadAuto(
    const std::function<absl::StatusOr<std::shared_ptr<const Model>>(Precision)>& load,
    const std::function<absl::Status(const Model&)>& check) {
  absl::StatusOr<std::shared_ptr<const Model>> lower = load(Precision::kBf16);
  if (lower.ok() && check(**lower).ok()) return lower;
  return load(Precision::kF32);
}

}  // namespace baton::engine
