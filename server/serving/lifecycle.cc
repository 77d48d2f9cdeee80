#include "server/serving/lifecycle.h"

#include <malloc.h>

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

}  // namespace

Lifecycle::Lifecycle(const Loader& loader, Registry& registry, Metrics& metrics,
                     BackgroundThread& thread)
    : loader_(loader), registry_(registry), metrics_(metrics), thread_(thread) {}

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
  MutexLock lock(mu_);
  if (acted) Schedule();
}

void Lifecycle::Apply(const repository::Snapshot& snapshot) {
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
    version.failure_stands = !repository::WorthRetry(on_disk->second, version.failed);
    ++it;
  }
  ReportUntaken(name, model);
}

void Lifecycle::ReadConfig(const std::string& name, Model& model) {
  if (model.scan.config == model.config_stamp && model.config_error.ok()) return;
  auto config = repository::ReadModelConfig(model.scan.path, name);
  model.config_error = config.status();
  if (!config.ok()) {
    if (model.scan.config != model.config_stamp) {
      BATON_LOG(Error) << "model \"" << name << "\": " << config.status().message();
    }
    model.config_stamp = model.scan.config;
    return;
  }
  model.config_stamp = model.scan.config;
  model.config = *std::move(config);
  for (const std::string& warning : model.config.warnings) {
    BATON_LOG(Warning) << "model \"" << name << "\": " << warning;
  }
}

void Lifecycle::ReportUntaken(const std::string& name, const Model& model) {
  std::map<int64_t, absl::Status> untaken;
  for (const auto& [number, scan] : model.scan.versions) {
    if (model.versions.contains(number) || repository::MayTake(scan)) continue;
    if (!scan.status.ok()) {
      untaken[number] = scan.status;
    } else if (!scan.has_model) {
      untaken[number] =
          absl::UnavailableError(absl::StrCat("its directory has no ", repository::kModelFile));
    } else {
      untaken[number] = absl::UnavailableError(
          "its files are still changing; without a manifest it is taken once they have been the "
          "same for two polls");
    }
  }
  registry_.SetAbsent(name, untaken);
}

std::optional<Action> Lifecycle::NextAction(const Model& model) const {
  std::set<int64_t> available, failed;
  std::map<int64_t, Phase> phases;
  for (const auto& [number, version] : model.versions) {
    phases[number] = version.phase;
    if (version.phase == Phase::kFailed && version.failure_stands) failed.insert(number);
  }
  if (model.wanted) {
    for (const auto& [number, scan] : model.scan.versions) {
      const auto phase = phases.find(number);
      const bool serves = phase != phases.end() && phase->second == Phase::kReady;
      const bool loadable = repository::MayTake(scan) && model.config_error.ok();
      // A failure that stands counts as available: the policy passes it over by itself.
      if (serves || loadable || failed.contains(number)) available.insert(number);
    }
  }
  const repository::VersionPolicy policy =
      model.config.version_policy.value_or(repository::VersionPolicy{});
  return repository::Next(repository::Desired(available, policy, failed), phases);
}

bool Lifecycle::Act() {
  auto it = models_.upper_bound(last_acted_);
  for (size_t i = 0; i < models_.size(); ++i, ++it) {
    if (it == models_.end()) it = models_.begin();
    const std::optional<Action> action = NextAction(it->second);
    if (!action) continue;
    last_acted_ = it->first;
    if (action->kind == Action::Kind::kLoad) {
      Load(it->first, it->second, action->version);
    } else {
      Unload(it->first, it->second, action->version);
    }
    return true;
  }
  return false;
}

void Lifecycle::Load(const std::string& name, Model& model, int64_t number) {
  const repository::VersionScan& scan = model.scan.versions.at(number);
  Version& version = model.versions[number];
  version.phase = Phase::kLoading;

  LoadRequest request{name, number, scan.path, model.config, {}};
  bool replaces = false;
  for (const auto& [other, v] : model.versions) {
    if (v.phase != Phase::kReady) continue;
    replaces = true;
    if (const std::shared_ptr<ModelServable> live = v.servable.lock()) {
      request.sizes = live->Sizes();
    }
  }
  BATON_LOG(Info) << "model \"" << name << "\" version " << number << ": loading";
  const SteadyTime start = RealClock::Get().Now();
  LoadResult result =
      loader_.Load(request, [&](VersionState state) { registry_.SetState(name, number, state); });
  if (result.servable == nullptr) {
    BATON_LOG(Error) << "model \"" << name << "\" version " << number
                     << ": failed: " << result.error.message();
    version.phase = Phase::kFailed;
    version.failed = repository::IdentifyContent(scan);
    version.failure_stands = true;
    metrics_.RecordLoadFailure(name, result.reason);
    registry_.SetState(name, number, VersionState::kFailed, result.error);
    return;
  }

  const std::shared_ptr<ModelServable> servable(
      result.servable.release(),
      [this](ModelServable* s) { thread_.Post([this, s] { Free(s); }); });
  version.phase = Phase::kReady;
  version.servable = servable;
  {
    MutexLock lock(mu_);
    ++alive_;
    ++ready_;
  }
  registry_.SetState(name, number, VersionState::kReady, absl::OkStatus(), servable->Handle());
  if (replaces) metrics_.RecordSwap(name);
  BATON_LOG(Info) << "model \"" << name << "\" version " << number << ": ready after "
                  << Seconds(RealClock::Get().Now() - start) << " s";
}

void Lifecycle::Unload(const std::string& name, Model& model, int64_t number) {
  model.versions.at(number).phase = Phase::kUnloading;
  {
    MutexLock lock(mu_);
    --ready_;
  }
  BATON_LOG(Info) << "model \"" << name << "\" version " << number << ": draining";
  // The registry's hold ends here; when requests' holds and its work have ended too, Free follows.
  registry_.SetState(name, number, VersionState::kDraining).reset();
}

void Lifecycle::Free(ModelServable* servable) {
  const std::string name = servable->model();
  const int64_t number = servable->version();
  const size_t bytes = servable->memory_bytes();
  delete servable;
  if (bytes >= kTrimBytes) malloc_trim(0);
  models_.at(name).versions.erase(number);
  registry_.SetState(name, number, VersionState::kGone);
  BATON_LOG(Info) << "model \"" << name << "\" version " << number << ": gone";
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
    const Model& model = found->second;
    for (const auto& [number, version] : model.versions) {
      if (version.phase == Phase::kReady) return true;
    }
    // Something still to come: a step of its own, or files that have not settled.
    if (NextAction(model)) return false;
    if (!model.config_error.ok()) return true;
    for (const auto& [number, scan] : model.scan.versions) {
      if (scan.status.ok() && scan.has_model && !repository::MayTake(scan)) return false;
    }
    return true;
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
    thread_.Post([this] { HideAll(); });
  }
  while (!hidden_ || alive_ > 0) {
    if (!changed_.WaitUntil(mu_, deadline)) break;
  }
  return hidden_ && alive_ == 0;
}

void Lifecycle::Abort() {
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
