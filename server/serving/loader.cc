#include "server/serving/loader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/repository/manifest.h"

namespace baton::serving {
namespace {

std::vector<repository::TensorSpec> Specs(const std::vector<engine::ValueInfo>& infos) {
  std::vector<repository::TensorSpec> specs;
  for (const engine::ValueInfo& info : infos) {
    repository::TensorSpec spec{info.name, info.type, info.has_rank, {}};
    for (const engine::Dim& dim : info.dims) spec.dims.push_back(dim.value);
    specs.push_back(std::move(spec));
  }
  return specs;
}

// REQUIRES: one of the four names; the config's parser has checked it.
engine::Precision PrecisionNamed(const std::string& name) {
  if (name == "bf16") return engine::Precision::kBf16;
  if (name == "int8") return engine::Precision::kInt8;
  if (name == "auto") return engine::Precision::kAuto;
  return engine::Precision::kF32;
}

}  // namespace

// One load, step by step.
class Loader::Attempt {
 public:
  Attempt(const Loader& loader, const LoadRequest& request,
          const std::function<void(VersionState)>& enter)
      : options_(loader.options_),
        runtime_(loader.runtime_),
        context_(loader.context_),
        request_(request),
        enter_(enter) {}

  LoadResult Run() {
    LoadResult result;
    result.error = Steps(result.servable);
    if (!result.error.ok()) result.reason = step_;
    return result;
  }

 private:
  absl::Status Steps(std::unique_ptr<ModelServable>& servable) {
    step_ = "verify";
    enter_(VersionState::kVerifying);
    SteadyTime start = context_.clock.Now();
    engine::Tolerance tolerance;
    RETURN_IF_ERROR(Verify(tolerance));
    Record("verify", Seconds(context_.clock.Now() - start));

    step_ = "parse";
    enter_(VersionState::kLoading);
    start = context_.clock.Now();
    engine::ModelOptions model_options;
    model_options.precision =
        request_.config.precision ? PrecisionNamed(*request_.config.precision) : options_.precision;
    ASSIGN_OR_RETURN(std::shared_ptr<const engine::Model> model,
                     runtime_.Load(absl::StrCat(request_.directory, "/", repository::kModelFile),
                                   model_options));
    Record("parse", Seconds(context_.clock.Now() - start));

    step_ = "config";
    RETURN_IF_ERROR(ReadBatching());
    RETURN_IF_ERROR(CheckAgainstSignature(request_.config, Specs(model->signature().inputs),
                                          Specs(model->signature().outputs)));

    step_ = "golden";
    enter_(VersionState::kWarming);
    ASSIGN_OR_RETURN(const std::vector<engine::GoldenSample> samples,
                     runtime_.ReadSamples(request_.directory, model->signature()));
    RETURN_IF_ERROR(CheckSamples(*model, samples, tolerance, 1));

    step_ = "warm";
    const std::unique_ptr<Executor> executor = runtime_.NewExecutor();
    ASSIGN_OR_RETURN(WarmUpResult warm,
                     WarmUp(*model, samples, Options(), *executor, context_.clock));
    if (warm.parallel) {
      step_ = "golden";
      RETURN_IF_ERROR(CheckSamples(*model, samples, tolerance, options_.parallel_threads));
    }
    Record("compile", warm.compile_seconds);
    Record("warm", warm.run_seconds + golden_seconds_);
    servable =
        std::make_unique<ModelServable>(request_.model, request_.version, std::move(model),
                                        std::move(warm), Limits(), OptionsOfServable(), context_);
    return absl::OkStatus();
  }

  void Record(absl::string_view phase, double seconds) {
    context_.metrics.RecordLoadPhase(request_.model, phase, seconds);
  }

  // Where there is a manifest every file must be as it says.
  absl::Status Verify(engine::Tolerance& tolerance) {
    const absl::StatusOr<repository::Manifest> manifest =
        repository::ReadManifest(request_.directory);
    if (absl::IsNotFound(manifest.status())) return absl::OkStatus();
    RETURN_IF_ERROR(manifest.status());
    RETURN_IF_ERROR(repository::Verify(*manifest, request_.directory));
    tolerance = {manifest->rtol, manifest->atol};
    return absl::OkStatus();
  }

  absl::Status CheckSamples(const engine::Model& model,
                            const std::vector<engine::GoldenSample>& samples,
                            const engine::Tolerance& tolerance, int threads) {
    const SteadyTime start = context_.clock.Now();
    engine::GoldenResult result;
    absl::Status status = runtime_.CheckSamples(model, samples, tolerance, threads, result);
    golden_seconds_ += Seconds(context_.clock.Now() - start);
    return status;
  }

  // The parameters that hold for this version.
  absl::Status ReadBatching() {
    batching_ = options_.batching_parameters;
    if (!options_.per_model_batching) return absl::OkStatus();
    const std::string path = absl::StrCat(request_.directory, "/", repository::kBatchingFile);
    const absl::StatusOr<std::string> text = ReadFile(path);
    if (absl::IsNotFound(text.status())) return absl::OkStatus();
    RETURN_IF_ERROR(text.status());
    ASSIGN_OR_RETURN(const repository::BatchingParameters own,
                     repository::ParseBatchingParameters(*text, path));
    for (const std::string& warning : own.warnings) BATON_LOG(Warning) << warning;
    batching_ = Merge(own, batching_);
    return absl::OkStatus();
  }

  bool RowsFixedByConfig() const { return request_.config.max_batch_size.value_or(0) > 0; }

  int64_t MaxBatchRows() const {
    const int64_t most = batching_.max_batch_rows.value_or(options_.max_batch_rows);
    return RowsFixedByConfig() ? std::min(most, *request_.config.max_batch_size) : most;
  }
  int64_t MaxDelayUs() const {
    const int64_t own = request_.config.dynamic_batching.max_queue_delay_us;
    return own > 0 ? own : batching_.max_delay_us.value_or(0);
  }

  WarmUpOptions Options() const {
    WarmUpOptions options;
    options.batching = request_.config.max_batch_size.value_or(1) != 0;
    options.max_batch_rows = MaxBatchRows();
    options.parallel_threads = options_.parallel_threads;
    options.sizes = request_.sizes;
    return options;
  }

  QueueLimits Limits() const {
    const repository::DynamicBatching& batching = request_.config.dynamic_batching;
    QueueLimits limits;
    limits.max_batch_rows = options_.batching ? MaxBatchRows() : 1;
    limits.max_tasks = options_.max_queue_size;
    if (batching_.max_waiting_batches) {
      limits.max_tasks = static_cast<int>(
          std::min<int64_t>(*batching_.max_waiting_batches * MaxBatchRows(), 1 << 30));
    }
    if (batching.max_queue_size > 0) limits.max_tasks = static_cast<int>(batching.max_queue_size);
    limits.max_seconds = options_.max_queue_seconds;
    limits.max_delay = std::chrono::microseconds(MaxDelayUs());
    limits.default_timeout = std::chrono::microseconds(batching.default_timeout_us);
    if (!batching.allow_timeout_override) limits.max_timeout = limits.default_timeout;
    limits.preferred_rows = batching.preferred_batch_sizes.empty() ? batching_.preferred_rows
                                                                   : batching.preferred_batch_sizes;
    limits.max_running = request_.config.instance_count > 0
                             ? request_.config.instance_count
                             : static_cast<int>(std::min<int64_t>(
                                   batching_.max_running_batches.value_or(0), 1 << 20));
    limits.priority_levels = batching.priority_levels;
    if (limits.priority_levels > 0) limits.default_priority = batching.default_priority_level;
    return limits;
  }

  ServableOptions OptionsOfServable() const {
    ServableOptions options;
    options.config = request_.config;
    options.max_request_rows =
        RowsFixedByConfig() ? *request_.config.max_batch_size : options_.max_request_rows;
    // A delay is there to collect company; running inline would defeat it.
    options.max_inline_seconds = MaxDelayUs() > 0 ? 0 : options_.max_inline_seconds;
    options.parallel_threads = options_.parallel_threads;
    return options;
  }

  const LoaderOptions& options_;
  Runtime& runtime_;
  const ServableContext& context_;
  const LoadRequest& request_;
  const std::function<void(VersionState)>& enter_;
  repository::BatchingParameters batching_;
  std::string step_;
  double golden_seconds_ = 0;
};

Loader::Loader(const LoaderOptions& options, Runtime& runtime, const ServableContext& context)
    : options_(options), runtime_(runtime), context_(context) {}

LoadResult Loader::Load(const LoadRequest& request,
                        const std::function<void(VersionState)>& enter) const {
  return Attempt(*this, request, enter).Run();
}

}  // namespace baton::serving
