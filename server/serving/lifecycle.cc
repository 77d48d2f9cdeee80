#include "server/serving/lifecycle.h"

#include <malloc.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/status.h"

namespace baton::serving {
namespace {

using repository::Action;
using repository::Phase;

// Freed versions of at least this size have the allocator give pages back: it takes a moment under
// the allocator's locks, and smaller ones are reused by the next load anyway.
constexpr size_t kTrimBytes = size_t{64} << 20;

std::string Label(const std::string& name, int64_t number) {
  return absl::StrCat("model \"", name, "\" version ", number);
}

}  // namespace

// One load, from the decision to its end. Handed from the background thread to a loader thread and
// back.
struct Lifecycle::LoadJob {
  LoadRequest request;
  repository::VersionScan scan;
  ModelState::Origin origin;
  bool reload = false;    // in place of one that is ready
  bool replaces = false;  // another version is ready
  int64_t reserved_bytes = 0;
  BackgroundThread* loader = nullptr;
  SteadyTime start;
  LoadResult result;
  repository::ContentIdentity failed;  // where it failed
};

Lifecycle::Lifecycle(const LifecycleOptions& options, const Loader& loader, Runtime& runtime,
                     Registry& registry, Metrics& metrics, BackgroundThread& thread)
    : options_(options),
      loader_(loader),
      registry_(registry),
      metrics_(metrics),
      thread_(thread),
      memory_(options.memory_limit_bytes, [&runtime] { return runtime.MemoryInUse(); }) {
  for (int i = 0; i < options.load_threads; ++i) {
    loaders_.push_back(std::make_unique<BackgroundThread>("loader", options.load_nice));
    idle_loaders_.push_back(loaders_.back().get());
  }
}

Lifecycle::~Lifecycle() = default;

void Lifecycle::Follow(std::shared_ptr<const repository::Snapshot> snapshot) {
  MutexLock lock(mu_);
  if (stopping_) return;
  next_ = std::move(snapshot);
  Schedule();
}

void Lifecycle::Schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  thread_.Post([this] { Step(); });
}

void Lifecycle::Step() {
  std::shared_ptr<const repository::Snapshot> snapshot;
  {
    MutexLock lock(mu_);
    scheduled_ = false;
    if (stopping_) return;
    snapshot.swap(next_);
  }
  if (snapshot != nullptr) Apply(*snapshot);
  // One step at a time: versions to be freed and newer snapshots come in between.
  const bool acted = Act();
  RemoveVanished();
  UpdateSettled();
  TellWaiters();
  MutexLock lock(mu_);
  if (acted) Schedule();
}

void Lifecycle::WhenQuiet(const std::string& model, std::function<void()> done) {
  // Behind the step that applies what was given to Follow before.
  thread_.Post([this, waiter = Waiter{model, std::move(done)}] {
    waiters_.push_back(waiter);
    TellWaiters();
  });
}

void Lifecycle::TellWaiters() {
  bool stopping = false;
  {
    MutexLock lock(mu_);
    if (next_ != nullptr && !stopping_) return;
    stopping = stopping_;
  }
  std::vector<Waiter> waiting;
  std::swap(waiting, waiters_);
  for (Waiter& waiter : waiting) {
    const auto model = models_.find(waiter.model);
    const bool may_settle = waiter.pictures < options_.settle_pictures;
    if (stopping || model == models_.end() ||
        (model->second.IsQuiet() && !(may_settle && model->second.IsUnsettled()))) {
      waiter.done();
    } else {
      waiters_.push_back(std::move(waiter));
    }
  }
}

void Lifecycle::Apply(const repository::Snapshot& snapshot) {
  for (Waiter& waiter : waiters_) ++waiter.pictures;
  for (const auto& [name, scan] : snapshot.models) ApplyModel(scan);
  for (auto& [name, model] : models_) {
    if (!snapshot.models.contains(name)) model.wanted = false;
  }
  if (!awaited_) {
    awaited_.emplace();
    for (const auto& [name, scan] : snapshot.models) awaited_->insert(name);
  }
}

void Lifecycle::ApplyModel(const repository::ModelScan& scan) {
  const std::string& name = scan.name;
  Model& model = models_[name];
  registry_.AddModel(name);
  model.wanted = true;
  if (!scan.status.ok()) {
    // Nothing is known about its versions now: what serves goes on.
    registry_.SetModelError(name, scan.status);
    model.scan.name = name;
    return;
  }
  model.scan = scan;
  ReadConfig(name, model);
  registry_.SetModelError(name, model.config_error);
  UpdateLabels(name, model);
  for (auto it = model.versions.begin(); it != model.versions.end();) {
    auto& [number, version] = *it;
    if (version.phase != Phase::kFailed) {
      ++it;
      continue;
    }
    const auto on_disk = scan.versions.find(number);
    if (on_disk == scan.versions.end()) {
      registry_.SetState(name, number, VersionState::kGone);
      it = model.versions.erase(it);
      continue;
    }
    const bool may_fit_now = version.lacked_memory && !version.failure_stands;
    const bool same_config = version.failed_config == model.config.identity;
    version.failure_stands =
        !repository::WorthRetry(on_disk->second, version.failed) && same_config && !may_fit_now;
    ++it;
  }
  registry_.SetAbsent(name, model.Untaken());
}

void Lifecycle::ReadConfig(const std::string& name, Model& model) {
  const std::optional<std::string>& given = model.scan.settings.config;
  const bool is_known = model.scan.config == model.config_stamp && given == model.config_given;
  if (is_known && model.config_error.ok()) return;
  constexpr char kGivenConfig[] = "the config sent with the load";
  auto config = given.has_value() ? repository::ParseModelConfigJson(*given, kGivenConfig, name)
                                  : repository::ReadModelConfig(model.scan.path, name);
  if (given.has_value() && config.ok()) {
    const absl::Status labels = repository::ReadLabelFiles(model.scan.path, *config);
    if (!labels.ok()) config = Annotate(labels, kGivenConfig);
  }
  model.config_error = config.status();
  model.config_stamp = model.scan.config;
  model.config_given = given;
  if (!config.ok()) {
    if (!is_known) BATON_LOG(Error) << "model \"" << name << "\": " << config.status().message();
    return;
  }
  model.config = *std::move(config);
  for (const std::string& warning : model.config.warnings) {
    BATON_LOG(Warning) << "model \"" << name << "\": " << warning;
  }
}

void Lifecycle::UpdateLabels(const std::string& name, Model& model) {
  std::map<std::string, int64_t> labels = model.NextLabels();
  if (labels == model.labels) return;
  for (const auto& [label, number] : labels) {
    const auto former = model.labels.find(label);
    if (former != model.labels.end() && former->second == number) continue;
    BATON_LOG(Info) << "model \"" << name << "\": label \"" << label << "\" is version " << number;
  }
  model.labels = labels;
  registry_.SetLabels(name, std::move(labels));
}

bool Lifecycle::Act() {
  auto it = models_.upper_bound(last_acted_);
  for (size_t i = 0; i < models_.size(); ++i, ++it) {
    if (it == models_.end()) it = models_.begin();
    if (!ActOn(it->first, it->second)) continue;
    last_acted_ = it->first;
    return true;
  }
  return false;
}

bool Lifecycle::ActOn(const std::string& name, Model& model) {
  if (const std::optional<Action> action = model.NextAction()) {
    if (action->kind == Action::Kind::kLoad) return Load(name, model, action->version, false);
    Unload(name, model, action->version);
    return true;
  }
  const int64_t reload = model.NextReload();
  return reload != 0 && Load(name, model, reload, true);
}

bool Lifecycle::Load(const std::string& name, Model& model, int64_t number, bool reload) {
  if (idle_loaders_.empty()) return false;
  const repository::VersionScan& scan = model.scan.versions.at(number);
  const int64_t bytes = EstimateLoadBytes(scan.fingerprint);
  const ModelState::Origin origin{scan.fingerprint, model.config.identity};
  if (const absl::Status room = memory_.Reserve(bytes); !room.ok()) {
    // Memory that is on its way to be free: its owner's end takes this up again.
    if (idle_loaders_.size() < loaders_.size()) return false;
    for (const auto& [other, m] : models_) {
      for (const auto& [n, v] : m.versions) {
        if (v.phase == Phase::kUnloading) return false;
      }
    }
    if (!reload && MakeRoom(name, model, number)) return true;
    Version& version = model.versions[number];
    if (reload) {
      BATON_LOG(Error) << Label(name, number) << ": not loaded anew: " << room.message();
      version.refused = origin;
    } else {
      registry_.SetState(name, number, VersionState::kVerifying);
      Fail(name, version, number, room, "memory", {scan.fingerprint, ""}, origin.config);
      version.lacked_memory = true;
    }
    return true;
  }

  auto job = std::make_shared<LoadJob>();
  job->request = {name, number, scan.path, model.config, {}};
  job->scan = scan;
  job->origin = origin;
  job->reload = reload;
  job->reserved_bytes = bytes;
  job->start = RealClock::Get().Now();
  for (const auto& [other, v] : model.versions) {
    if (v.phase != Phase::kReady) continue;
    job->replaces = true;
    if (const std::shared_ptr<ModelServable> live = v.servable.lock()) {
      job->request.sizes = live->Sizes();
      job->request.before = live->measured();
    }
  }
  Version& version = model.versions[number];
  if (reload) {
    version.reloading = true;
  } else {
    version = Version{};
  }
  BATON_LOG(Info) << Label(name, number) << (reload ? ": loading anew" : ": loading");
  job->loader = idle_loaders_.back();
  idle_loaders_.pop_back();
  job->loader->Post([this, job] {
    RunLoad(*job);
    thread_.Post([this, job] { FinishLoad(*job); });
  });
  return true;
}

// Where the config asks for it, versions that would be replaced go before the new one is loaded.
bool Lifecycle::MakeRoom(const std::string& name, Model& model, int64_t number) {
  if (!model.config.unload_first) return false;
  bool made = false;
  for (auto& [other, version] : model.versions) {
    if (other == number || version.phase != Phase::kReady || version.reloading) continue;
    BATON_LOG(Warning) << Label(name, other) << ": unloaded before version " << number
                       << " is loaded, since memory holds one of them only";
    Unload(name, model, other);
    made = true;
  }
  return made;
}

void Lifecycle::RunLoad(LoadJob& job) {
  const std::string& name = job.request.model;
  const int64_t number = job.request.version;
  const auto enter = [&](VersionState state) {
    if (!job.reload) registry_.SetState(name, number, state);
  };
  for (int retries = 0;; ++retries) {
    job.result = loader_.Load(job.request, enter);
    if (job.result.servable != nullptr) return;
    if (job.reload || retries == options_.load_retries) break;
    BATON_LOG(Warning) << Label(name, number) << ": failed, " << options_.load_retries - retries
                       << " more to try: " << job.result.error.message();
    registry_.SetState(name, number, VersionState::kFailed, job.result.error);
    if (!WaitForRetry()) return;
  }
  if (!job.reload) job.failed = repository::IdentifyContent(job.scan);
}

bool Lifecycle::WaitForRetry() {
  const SteadyTime until = RealClock::Get().Now() + options_.load_retry_interval;
  MutexLock lock(mu_);
  while (!stopping_ && changed_.WaitUntil(mu_, until)) {
  }
  return !stopping_;
}

void Lifecycle::FinishLoad(LoadJob& job) {
  const std::string& name = job.request.model;
  const int64_t number = job.request.version;
  idle_loaders_.push_back(job.loader);
  memory_.Release(job.reserved_bytes);
  {
    MutexLock lock(mu_);
    if (stopping_) {
      job.result.servable.reset();
      return;
    }
  }
  // A version that was to be loaded anew may have been unloaded meanwhile, even loaded again, and
  // its model may be gone.
  const auto model = models_.find(name);
  Version* there = nullptr;
  if (model != models_.end()) {
    const auto found = model->second.versions.find(number);
    if (found != model->second.versions.end()) there = &found->second;
  }
  if (there != nullptr && job.reload && !(there->phase == Phase::kReady && there->reloading)) {
    there = nullptr;
  }
  if (there != nullptr) {
    Version& version = *there;
    version.reloading = false;
    if (job.result.servable != nullptr) {
      Publish(job, model->second, version);
    } else if (job.reload) {
      BATON_LOG(Error) << Label(name, number)
                       << ": goes on as it was; it could not be loaded anew: "
                       << job.result.error.message();
      version.refused = job.origin;
      metrics_.RecordLoadFailure(name, job.result.reason);
    } else {
      Fail(name, version, number, job.result.error, job.result.reason, std::move(job.failed),
           std::move(job.origin.config));
    }
  }
  job.result.servable.reset();
  MutexLock lock(mu_);
  Schedule();
}

void Lifecycle::Fail(const std::string& name, Version& version, int64_t number,
                     const absl::Status& error, const std::string& reason,
                     repository::ContentIdentity identity, std::string config) {
  BATON_LOG(Error) << Label(name, number) << ": failed: " << error.message();
  version.phase = Phase::kFailed;
  version.failed = std::move(identity);
  version.failed_config = std::move(config);
  version.failure_stands = true;
  version.lacked_memory = false;
  metrics_.RecordLoadFailure(name, reason);
  registry_.SetState(name, number, VersionState::kFailed, error);
}

void Lifecycle::Publish(LoadJob& job, Model& model, Version& version) {
  const std::string& name = job.request.model;
  const int64_t number = job.request.version;
  const std::shared_ptr<ModelServable> servable(
      job.result.servable.release(),
      [this](ModelServable* s) { thread_.Post([this, s] { Free(s); }); });
  version.phase = Phase::kReady;
  version.servable = servable;
  version.current = servable.get();
  version.origin = job.origin;
  version.refused.reset();
  {
    MutexLock lock(mu_);
    ++alive_;
    if (!job.reload) ++ready_;
  }
  const std::shared_ptr<Servable> handle = servable->Handle();
  const std::shared_ptr<Rollout> rollout = MakeRollout(job, model, handle);
  if (job.reload) {
    registry_.Replace(name, number, handle).reset();
  } else {
    // First, so that the version is not picked as the latest in between.
    if (rollout != nullptr) registry_.SetRollout(name, rollout);
    registry_.SetState(name, number, VersionState::kReady, absl::OkStatus(), handle);
  }
  if (job.replaces && rollout == nullptr) metrics_.RecordSwap(name);
  BATON_LOG(Info) << Label(name, number) << ": ready after "
                  << Seconds(RealClock::Get().Now() - job.start) << " s";
  UpdateLabels(name, model);
}

std::shared_ptr<Rollout> Lifecycle::MakeRollout(const LoadJob& job, Model& model,
                                                const std::shared_ptr<Servable>& candidate) {
  const std::string& name = job.request.model;
  const int64_t number = job.request.version;
  if (job.reload || !model.config.rollout.enabled()) return nullptr;
  int64_t stable = model.stable;
  if (stable == 0) {
    for (const auto& [other, version] : model.versions) {
      if (other != number && version.phase == Phase::kReady) stable = std::max(stable, other);
    }
  }
  if (stable == 0 || stable > number) return nullptr;
  const auto serving = registry_.Acquire(name, {stable, {}});
  if (!serving.ok()) return nullptr;
  model.stable = stable;
  model.candidate = number;
  BATON_LOG(Info) << Label(name, number) << ": rollout begins, with "
                  << model.config.rollout.percent << " % of the requests";
  return std::make_shared<Rollout>(
      model.config.rollout, *serving, candidate, [this, name, number](const absl::Status& error) {
        thread_.Post([this, name, number, error] { EndRollout(name, number, error); });
      });
}

void Lifecycle::EndRollout(const std::string& name, int64_t candidate, const absl::Status& error) {
  const auto found = models_.find(name);
  if (found == models_.end() || found->second.candidate != candidate) return;
  Model& model = found->second;
  if (error.ok()) {
    BATON_LOG(Info) << Label(name, candidate) << ": rollout ends well, it takes over";
    metrics_.RecordRollout(name, "promoted");
    metrics_.RecordSwap(name);
    model.stable = model.candidate = 0;
    registry_.SetRollout(name, nullptr);
  } else {
    BATON_LOG(Error) << Label(name, candidate) << ": " << error.message();
    metrics_.RecordRollout(name, "reverted");
    metrics_.RecordLoadFailure(name, "rollout");
    model.versions.at(candidate).reverted = error;
    Unload(name, model, candidate);
  }
  MutexLock lock(mu_);
  if (!stopping_) Schedule();
}

void Lifecycle::Unload(const std::string& name, Model& model, int64_t number) {
  model.versions.at(number).phase = Phase::kUnloading;
  {
    MutexLock lock(mu_);
    --ready_;
  }
  BATON_LOG(Info) << Label(name, number) << ": draining";
  UpdateLabels(name, model);
  // The registry's hold ends here; when requests' holds and its work have ended too, Free follows.
  registry_.SetState(name, number, VersionState::kDraining).reset();
  if (number == model.stable || number == model.candidate) {
    // Only now, so that a candidate was never the latest.
    model.stable = model.candidate = 0;
    registry_.SetRollout(name, nullptr);
  }
}

void Lifecycle::Free(ModelServable* servable) {
  const std::string name = servable->model();
  const int64_t number = servable->version();
  const size_t bytes = servable->memory_bytes();
  delete servable;
  if (bytes >= kTrimBytes) malloc_trim(0);
  // One that another of the same version replaced may outlive that, and even the model.
  if (const auto model = models_.find(name); model != models_.end()) {
    auto& versions = model->second.versions;
    const auto version = versions.find(number);
    if (version != versions.end() && version->second.current == servable &&
        !version->second.reverted.ok()) {
      Version& failed = version->second;
      registry_.SetState(name, number, VersionState::kFailed, failed.reverted);
      failed.phase = Phase::kFailed;
      failed.failed = {failed.origin.files, ""};
      failed.failed_config = failed.origin.config;
      failed.failure_stands = true;
      failed.reverted = absl::OkStatus();
      failed.current = nullptr;
    } else if (version != versions.end() && version->second.current == servable) {
      versions.erase(version);
      registry_.SetState(name, number, VersionState::kGone);
      BATON_LOG(Info) << Label(name, number) << ": gone";
    }
  }
  for (auto& [other, model] : models_) {
    for (auto& [n, v] : model.versions) {
      if (v.lacked_memory) v.failure_stands = false;
    }
  }
  MutexLock lock(mu_);
  if (--alive_ == 0) changed_.SignalAll();
  if (!stopping_) Schedule();
}

void Lifecycle::RemoveVanished() {
  for (auto it = models_.begin(); it != models_.end();) {
    auto& [name, model] = *it;
    if (!model.wanted) {
      std::erase_if(model.versions, [](const auto& v) { return v.second.phase == Phase::kFailed; });
    }
    if (model.wanted || !model.versions.empty()) {
      ++it;
      continue;
    }
    BATON_LOG(Info) << "model \"" << name << "\": removed";
    registry_.RemoveModel(name);
    metrics_.RemoveModel(name);
    it = models_.erase(it);
  }
}

void Lifecycle::UpdateSettled() {
  if (!awaited_ || Settled()) return;
  std::erase_if(*awaited_, [this](const std::string& name) {
    const auto found = models_.find(name);
    if (found == models_.end() || !found->second.wanted) return true;
    return found->second.HasBegun();
  });
  if (!awaited_->empty()) return;
  MutexLock lock(mu_);
  settled_ = true;
}

bool Lifecycle::Settled() const {
  MutexLock lock(mu_);
  return settled_;
}

int Lifecycle::ready_versions() const {
  MutexLock lock(mu_);
  return ready_;
}

void Lifecycle::HideAll() {
  for (auto& [name, model] : models_) {
    for (auto& [number, version] : model.versions) {
      if (version.phase == Phase::kReady) Unload(name, model, number);
    }
  }
  MutexLock lock(mu_);
  hidden_ = true;
  changed_.SignalAll();
}

bool Lifecycle::Drain(SteadyTime deadline) {
  MutexLock lock(mu_);
  if (!stopping_) {
    stopping_ = true;
    next_ = nullptr;
    changed_.SignalAll();
    thread_.Post([this] {
      HideAll();
      TellWaiters();
    });
  }
  while (!hidden_ || alive_ > 0) {
    if (!changed_.WaitUntil(mu_, deadline)) break;
  }
  return hidden_ && alive_ == 0;
}

void Lifecycle::Abort() {
  for (const std::unique_ptr<BackgroundThread>& loader : loaders_) loader->Stop();
  thread_.Post([this] {
    for (auto& [name, model] : models_) {
      for (auto& [number, version] : model.versions) {
        if (const auto servable = version.servable.lock()) servable->Abort();
      }
    }
    MutexLock lock(mu_);
    aborted_ = true;
    changed_.SignalAll();
  });
  MutexLock lock(mu_);
  while (!aborted_) changed_.Wait(mu_);
}

}  // namespace baton::serving
