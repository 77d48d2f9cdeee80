#include "server/serving/version_load.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/session.h"
#include "server/repository/scan.h"
#include "server/serving/padding.h"
#include "server/serving/warm_up_samples.h"
#include "server/serving/warming_servable.h"

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

// One load, step by step.
class Attempt {
 public:
  Attempt(const LoaderOptions& options, const LoadRequest& request, Runtime& runtime,
          const Clock& clock, const std::function<void(VersionState)>& enter)
      : options_(options), request_(request), runtime_(runtime), clock_(clock), enter_(enter) {}

  VersionLoad Run() {
    absl::StatusOr<LoadedVersion> loaded = Steps();
    if (loaded.ok()) {
      load_.loaded = *std::move(loaded);
    } else {
      load_.error = loaded.status();
      load_.reason = step_;
    }
    return std::move(load_);
  }

 private:
  absl::StatusOr<LoadedVersion> Steps() {
    LoadedVersion loaded;
    step_ = "verify";
    enter_(VersionState::kVerifying);
    SteadyTime start = clock_.Now();
    engine::Tolerance tolerance;
    RETURN_IF_ERROR(Verify(tolerance));
    Record("verify", Seconds(clock_.Now() - start));

    step_ = "parse";
    enter_(VersionState::kLoading);
    start = clock_.Now();
    ASSIGN_OR_RETURN(loaded.model, LoadModel(tolerance));
    Record("parse", Seconds(clock_.Now() - start));
    const engine::Model& model = *loaded.model;

    step_ = "config";
    RETURN_IF_ERROR(SetLimits(loaded));
    RETURN_IF_ERROR(CheckAgainstSignature(request_.config, Specs(model.signature().inputs),
                                          Specs(model.signature().outputs)));
    absl::Status no_padding;
    ASSIGN_OR_RETURN(const std::shared_ptr<const Padding> padding,
                     MakePadding(model.signature(), loaded.batching, no_padding));

    step_ = "golden";
    enter_(VersionState::kWarming);
    ASSIGN_OR_RETURN(const std::vector<engine::GoldenSample> samples,
                     runtime_.ReadSamples(request_.directory, model.signature()));
    RETURN_IF_ERROR(CheckSamples(model, samples, tolerance, 1));

    step_ = "warm";
    const std::unique_ptr<Executor> executor = runtime_.NewExecutor();
    ASSIGN_OR_RETURN(loaded.warm,
                     WarmUp(model, samples, OptionsOfWarmUp(loaded, padding), *executor, clock_));
    loaded.warm.padding_refused.Update(no_padding);
    if (!loaded.warm.Note().empty()) load_.warnings.push_back(loaded.warm.Note());
    if (loaded.warm.measured.parallel_seconds > 0) {
      step_ = "golden";
      RETURN_IF_ERROR(CheckSamples(model, samples, tolerance, options_.parallel_threads));
      step_ = "warm";
    }
    for (std::string& warning : loaded.warm.warnings) load_.warnings.push_back(std::move(warning));
    if (options_.model_warmup) RETURN_IF_ERROR(RunOwnRequests(loaded, *executor));
    Record("compile", loaded.warm.compile_seconds);
    Record("warm", loaded.warm.run_seconds + golden_seconds_);
    return loaded;
  }

  absl::StatusOr<std::shared_ptr<const engine::Model>> LoadModel(
      const engine::Tolerance& tolerance) {
    const auto load = [this](engine::Precision precision) {
      engine::ModelOptions options;
      options.precision = precision;
      return runtime_.Load(InDirectory(request_.model_file), options);
    };
    // The config's parser has checked its name.
    const std::optional<std::string>& name = request_.config.precision;
    const engine::Precision wanted = name ? *engine::PrecisionNamed(*name) : options_.precision;
    if (wanted != engine::Precision::kAuto) return load(wanted);
    return engine::LoadAuto(load, [&](const engine::Model& model) -> absl::Status {
      ASSIGN_OR_RETURN(const std::vector<engine::GoldenSample> samples,
                       runtime_.ReadSamples(request_.directory, model.signature()));
      if (samples.empty()) return absl::NotFoundError("no samples");
      engine::GoldenResult result;
      return runtime_.CheckSamples(model, samples, tolerance, 1, result);
    });
  }

  std::string InDirectory(absl::string_view name) const {
    return absl::StrCat(request_.directory, "/", name);
  }

  void Record(const char* phase, double seconds) { load_.seconds.emplace_back(phase, seconds); }

  // Where there is a manifest every file must be as it says.
  absl::Status Verify(engine::Tolerance& tolerance) {
    const absl::StatusOr<repository::Manifest> manifest =
        repository::ReadManifest(request_.directory);
    if (manifest.ok()) {
      RETURN_IF_ERROR(repository::Verify(*manifest, request_.directory));
      tolerance = {manifest->rtol, manifest->atol};
    } else if (!absl::IsNotFound(manifest.status())) {
      return manifest.status();
    }
    tolerance.rtol = request_.rtol.value_or(tolerance.rtol);
    tolerance.atol = request_.atol.value_or(tolerance.atol);
    return absl::OkStatus();
  }

  absl::Status CheckSamples(const engine::Model& model,
                            const std::vector<engine::GoldenSample>& samples,
                            const engine::Tolerance& tolerance, int threads) {
    if (samples.empty()) return absl::OkStatus();
    const SteadyTime start = clock_.Now();
    if (!load_.golden.has_value()) load_.golden.emplace();
    absl::Status status = runtime_.CheckSamples(model, samples, tolerance, threads, *load_.golden);
    golden_seconds_ += Seconds(clock_.Now() - start);
    return status;
  }

  // The batching parameters that hold for this version, and what follows from them and the config.
  absl::Status SetLimits(LoadedVersion& loaded) {
    loaded.batching = options_.batching_parameters;
    if (options_.per_model_batching) RETURN_IF_ERROR(ReadBatching(loaded.batching));
    loaded.max_batch_rows = loaded.batching.max_batch_rows.value_or(options_.max_batch_rows);
    loaded.max_request_rows = options_.max_request_rows;
    if (const int64_t most = request_.config.max_batch_size.value_or(0); most > 0) {
      loaded.max_batch_rows = std::min(loaded.max_batch_rows, most);
      loaded.max_request_rows = most;
    }
    return absl::OkStatus();
  }

  absl::Status ReadBatching(repository::BatchingParameters& batching) {
    const std::string path = InDirectory(repository::kBatchingFile);
    const absl::StatusOr<std::string> text = ReadFile(path);
    if (absl::IsNotFound(text.status())) return absl::OkStatus();
    RETURN_IF_ERROR(text.status());
    ASSIGN_OR_RETURN(const repository::BatchingParameters own,
                     repository::ParseBatchingParameters(*text, path));
    load_.warnings.insert(load_.warnings.end(), own.warnings.begin(), own.warnings.end());
    batching = Merge(own, batching);
    return absl::OkStatus();
  }

  // How requests of different lengths are to share batches; null if they are not. What the model
  // itself does not allow is no error: `refused` says so.
  absl::StatusOr<std::shared_ptr<const Padding>> MakePadding(
      const engine::Signature& signature, const repository::BatchingParameters& batching,
      absl::Status& refused) {
    using Mode = repository::LengthOptions::Mode;
    repository::LengthOptions lengths = request_.config.lengths;
    const bool own = lengths.mode.has_value();
    if (!own && batching.pad_to_longest) {
      lengths.mode = Mode::kLongest;
      lengths.pad_with_first_element = true;  // as TensorFlow Serving
    }
    if (lengths.mode.value_or(Mode::kExact) == Mode::kExact) {
      if (lengths != repository::LengthOptions{.mode = lengths.mode}) {
        load_.warnings.push_back(
            "parameters length_dims and pad_value have no effect without length_buckets");
      }
      return nullptr;
    }
    absl::StatusOr<std::shared_ptr<const Padding>> padding =
        options_.batching ? Padding::Make(lengths, signature)
                          : absl::FailedPreconditionError("batching is off (--enable_batching)");
    if (padding.ok()) return padding;
    if (!absl::IsFailedPrecondition(padding.status())) {
      return Annotate(padding.status(), repository::kConfigFile);
    }
    // Said of all models it means those that have lengths.
    if (own) refused = padding.status();
    return nullptr;
  }

  WarmUpOptions OptionsOfWarmUp(const LoadedVersion& loaded,
                                std::shared_ptr<const Padding> padding) const {
    WarmUpOptions options;
    options.batching = request_.config.max_batch_size.value_or(1) != 0;
    options.max_batch_rows = loaded.max_batch_rows;
    options.parallel_threads = options_.parallel_threads;
    options.sizes = request_.sizes;
    options.before = request_.before;
    options.padding = std::move(padding);
    return options;
  }

  // What the model brings for its warm-up: in its config, and beside it.
  absl::Status RunOwnRequests(LoadedVersion& loaded, Executor& executor) {
    const auto servable = std::make_shared<WarmingServable>(
        request_.model, request_.version, *loaded.model, request_.config, loaded.max_request_rows,
        loaded.warm, executor, clock_);
    const std::string model_directory =
        std::filesystem::path(request_.directory).parent_path().string();
    RETURN_IF_ERROR(RunWarmUpSamples(model_directory, *servable, load_.warnings));
    if (options_.warm_up_requests == nullptr) return absl::OkStatus();
    return options_.warm_up_requests(request_.directory, servable);
  }

  const LoaderOptions& options_;
  const LoadRequest& request_;
  Runtime& runtime_;
  const Clock& clock_;
  const std::function<void(VersionState)>& enter_;
  VersionLoad load_;
  const char* step_ = "";
  double golden_seconds_ = 0;
};

}  // namespace

VersionLoad LoadVersion(const LoaderOptions& options, const LoadRequest& request, Runtime& runtime,
                        const Clock& clock, const std::function<void(VersionState)>& enter) {
  VersionLoad load = Attempt(options, request, runtime, clock, enter).Run();
  engine::ReleaseThreads();
  return load;
}

}  // namespace baton::serving
