#include "server/serving/warm_up_samples.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/random_tensor.h"
#include "server/repository/scan.h"
#include "server/serving/byte_strings.h"
#include "server/serving/warm_up.h"

namespace baton::serving {
namespace {

using repository::WarmUpInput;
using repository::WarmUpSample;

// Of one input in memory: a size that was mistyped must not take the machine's.
constexpr int64_t kMostBytes = int64_t{1} << 30;

// One sample on its way.
class SampleRun {
 public:
  SampleRun(const WarmUpSample& sample, const std::string& model_directory, Servable& servable,
            std::vector<std::string>& warnings)
      : sample_(sample),
        model_directory_(model_directory),
        servable_(servable),
        warnings_(warnings) {}

  absl::Status Run() {
    if (sample_.batch_size == 0 && HasBatchDimension()) {
      Warn("it is passed over, since its batch_size is 0; expected 1 or more");
      return absl::OkStatus();
    }
    if (sample_.batch_size > 1 && !HasBatchDimension()) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch_size is ", sample_.batch_size,
                       ", but the model has no batch dimension; expected 1"));
    }
    RETURN_IF_ERROR(CheckNames());
    std::vector<Tensor> inputs;
    for (const engine::ValueInfo& info : servable_.signature().inputs) {
      absl::StatusOr<Tensor> input = MakeInput(sample_.inputs.at(info.name), info);
      if (!input.ok()) {
        return Annotate(input.status(), absl::StrCat("input \"", info.name, "\""));
      }
      inputs.push_back(*std::move(input));
    }
    for (int64_t i = 0; i < sample_.count; ++i) RETURN_IF_ERROR(RunOnce(inputs));
    return absl::OkStatus();
  }

 private:
  // Whether requests have one, whether or not they are run together.
  bool HasBatchDimension() const {
    const std::optional<int64_t>& configured = servable_.config().max_batch_size;
    return configured.has_value() ? *configured > 0 : LooksBatchable(servable_.signature());
  }

  void Warn(absl::string_view text) {
    warnings_.push_back(absl::StrCat("model_warmup \"", sample_.name, "\": ", text));
  }

  absl::Status CheckNames() const {
    std::vector<std::string> names;
    for (const engine::ValueInfo& info : servable_.signature().inputs) names.push_back(info.name);
    for (const auto& [name, input] : sample_.inputs) {
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      return absl::InvalidArgumentError(absl::StrCat("the model has no input \"", name,
                                                     "\"; it has \"",
                                                     absl::StrJoin(names, "\", \""), "\""));
    }
    for (const std::string& name : names) {
      if (sample_.inputs.contains(name)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("input \"", name, "\" is missing; a sample has all inputs of the model"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Tensor> MakeInput(const WarmUpInput& input, const engine::ValueInfo& info) {
    if (input.type != info.type) {
      return absl::InvalidArgumentError(
          absl::StrCat("it is ", DataTypeName(input.type), ShapeToString(input.dims),
                       " in the sample; the model has ", ToString(info)));
    }
    const Shape row(input.dims.begin(), input.dims.end());
    Shape whole = row;
    if (HasBatchDimension()) whole.insert(whole.begin(), sample_.batch_size);
    ASSIGN_OR_RETURN(const int64_t elements, CheckedNumElements(whole));
    if (elements > kMostBytes / static_cast<int64_t>(DataTypeSize(input.type))) {
      return absl::InvalidArgumentError(absl::StrCat(DataTypeName(input.type), ShapeToString(whole),
                                                     " is more than ", kMostBytes, " bytes"));
    }
    Tensor tensor(input.type, whole);
    if (input.data == WarmUpInput::Data::kZero) return tensor;
    Tensor first(input.type, row);
    if (input.data == WarmUpInput::Data::kRandom) {
      FillRandom(first, random_);
    } else {
      ASSIGN_OR_RETURN(first, ReadData(input, row));
    }
    Repeat(first, tensor);
    return tensor;
  }

  absl::StatusOr<Tensor> ReadData(const WarmUpInput& input, const Shape& shape) {
    // In two steps, so that the directory may be no link that leaves the model's either.
    ASSIGN_OR_RETURN(const std::string directory,
                     ResolveInside(model_directory_, repository::kWarmUpDirectory));
    ASSIGN_OR_RETURN(const std::string path, ResolveInside(directory, input.file));
    ASSIGN_OR_RETURN(const std::string raw, ReadFile(path));
    if (input.type == DataType::kString) {
      absl::StatusOr<Tensor> strings = ParseByteStrings(raw, shape);
      if (!strings.ok()) return Annotate(strings.status(), path);
      return strings;
    }
    Tensor tensor(input.type, shape);
    const auto sizes = [&] {
      return absl::StrCat(path, " has ", raw.size(), " bytes, ", DataTypeName(input.type),
                          ShapeToString(shape), " takes ", tensor.bytes());
    };
    if (raw.size() < tensor.bytes()) return absl::InvalidArgumentError(sizes());
    if (raw.size() > tensor.bytes()) Warn(absl::StrCat(sizes(), "; the first of them are used"));
    std::memcpy(tensor.mutable_data(), raw.data(), tensor.bytes());
    return tensor;
  }

  // Fills `to` with `row`, over and over.
  static void Repeat(const Tensor& row, Tensor& to) {
    const int64_t times = to.size() / row.size();
    for (int64_t i = 0; i < times; ++i) {
      if (row.type() == DataType::kString) {
        const auto values = row.values<std::string>();
        std::copy(values.begin(), values.end(),
                  to.mutable_values<std::string>().begin() + i * row.size());
      } else {
        std::memcpy(static_cast<char*>(to.mutable_data()) + row.bytes() * i, row.data(),
                    row.bytes());
      }
    }
  }

  absl::Status RunOnce(const std::vector<Tensor>& inputs) {
    absl::Status outcome;
    Task task;
    for (const Tensor& input : inputs) task.inputs.push_back(input.view());
    if (servable_.max_batch_size() > 0) task.rows = sample_.batch_size;
    task.done = [&outcome](const absl::Status& status, absl::Span<const TensorView>,
                           const PhaseTimes&) { outcome = status; };
    RETURN_IF_ERROR(servable_.Submit(std::move(task)));
    return outcome;
  }

  const WarmUpSample& sample_;
  const std::string& model_directory_;
  Servable& servable_;
  std::vector<std::string>& warnings_;
  std::mt19937 random_;
};

}  // namespace

absl::Status RunWarmUpSamples(const std::string& model_directory, Servable& servable,
                              std::vector<std::string>& warnings) {
  for (const WarmUpSample& sample : servable.config().warm_ups) {
    RETURN_IF_ERROR(Annotate(SampleRun(sample, model_directory, servable, warnings).Run(),
                             absl::StrCat("model_warmup \"", sample.name, "\"")));
  }
  return absl::OkStatus();
}

}  // namespace baton::serving
