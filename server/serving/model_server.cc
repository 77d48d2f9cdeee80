#include "server/serving/model_server.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/cpu.h"
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/repository/model_config.h"
#include "server/repository/watcher.h"
#include "server/serving/background_thread.h"
#include "server/serving/lifecycle.h"
#include "server/serving/loader.h"
#include "server/serving/model_catalog.h"
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
  loader.batching_parameters = options.batching_parameters;
  loader.per_model_batching = options.per_model_batching;
  loader.max_batch_rows = options.max_batch_rows;
  loader.max_request_rows = options.max_request_rows;
  loader.max_queue_size = options.max_queue_size;
  loader.max_queue_seconds = options.max_queue_seconds;
  loader.max_inline_seconds = options.max_inline_seconds;
  loader.workers = Workers(options);
  loader.parallel_threads = ParallelThreads(options);
  loader.model_warmup = options.model_warmup;
  loader.warm_up_requests = options.warm_up_requests;
  return loader;
}

using Control = ModelServerOptions::Control;
using Owner = ModelCatalog::Owner;

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1e3)));
}

bool Polls(const ModelServerOptions& options) {
  return options.control == Control::kPoll && options.poll_seconds > 0;
}

repository::WatcherOptions ForWatcher(const ModelServerOptions& options,
                                      const ModelCatalog& catalog) {
  repository::WatcherOptions watcher;
  if (!options.repository.empty() && options.control != Control::kExplicit) {
    watcher.roots.push_back(options.repository);
  }
  watcher.models = catalog.Models();
  watcher.interval = Milliseconds(Polls(options) ? options.poll_seconds : 0);
  return watcher;
}

// kFailedPrecondition unless the version is ready.
absl::Status CheckLabel(const ModelStatus& model, const std::string& label, int64_t number) {
  for (const VersionStatus& version : model.versions) {
    if (version.version != number) continue;
    if (version.state == VersionState::kReady) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "label \"", label, "\" of model \"", model.name, "\": version ", number, " is ",
        VersionStateName(version.state),
        ", not ready; --allow_version_labels_for_unavailable_models lets labels wait for theirs"));
  }
  return absl::NotFoundError(absl::StrCat("label \"", label, "\" of model \"", model.name,
                                          "\": there is no version ", number));
}

// Set once, by one thread; waited for by another.
class Event {
 public:
  void Set() {
    MutexLock lock(mu_);
    set_ = true;
    changed_.SignalAll();
  }
  void Wait() {
    MutexLock lock(mu_);
    while (!set_) changed_.Wait(mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool set_ ABSL_GUARDED_BY(mu_) = false;
};

LifecycleOptions ForLifecycle(const ModelServerOptions& options) {
  LifecycleOptions lifecycle;
  lifecycle.load_threads = options.load_threads;
  lifecycle.load_nice = options.loader_nice;
  lifecycle.load_retries = options.load_retries;
  lifecycle.load_retry_interval = Milliseconds(options.load_retry_seconds);
  // Two polls and one that finds the files, with some to spare.
  lifecycle.settle_pictures = Polls(options) ? repository::Settler::kQuietPolls + 4 : 0;
  lifecycle.memory_limit_bytes = options.memory_limit_bytes;
  return lifecycle;
}

}  // namespace

absl::Status ModelServerOptions::Validate() const {
  if (repository.empty() && models.empty() && config_file.empty()) {
    return absl::InvalidArgumentError(
        "nothing to serve: give a model repository, a model's name and base path, or a config "
        "file of models");
  }
  if (control == Control::kExplicit ? repository.empty() : !load_models.empty()) {
    return absl::InvalidArgumentError(
        "models to load by name go with explicit control of a model repository");
  }
  RETURN_IF_ERROR(CheckRange("poll_seconds", poll_seconds, 0.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("workers", workers, 0, kMaxThreads));
  RETURN_IF_ERROR(CheckRange("threads_per_worker", threads_per_worker, 0, kMaxThreads));
  RETURN_IF_ERROR(CheckRange<int64_t>("max_batch_rows", max_batch_rows, 1, 1 << 16));
  RETURN_IF_ERROR(CheckRange<int64_t>("max_request_rows", max_request_rows, 1, 1 << 30));
  RETURN_IF_ERROR(CheckRange("max_queue_size", max_queue_size, 1, 1 << 30));
  RETURN_IF_ERROR(CheckRange("max_queue_seconds", max_queue_seconds, 0.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("max_inline_seconds", max_inline_seconds, 0.0, 1.0));
  RETURN_IF_ERROR(CheckRange("config_poll_seconds", config_poll_seconds, 0.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("load_threads", load_threads, 1, 256));
  RETURN_IF_ERROR(CheckRange("load_retries", load_retries, 0, 1 << 20));
  RETURN_IF_ERROR(CheckRange("load_retry_seconds", load_retry_seconds, 0.0, 86400.0));
  RETURN_IF_ERROR(
      CheckRange<int64_t>("memory_limit_bytes", memory_limit_bytes, 0, int64_t{1} << 60));
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
  std::unique_ptr<BackgroundThread> lifecycle_thread;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Lifecycle> lifecycle;
  std::unique_ptr<repository::Watcher> watcher;
  std::unique_ptr<BackgroundThread> control;
  // Used by Start, and then by the control thread only.
  ModelCatalog catalog;
  uint64_t reading = 0;     // the last that was given to a model under explicit control
  std::string config_text;  // of the config file, as it was read last

  // These run on the control thread, but for Start.
  repository::ModelSource FromRepository(const std::string& name) {
    return {name, absl::StrCat(options.repository, "/", name), options.repository, {}, ++reading};
  }
  // Has the watcher look at what the catalog holds now. Where nothing polls, versions without a
  // manifest are taken as they are: who asks for a load says that they are there.
  absl::Status Look() {
    RETURN_IF_ERROR(watcher->SetModels(catalog.Models()));
    if (Polls(options)) {
      watcher->Look();
      return absl::OkStatus();
    }
    // The first of them may be the one that finds them.
    for (int i = 0; i <= repository::Settler::kQuietPolls; ++i) watcher->Poll();
    return absl::OkStatus();
  }
  void AwaitQuiet(const std::string& model) {
    Event quiet;
    lifecycle->WhenQuiet(model, [&quiet] { quiet.Set(); });
    quiet.Wait();
  }
  // Why a model that was to be loaded does not serve. A version that failed counts if it is newer
  // than all that serve.
  absl::Status ErrorOf(const std::string& model) const {
    if (draining) return absl::UnavailableError("the server is shutting down");
    ASSIGN_OR_RETURN(const ModelStatus status, registry.Status(model));
    RETURN_IF_ERROR(Annotate(status.error, absl::StrCat("model \"", model, "\"")));
    for (const VersionStatus& version : status.versions) {
      if (version.state == VersionState::kReady) return absl::OkStatus();
      if (version.state == VersionState::kFailed) {
        return Annotate(version.error,
                        absl::StrCat("model \"", model, "\" version ", version.version, " failed"));
      }
    }
    return registry.Acquire(model, {}).status();
  }
  absl::Status Load(const std::string& name, std::optional<std::string> config);
  absl::Status Unload(const std::string& name);
  absl::Status SetConfig(Owner owner, repository::ServerConfig config);
  absl::Status SetLabel(const std::string& model, const std::string& label, int64_t version);
  void ReadConfigFile();
};

absl::Status ModelServer::State::Load(const std::string& name, std::optional<std::string> config) {
  if (options.control != Control::kExplicit) {
    return absl::FailedPreconditionError(
        "loading by request needs --model_control_mode=explicit; this server follows its model "
        "repository");
  }
  RETURN_IF_ERROR(repository::CheckModelName(name));
  if (config.has_value()) {
    RETURN_IF_ERROR(
        repository::ParseModelConfigJson(*config, "the config sent with the load", name).status());
  }
  repository::ModelSource source = FromRepository(name);
  RETURN_IF_ERROR(Annotate(repository::ScanModel(source.name, source.base_path, source.root).status,
                           absl::StrCat("model \"", name, "\"")));
  source.settings.config = std::move(config);
  catalog.Set(Owner::kControl, std::move(source));
  RETURN_IF_ERROR(Look());
  AwaitQuiet(name);
  return ErrorOf(name);
}

absl::Status ModelServer::State::Unload(const std::string& name) {
  if (options.control != Control::kExplicit) {
    return absl::FailedPreconditionError(
        "unloading by request needs --model_control_mode=explicit; this server follows its model "
        "repository");
  }
  if (!catalog.Remove(name)) {
    return absl::NotFoundError(absl::StrCat("model \"", name, "\" is not loaded"));
  }
  RETURN_IF_ERROR(Look());
  AwaitQuiet(name);
  return absl::OkStatus();
}

absl::Status ModelServer::State::SetConfig(Owner owner, repository::ServerConfig config) {
  for (const std::string& warning : config.warnings) BATON_LOG(Warning) << warning;
  std::vector<std::string> names;
  for (const repository::ModelSource& model : config.models) {
    names.push_back(model.name);
    // A file may name what is yet to come; the model's state says so then.
    if (owner != Owner::kRequest) continue;
    RETURN_IF_ERROR(Annotate(repository::ScanModel(model.name, model.base_path).status,
                             absl::StrCat("model \"", model.name, "\"")));
    // A model that comes with its labels cannot have them ready.
    const auto known = registry.Status(model.name);
    if (options.allow_labels_of_absent || !known.ok()) continue;
    for (const auto& [label, version] : model.settings.labels) {
      RETURN_IF_ERROR(CheckLabel(*known, label, version));
    }
  }
  for (const std::string& gone : catalog.SetAll(owner, std::move(config.models))) {
    BATON_LOG(Info) << "model \"" << gone << "\": no config names it any more";
  }
  if (watcher == nullptr) return absl::OkStatus();  // it will start with them
  RETURN_IF_ERROR(Look());
  absl::Status first;
  for (const std::string& name : names) {
    AwaitQuiet(name);
    first.Update(ErrorOf(name));
  }
  return first;
}

absl::Status ModelServer::State::SetLabel(const std::string& model, const std::string& label,
                                          int64_t version) {
  ASSIGN_OR_RETURN(const ModelStatus status, registry.Status(model));
  if (label.empty()) return absl::InvalidArgumentError("the label is empty");
  if (version < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", version, ": expected a number from 1 up, or 0 for none"));
  }
  if (version == 0) {
    ASSIGN_OR_RETURN(const auto labels, registry.Labels(model));
    if (!labels.contains(label)) {
      return absl::NotFoundError(
          absl::StrCat("model \"", model, "\" has no label \"", label, "\""));
    }
  } else if (!options.allow_labels_of_absent) {
    RETURN_IF_ERROR(CheckLabel(status, label, version));
  }
  catalog.SetLabel(model, label, version);
  RETURN_IF_ERROR(Look());
  AwaitQuiet(model);
  return draining ? absl::UnavailableError("the server is shutting down") : absl::OkStatus();
}

void ModelServer::State::ReadConfigFile() {
  const absl::StatusOr<std::string> text = ReadFile(options.config_file);
  if (text.ok() && *text == config_text) return;
  absl::Status status = text.status();
  if (text.ok()) {
    config_text = *text;
    auto config = repository::ParseServerConfig(*text, options.config_file);
    status = config.status();
    if (config.ok()) {
      BATON_LOG(Info) << options.config_file << ": changed, taking it over";
      status = SetConfig(Owner::kFile, *std::move(config));
    }
  }
  if (!status.ok()) {
    BATON_LOG(Error) << "--model_config_file: " << status.message();
  }
}

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
  for (const repository::ModelSource& model : s.options.models) {
    RETURN_IF_ERROR(Annotate(repository::ScanModel(model.name, model.base_path).status,
                             absl::StrCat("model \"", model.name, "\"")));
    s.catalog.Set(Owner::kCommandLine, model);
  }
  for (const std::string& name : s.options.load_models) {
    RETURN_IF_ERROR(repository::CheckModelName(name));
    s.catalog.Set(Owner::kControl, s.FromRepository(name));
  }
  if (!s.options.config_file.empty()) {
    ASSIGN_OR_RETURN(s.config_text, ReadFile(s.options.config_file));
    ASSIGN_OR_RETURN(repository::ServerConfig config,
                     repository::ParseServerConfig(s.config_text, s.options.config_file));
    RETURN_IF_ERROR(Annotate(s.SetConfig(Owner::kFile, std::move(config)), s.options.config_file));
  }

  s.compiler = std::make_unique<BackgroundThread>("compiler", 0);
  s.lifecycle_thread = std::make_unique<BackgroundThread>("lifecycle", s.options.loader_nice);
  const ServableContext context{s.scheduler, *s.compiler, s.metrics, RealClock::Get()};
  s.loader = std::make_unique<Loader>(ForLoader(s.options), *s.runtime, context);
  s.lifecycle = std::make_unique<Lifecycle>(ForLifecycle(s.options), *s.loader, *s.runtime,
                                            s.registry, s.metrics, *s.lifecycle_thread);
  s.scheduler.Start();
  ASSIGN_OR_RETURN(s.watcher, repository::Watcher::Start(
                                  ForWatcher(s.options, s.catalog),
                                  [&s](std::shared_ptr<const repository::Snapshot> snapshot) {
                                    s.lifecycle->Follow(std::move(snapshot));
                                  }));
  if (!Polls(s.options)) {
    // The one reading of the repository takes files as they are: no later poll will settle them.
    for (int i = 0; i < repository::Settler::kQuietPolls; ++i) s.watcher->Poll();
  }
  const bool follows_config = !s.options.config_file.empty() && s.options.config_poll_seconds > 0;
  s.control = std::make_unique<BackgroundThread>("control", 0);
  if (follows_config) {
    s.control->Repeat(Milliseconds(s.options.config_poll_seconds), [&s] { s.ReadConfigFile(); });
  }
  return absl::OkStatus();
}

void ModelServer::Control(std::function<absl::Status(State&)> request, Done done) {
  State& s = *state_;
  if (s.control == nullptr) {
    done(absl::UnavailableError("the server has not started"));
    return;
  }
  s.control->Post([&s, request = std::move(request), done = std::move(done)] {
    done(s.draining ? absl::UnavailableError("the server is shutting down") : request(s));
  });
}

void ModelServer::LoadModel(const std::string& name, std::optional<std::string> config, Done done) {
  Control([name, config = std::move(config)](State& s) { return s.Load(name, config); },
          std::move(done));
}

void ModelServer::UnloadModel(const std::string& name, Done done) {
  Control([name](State& s) { return s.Unload(name); }, std::move(done));
}

void ModelServer::ReloadConfig(repository::ServerConfig config, Done done) {
  Control([config = std::move(config)](State& s) { return s.SetConfig(Owner::kRequest, config); },
          std::move(done));
}

void ModelServer::SetLabel(const std::string& model, const std::string& label, int64_t version,
                           Done done) {
  Control([model, label, version](State& s) { return s.SetLabel(model, label, version); },
          std::move(done));
}

void ModelServer::Index(std::function<void(std::vector<ModelStatus>)> done) const {
  const State& s = *state_;
  if (s.options.control != ModelServerOptions::Control::kExplicit ||
      s.lifecycle_thread == nullptr) {
    return done(s.registry.StatusOfAll());
  }
  s.lifecycle_thread->Post([&s, done = std::move(done)] {
    std::vector<ModelStatus> models = s.registry.StatusOfAll();
    std::set<std::string> known;
    for (const ModelStatus& model : models) known.insert(model.name);
    for (const auto& [name, scan] : repository::ScanRepository(s.options.repository).models) {
      if (!known.contains(name)) models.push_back({name, {}, scan.status});
    }
    done(std::move(models));
  });
}

bool ModelServer::Ready() const {
  const State& s = *state_;
  if (s.draining || s.lifecycle == nullptr || !s.lifecycle->Settled()) return false;
  // Under explicit control a server without models waits for requests to load some.
  return s.lifecycle->ready_versions() > 0 ||
         (s.options.control == ModelServerOptions::Control::kExplicit &&
          s.registry.StatusOfAll().empty());
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
  Drain(SteadyTime{});  // ends what the control thread waits for
  if (s.control != nullptr) s.control->Stop();
  s.watcher.reset();
  s.lifecycle->Abort();
  s.compiler->Stop();
  s.scheduler.Stop();
  s.lifecycle_thread->Stop();
}

Registry& ModelServer::registry() { return state_->registry; }
Metrics& ModelServer::metrics() { return state_->metrics; }
std::unique_ptr<Executor> ModelServer::NewExecutor() const {
  return state_->runtime->NewExecutor();
}

}  // namespace baton::serving
