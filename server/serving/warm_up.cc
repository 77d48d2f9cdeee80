#include "server/serving/warm_up.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/serving/padding_check.h"

namespace baton::serving {
namespace {

constexpr int kRepeats = 3;              // timed runs of a plan; the fastest counts
constexpr double kLongRun = 0.02;        // seconds: what starts cold does not matter any more
constexpr double kWorthBatching = 0.95;  // a larger batch must cost this much less for each row
constexpr double kWorthThreads = 0.8;    // all cores must be this much faster than one,
// unless it takes so many seconds: other loads and requests may have some of the cores now, and
// what pays is found out in service.
constexpr double kJudgedLater = 1e-3;
constexpr int kSizesWithoutGain = 2;  // larger sizes are not tried then
// Rows run together must give what they give alone, but for the order of additions.
constexpr double kRowRtol = 1e-3;
constexpr double kRowAtol = 1e-4;
// Made-up sizes of free dimensions, for finding out whether rows are independent.
constexpr int64_t kTrialSizes[] = {16, 64, 224};

// A value for made-up input: small, so that it is a valid index, and different for each row.
double MadeUp(int64_t row, int64_t i) { return static_cast<double>((row * 7 + i * 3) % 5) / 4; }

template <typename T>
void FillRow(Tensor& tensor, int64_t begin, int64_t end, int64_t row) {
  const absl::Span<T> values = tensor.mutable_values<T>();
  for (int64_t i = begin; i < end; ++i) {
    const double value = MadeUp(row, i - begin);
    if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
      values[static_cast<size_t>(i)] = T::From(static_cast<float>(value));
    } else {
      values[static_cast<size_t>(i)] = static_cast<T>(value);  // integers: 0 or 1
    }
  }
}

void FillRow(Tensor& tensor, int64_t begin, int64_t end, int64_t row) {
  switch (tensor.type()) {
    case DataType::kFloat:
      return FillRow<float>(tensor, begin, end, row);
    case DataType::kDouble:
      return FillRow<double>(tensor, begin, end, row);
    case DataType::kFloat16:
      return FillRow<Float16>(tensor, begin, end, row);
    case DataType::kBfloat16:
      return FillRow<Bfloat16>(tensor, begin, end, row);
    case DataType::kBool:
      return FillRow<bool>(tensor, begin, end, row);
    case DataType::kInt8:
      return FillRow<int8_t>(tensor, begin, end, row);
    case DataType::kUint8:
      return FillRow<uint8_t>(tensor, begin, end, row);
    case DataType::kInt16:
      return FillRow<int16_t>(tensor, begin, end, row);
    case DataType::kUint16:
      return FillRow<uint16_t>(tensor, begin, end, row);
    case DataType::kInt32:
      return FillRow<int32_t>(tensor, begin, end, row);
    case DataType::kUint32:
      return FillRow<uint32_t>(tensor, begin, end, row);
    case DataType::kInt64:
      return FillRow<int64_t>(tensor, begin, end, row);
    case DataType::kUint64:
      return FillRow<uint64_t>(tensor, begin, end, row);
    case DataType::kString:
    case DataType::kUndefined:
      return;  // empty strings
  }
}

std::vector<TensorView> ViewsOf(const std::vector<Tensor>& inputs) {
  std::vector<TensorView> views;
  for (const Tensor& input : inputs) views.push_back(input.view());
  return views;
}

ShapeKey KeyOf(const std::vector<Tensor>& inputs, bool batched) {
  return MakeShapeKey(ViewsOf(inputs), batched);
}

// The key that the signature allows, with `size` for each free dimension; nothing if there is a
// free one and no `size`, or an input without rank.
std::optional<ShapeKey> KeyOf(const engine::Signature& signature, bool batched,
                              std::optional<int64_t> size) {
  std::vector<TensorView> views;
  for (const engine::ValueInfo& info : signature.inputs) {
    if (!info.has_rank) return std::nullopt;
    TensorView view;
    for (size_t i = 0; i < info.dims.size(); ++i) {
      int64_t dim = info.dims[i].value;
      if (dim < 0 && i == 0) dim = 1;  // most likely a batch
      if (dim < 0 && !size) return std::nullopt;
      view.shape.push_back(dim < 0 ? *size : dim);
    }
    views.push_back(std::move(view));
  }
  return MakeShapeKey(views, batched);
}

class WarmingModel {
 public:
  WarmingModel(const engine::Model& model, const std::vector<engine::GoldenSample>& samples,
               const WarmUpOptions& options, Executor& executor, const Clock& clock)
      : model_(model), samples_(samples), options_(options), executor_(executor), clock_(clock) {}

  absl::StatusOr<WarmUpResult> Run() {
    result_.batched = options_.batching && LooksBatchable(model_.signature());
    if (result_.batched) {
      if (const absl::Status independent = CheckRowsIndependent(); !independent.ok()) {
        result_.warnings.push_back(
            absl::StrCat("requests are not batched: ", independent.message()));
        result_.batched = false;
      }
    }
    if (options_.padding != nullptr) TryPadding();
    measured_.largest_rows = result_.batched ? options_.max_batch_rows : 1;
    measured_.best_rows = measured_.largest_rows;
    const std::vector<ShapeKey> keys = OwnKeys();
    for (const ShapeKey& key : keys) {
      RETURN_IF_ERROR(key == keys.front() ? MeasureSizes(key) : Compile(key, {1}));
    }
    if (result_.padding != nullptr) CompileBuckets(/*measure=*/keys.empty());
    for (const auto& [key, sizes] : options_.sizes) {
      // Another version may have had other inputs: what cannot be compiled is not needed.
      if (const absl::Status status = Compile(key, sizes, /*run=*/false); !status.ok()) {
        BATON_LOG(Info) << "shape of the version before is not warmed up: " << status.message();
      }
    }
    for (auto& [key, entries] : entries_) {
      result_.plans[key] = std::make_shared<const PlanSet>(std::move(entries));
    }
    return std::move(result_);
  }

 private:
  std::vector<ShapeKey> OwnKeys() const {
    std::vector<ShapeKey> keys;
    for (const engine::GoldenSample& sample : samples_) {
      ShapeKey key = KeyOf(sample.inputs, result_.batched);
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
    }
    if (keys.empty()) {
      if (auto key = KeyOf(model_.signature(), result_.batched, std::nullopt)) {
        keys.push_back(*std::move(key));
      }
    }
    return keys;
  }

  // Inputs of `rows` rows: rows of a sample of this shape, over and over, else made up.
  std::vector<Tensor> MakeInputs(const ShapeKey& key, int64_t rows) const {
    const auto same_shape = [&](const engine::GoldenSample& s) {
      return KeyOf(s.inputs, result_.batched) == key;
    };
    const auto sample = std::find_if(samples_.begin(), samples_.end(), same_shape);
    if (sample != samples_.end() && !result_.batched) return sample->inputs;
    const std::vector<Shape> shapes = ShapesOf(key, rows, result_.batched);
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < shapes.size(); ++i) {
      Tensor input(model_.signature().inputs[i].type, shapes[i]);
      const int64_t stride = rows > 0 ? input.size() / rows : 0;
      for (int64_t row = 0; row < rows && stride > 0; ++row) {
        const bool from_sample = sample != samples_.end() && sample->inputs[i].size() >= stride;
        if (!from_sample || input.type() == DataType::kString) {
          FillRow(input, row * stride, (row + 1) * stride, row);
          continue;
        }
        const Tensor& source = sample->inputs[i];
        const size_t row_bytes = static_cast<size_t>(stride) * DataTypeSize(input.type());
        const int64_t from = row % (source.size() / stride);
        std::memcpy(static_cast<char*>(input.mutable_data()) + row_bytes * row,
                    static_cast<const char*>(source.data()) + row_bytes * from, row_bytes);
      }
      inputs.push_back(std::move(input));
    }
    return inputs;
  }

  absl::StatusOr<std::vector<Tensor>> RunOnce(const engine::Plan& plan,
                                              const std::vector<TensorView>& inputs) {
    const SteadyTime start = clock_.Now();
    const auto outputs = executor_.Run(plan, inputs);
    result_.run_seconds += Seconds(clock_.Now() - start);
    RETURN_IF_ERROR(outputs.status());
    std::vector<Tensor> copies;
    for (const TensorView& output : *outputs) copies.push_back(Tensor::Copy(output));
    return copies;
  }

  absl::StatusOr<PlanSet::Entry> CompileTimed(const ShapeKey& key, int64_t rows, int threads) {
    const SteadyTime start = clock_.Now();
    auto entry = CompileEntry(model_, key, rows, result_.batched, threads);
    result_.compile_seconds += Seconds(clock_.Now() - start);
    return entry;
  }

  // OK if two rows run together give what each gives alone.
  absl::Status CheckRowsIndependent() {
    std::optional<ShapeKey> key;
    absl::StatusOr<PlanSet::Entry> one = absl::UnknownError("its inputs have no rank");
    if (const std::vector<ShapeKey> keys = OwnKeys(); !keys.empty()) {
      key = keys.front();
      one = CompileTimed(*key, 1, 1);
    } else {
      for (const int64_t size : kTrialSizes) {
        key = KeyOf(model_.signature(), true, size);
        if (key) one = CompileTimed(*key, 1, 1);
        if (one.ok()) break;
      }
    }
    RETURN_IF_ERROR(Annotate(one.status(), "one row"));
    absl::StatusOr<PlanSet::Entry> two = CompileTimed(*key, 2, 1);
    RETURN_IF_ERROR(Annotate(two.status(), "two rows together"));

    const std::vector<Tensor> inputs = MakeInputs(*key, 2);
    std::vector<std::vector<Tensor>> alone;
    for (int64_t row = 0; row < 2; ++row) {
      ASSIGN_OR_RETURN(auto outputs, RunOnce(*one->plan, Rows(inputs, row, 1)));
      alone.push_back(std::move(outputs));
    }
    ASSIGN_OR_RETURN(const std::vector<Tensor> together, RunOnce(*two->plan, Rows(inputs, 0, 2)));
    for (size_t i = 0; i < together.size(); ++i) {
      const std::string name = absl::StrCat("output \"", model_.signature().outputs[i].name, "\"");
      const Tensor& both = together[i];
      if (both.shape().empty() || both.shape()[0] != 2) {
        return absl::FailedPreconditionError(absl::StrCat(
            name, " has shape ", ShapeToString(both.shape()), " for two rows, not 2 rows"));
      }
      for (int64_t row = 0; row < 2; ++row) {
        const std::vector<TensorView> view = Rows({both}, row, 1);
        ASSIGN_OR_RETURN(
            const TensorDifference difference,
            Compare(view.front(), alone[static_cast<size_t>(row)][i].view(), kRowRtol, kRowAtol));
        if (!difference.within) {
          return absl::FailedPreconditionError(
              absl::StrCat(name, " of a row depends on the other rows of its batch (off by ",
                           difference.max_abs, ")"));
        }
      }
    }
    return absl::OkStatus();
  }

  void TryPadding() {
    const SteadyTime start = clock_.Now();
    const auto make_row = [this](const ShapeKey& key) {
      // The third is one that does not begin with 0, which as a pad value would hide what it does.
      const std::vector<Tensor> rows = MakeInputs(key, 3);
      std::vector<Tensor> row;
      for (const TensorView& view : Rows(rows, 2, 1)) row.push_back(Tensor::Copy(view));
      return row;
    };
    result_.padding_refused = result_.batched
                                  ? CheckPadding(model_, *options_.padding, samples_, make_row,
                                                 {kRowRtol, kRowAtol}, executor_)
                                  : absl::FailedPreconditionError("its requests are not batched");
    result_.compile_seconds += Seconds(clock_.Now() - start);  // most of it
    if (!result_.padding_refused.ok()) return;
    result_.padding = options_.padding;
    // From now on samples are as requests run.
    for (engine::GoldenSample& sample : samples_) {
      const std::vector<TensorView> views = Rows(sample.inputs, 0, sample.inputs[0].shape()[0]);
      sample.inputs = result_.padding->PadInputs(views, result_.padding->KeyOf(views));
    }
  }

  // Plans for the buckets, as far as the budget goes: each for one row, then more and more rows;
  // the others come when they are asked for. `measure`: nothing else tells what a batch costs; a
  // bucket in the middle does.
  void CompileBuckets(bool measure) {
    std::vector<ShapeKey> keys = result_.padding->BucketKeys();
    const double limit = result_.compile_seconds + options_.budget_seconds;
    const auto works = [](const absl::Status& status) {
      if (!status.ok()) {
        BATON_LOG(Info) << "a bucket of lengths is not warmed up: " << status.message();
      }
      return status.ok();
    };
    if (measure && !keys.empty() && !works(MeasureSizes(keys[keys.size() / 2]))) return;
    for (int64_t rows = 1; rows <= measured_.best_rows; rows *= 2) {
      for (size_t i = 0; i < keys.size();) {
        if (result_.compile_seconds > limit) return;
        if (works(Compile(keys[i], {rows}))) {
          ++i;
        } else {
          keys.erase(keys.begin() + static_cast<std::ptrdiff_t>(i));
        }
      }
    }
  }

  // Views of rows [begin, begin+rows) of tensors that have a first dimension.
  static std::vector<TensorView> Rows(const std::vector<Tensor>& tensors, int64_t begin,
                                      int64_t rows) {
    std::vector<TensorView> views;
    for (const Tensor& tensor : tensors) {
      TensorView view = tensor.view();
      const int64_t total = view.shape[0];
      view.data = static_cast<const char*>(view.data) +
                  (total > 0 ? tensor.bytes() / static_cast<size_t>(total) : 0) *
                      static_cast<size_t>(begin);
      view.shape[0] = rows;
      views.push_back(std::move(view));
    }
    return views;
  }

  // Seconds of the fastest of a few runs; nothing if the plan rejects made-up input.
  absl::StatusOr<std::optional<double>> Measure(const engine::Plan& plan,
                                                const std::vector<Tensor>& inputs) {
    const std::vector<TensorView> views = ViewsOf(inputs);
    std::optional<double> fastest;
    for (int i = 0, runs = kRepeats + 1; i < runs; ++i) {  // the first warms caches and arena
      const SteadyTime start = clock_.Now();
      const auto outputs = executor_.Run(plan, views);
      const double seconds = Seconds(clock_.Now() - start);
      result_.run_seconds += seconds;
      if (!outputs.ok()) {
        if (samples_.empty() && absl::IsInvalidArgument(outputs.status())) return std::nullopt;
        return outputs.status();
      }
      runs = Runs(seconds);
      if (i > 0 || seconds >= kLongRun) fastest = std::min(fastest.value_or(seconds), seconds);
    }
    return fastest;
  }

  // How often to run what takes so long.
  int Runs(double seconds) const {
    if (seconds < kLongRun) return kRepeats + 1;
    return seconds * 2 > options_.budget_seconds ? 1 : 2;
  }

  // Takes over what the version before found out; false if that does not hold for this one.
  absl::StatusOr<bool> TakeOver(const ShapeKey& key) {
    const std::optional<Measured>& before = options_.before;
    if (!before || before->costs.empty() || before->structure != model_.structure() ||
        before->key != key || before->max_batch_rows != options_.max_batch_rows ||
        before->parallel_threads != options_.parallel_threads) {
      return false;
    }
    for (const auto& [rows, seconds] : before->costs) {
      ASSIGN_OR_RETURN(PlanSet::Entry entry, CompileTimed(key, rows, before->ThreadsAlone()));
      if (rows == 1) {
        const std::vector<Tensor> inputs = MakeInputs(key, rows);
        RETURN_IF_ERROR(Try(*entry.plan, inputs));
        if (entry.parallel != nullptr) RETURN_IF_ERROR(Try(*entry.parallel, inputs));
      }
      entries_[key].push_back(std::move(entry));
    }
    measured_ = *before;
    return true;
  }

  // Compiles 1, 2, 4 … rows as long as larger batches are cheaper for each row.
  absl::Status MeasureSizes(const ShapeKey& key) {
    ASSIGN_OR_RETURN(const bool known, TakeOver(key));
    if (known) return absl::OkStatus();
    measured_.structure = model_.structure();
    measured_.key = key;
    measured_.max_batch_rows = options_.max_batch_rows;
    measured_.parallel_threads = options_.parallel_threads;
    const int64_t most = result_.batched ? options_.max_batch_rows : 1;
    double best_per_row = 0;
    int without_gain = 0;
    for (int64_t rows = 1; rows <= most; rows *= 2) {
      ASSIGN_OR_RETURN(PlanSet::Entry entry, CompileTimed(key, rows,
                                                          rows == 1 ? options_.parallel_threads
                                                                    : measured_.ThreadsAlone()));
      const std::vector<Tensor> inputs = MakeInputs(key, rows);
      ASSIGN_OR_RETURN(const std::optional<double> seconds, Measure(*entry.plan, inputs));
      if (entry.parallel != nullptr) {
        ASSIGN_OR_RETURN(const std::optional<double> parallel, Measure(*entry.parallel, inputs));
        if (rows == 1) {
          const bool keep = seconds && parallel &&
                            (*parallel < kWorthThreads * *seconds || *seconds >= kJudgedLater);
          measured_.parallel_seconds = keep ? *parallel : 0;
          if (!keep) entry.parallel = nullptr;
        }
      }
      entries_[key].push_back(std::move(entry));
      measured_.largest_rows = rows * 2 > most ? most : rows;
      if (!seconds) break;
      measured_.costs.emplace_back(rows, *seconds);
      const double per_row = *seconds / static_cast<double>(rows);
      if (rows == 1 || per_row < kWorthBatching * best_per_row) {
        best_per_row = per_row;
        measured_.best_rows = rows;
        without_gain = 0;
      } else if (++without_gain >= kSizesWithoutGain) {
        break;
      }
      // The next size takes about twice as long.
      const double next = *seconds * 2;
      if (result_.run_seconds + next * Runs(next) > options_.budget_seconds) break;
    }
    return absl::OkStatus();
  }

  // Compiles sizes that are not there yet; `run`: runs each once.
  absl::Status Compile(const ShapeKey& key, std::vector<int64_t> sizes, bool run = true) {
    sizes.push_back(1);
    std::sort(sizes.begin(), sizes.end());
    std::vector<PlanSet::Entry> entries;
    if (const auto found = entries_.find(key); found != entries_.end()) entries = found->second;
    for (const int64_t rows : sizes) {
      const auto has_size = [rows](const PlanSet::Entry& e) { return e.rows == rows; };
      if (std::any_of(entries.begin(), entries.end(), has_size)) continue;
      if (!result_.batched && rows != 1) continue;
      ASSIGN_OR_RETURN(PlanSet::Entry entry, CompileTimed(key, rows, measured_.ThreadsAlone()));
      if (run) RETURN_IF_ERROR(Try(*entry.plan, MakeInputs(key, rows)));
      entries.push_back(std::move(entry));
    }
    entries_[key] = std::move(entries);
    return absl::OkStatus();
  }

  // Runs a plan once.
  absl::Status Try(const engine::Plan& plan, const std::vector<Tensor>& inputs) {
    const absl::Status status = RunOnce(plan, ViewsOf(inputs)).status();
    const bool made_up = samples_.empty() && absl::IsInvalidArgument(status);
    return made_up ? absl::OkStatus() : status;
  }

  const engine::Model& model_;
  std::vector<engine::GoldenSample> samples_;
  const WarmUpOptions& options_;
  Executor& executor_;
  const Clock& clock_;
  WarmUpResult result_;
  Measured& measured_ = result_.measured;
  std::map<ShapeKey, std::vector<PlanSet::Entry>> entries_;
};

}  // namespace

bool LooksBatchable(const engine::Signature& signature) {
  const auto free_rows = [](const engine::ValueInfo& info) {
    return info.has_rank && !info.dims.empty() && info.dims[0].value < 0;
  };
  return !signature.inputs.empty() &&
         std::all_of(signature.inputs.begin(), signature.inputs.end(), free_rows) &&
         std::all_of(signature.outputs.begin(), signature.outputs.end(), free_rows);
}

bool HasFixedShapes(const engine::Signature& signature, bool batched) {
  for (const engine::ValueInfo& info : signature.inputs) {
    if (!info.has_rank) return false;
    for (size_t i = batched ? 1 : 0; i < info.dims.size(); ++i) {
      if (info.dims[i].value < 0) return false;
    }
  }
  return true;
}

absl::StatusOr<PlanSet::Entry> CompileEntry(const engine::Model& model, const ShapeKey& key,
                                            int64_t rows, bool batched, int parallel_threads) {
  const std::vector<Shape> shapes = ShapesOf(key, rows, batched);
  PlanSet::Entry entry;
  entry.rows = rows;
  ASSIGN_OR_RETURN(entry.plan, model.GetPlan(shapes, 1));
  if (parallel_threads > 1) {
    ASSIGN_OR_RETURN(entry.parallel, model.GetPlan(shapes, parallel_threads));
  }
  return entry;
}

absl::Status AddEntry(const engine::Model& model, const ShapeKey& key, int64_t rows, bool batched,
                      int parallel_threads, std::vector<PlanSet::Entry>& entries) {
  const auto has_size = [rows](const PlanSet::Entry& e) { return e.rows == rows; };
  if (std::any_of(entries.begin(), entries.end(), has_size)) return absl::OkStatus();
  ASSIGN_OR_RETURN(PlanSet::Entry entry, CompileEntry(model, key, rows, batched, parallel_threads));
  entries.push_back(std::move(entry));
  return absl::OkStatus();
}

std::string WarmUpResult::Note() const {
  if (padding_refused.ok()) return "";
  return absl::StrCat("requests of different lengths do not share batches: ",
                      padding_refused.message());
}

absl::StatusOr<WarmUpResult> WarmUp(const engine::Model& model,
                                    const std::vector<engine::GoldenSample>& samples,
                                    const WarmUpOptions& options, Executor& executor,
                                    const Clock& clock) {
  return WarmingModel(model, samples, options, executor, clock).Run();
}

}  // namespace baton::serving
