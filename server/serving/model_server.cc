#include "server/serving/model_server.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/cpu.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/repository/watcher.h"
#include "server/serving/background_thread.h"
#include "server/serving/lifecycle.h"
#include "server/serving/loader.h"
#include "server/serving/scheduler.h"

namespace baton::serving {
namespace {

constexpr int kMaxThreads = 4096;

template <typename T>
absl::Status CheckRange(absl::string_view name, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, ", expected ", low, " to ", high));
}

int Workers(const ModelServerOptions& options) {
  return options.workers > 0 ? options.workers : AvailableCores();
}

int ParallelThreads(const ModelServerOptions& options) {
  return options.threads_per_worker > 0 ? options.threads_per_worker : AvailableCores();
}

LoaderOptions ForLoader(const ModelServerOptions& options) {
  LoaderOptions loader;
  loader.precision = options.precision;
  loader.batching = options.enable_batching;
  loader.max_batch_rows = options.max_batch_rows;
  loader.max_request_rows = options.max_request_rows;
  loader.max_queue_size = options.max_queue_size;
  loader.max_queue_seconds = options.max_queue_seconds;
  loader.max_inline_seconds = options.max_inline_seconds;
  loader.parallel_threads = ParallelThreads(options);
  return loader;
}

repository::WatcherOptions ForWatcher(const ModelServerOptions& options) {
  repository::WatcherOptions watcher;
  if (!options.repository.empty()) watcher.roots.push_back(options.repository);
  for (const ModelServerOptions::NamedModel& model : options.models) {
    watcher.models.push_back({model.name, model.base_path, "", {}, 0});
  }
  watcher.interval =
      std::chrono::milliseconds(static_cast<int64_t>(std::ceil(options.poll_seconds * 1e3)));
  return watcher;
}

}  // namespace

absl::Status ModelServerOptions::Validate() const {
  if (repository.empty() && models.empty()) {
    return absl::InvalidArgumentError(
        "nothing to serve: give a model repository, or a model's name and base path");
  }
  RETURN_IF_ERROR(CheckRange("poll_seconds", poll_seconds, 0.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("workers", workers, 0, kMaxThreads));
  RETURN_IF_ERROR(CheckRange("threads_per_worker", threads_per_worker, 0, kMaxThreads));
  RETURN_IF_ERROR(CheckRange<int64_t>("max_batch_rows", max_batch_rows, 1, 1 << 16));
  RETURN_IF_ERROR(CheckRange<int64_t>("max_request_rows", max_request_rows, 1, 1 << 30));
  RETURN_IF_ERROR(CheckRange("max_queue_size", max_queue_size, 1, 1 << 30));
  RETURN_IF_ERROR(CheckRange("max_queue_seconds", max_queue_seconds, 0.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("max_inline_seconds", max_inline_seconds, 0.0, 1.0));
  return CheckRange("loader_nice", loader_nice, 0, 19);
}

// Members are destroyed from the last to the first; Stop has ended all threads by then.
struct ModelServer::State {
  State(ModelServerOptions given_options, std::unique_ptr<Runtime> given_runtime)
      : options(std::move(given_options)),
        runtime(std::move(given_runtime)),
        metrics(registry),
        scheduler(
            Workers(options), [this] { return runtime->NewExecutor(); }, RealClock::Get()) {}

  const ModelServerOptions options;
  const std::unique_ptr<Runtime> runtime;
  Registry registry;
  Metrics metrics;
  Scheduler scheduler;
  std::atomic<bool> draining{false};
  // Made by Start.
  std::unique_ptr<BackgroundThread> compiler;
  std::unique_ptr<BackgroundThread> loader_thread;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Lifecycle> lifecycle;
  std::unique_ptr<repository::Watcher> watcher;
};

ModelServer::ModelServer(ModelServerOptions options)
    : ModelServer(std::move(options), std::make_unique<EngineRuntime>()) {}

ModelServer::ModelServer(ModelServerOptions options, std::unique_ptr<Runtime> runtime)
    : state_(std::make_unique<State>(std::move(options), std::move(runtime))) {}

ModelServer::~ModelServer() { Stop(); }

absl::Status ModelServer::Start() {
  State& s = *state_;
  BATON_CHECK(s.lifecycle == nullptr);
  RETURN_IF_ERROR(s.options.Validate());
  if (!s.options.repository.empty()) {
    RETURN_IF_ERROR(repository::ScanRepository(s.options.repository).status);
  }
  for (const ModelServerOptions::NamedModel& model : s.options.models) {
    RETURN_IF_ERROR(Annotate(repository::ScanModel(model.name, model.base_path).status,
                             absl::StrCat("model \"", model.name, "\"")));
  }

  s.compiler = std::make_unique<BackgroundThread>("compiler", 0);
  s.loader_thread = std::make_unique<BackgroundThread>("loader", s.options.loader_nice);
  const ServableContext context{s.scheduler, *s.compiler, s.metrics, RealClock::Get()};
  s.loader = std::make_unique<Loader>(ForLoader(s.options), *s.runtime, context);
  s.lifecycle = std::make_unique<Lifecycle>(*s.loader, s.registry, s.metrics, *s.loader_thread);
  s.scheduler.Start();
  ASSIGN_OR_RETURN(s.watcher, repository::Watcher::Start(
                                  ForWatcher(s.options),
                                  [&s](std::shared_ptr<const repository::Snapshot> snapshot) {
                                    s.lifecycle->Follow(std::move(snapshot));
                                  }));
  if (s.options.poll_seconds == 0) {
    // The one reading of the repository takes files as they are: no later poll will settle them.
    for (int i = 0; i < repository::Settler::kQuietPolls; ++i) s.watcher->Poll();
  }
  return absl::OkStatus();
}

bool ModelServer::Ready() const {
  const State& s = *state_;
  return !s.draining && s.lifecycle != nullptr && s.lifecycle->Settled() &&
         s.lifecycle->ready_versions() > 0;
}

void ModelServer::BeginDrain() { state_->draining = true; }

bool ModelServer::Drain(SteadyTime deadline) {
  State& s = *state_;
  BeginDrain();
  s.registry.Close();
  return s.lifecycle == nullptr || s.lifecycle->Drain(deadline);
}

void ModelServer::Stop() {
  State& s = *state_;
  if (s.lifecycle == nullptr) return;
  s.watcher.reset();
  Drain(SteadyTime{});
  s.lifecycle->Abort();
  s.compiler->Stop();
  s.scheduler.Stop();
  s.loader_thread->Stop();
}

Registry& ModelServer::registry() { return state_->registry; }
Metrics& ModelServer::metrics() { return state_->metrics; }
std::unique_ptr<Executor> ModelServer::NewExecutor() const {
  return state_->runtime->NewExecutor();
}

}  // namespace baton::serving
