// Lifecycle: makes what serves follow what is in the repository. Takes the watcher's snapshots,
// asks the version policy for the next step of each model, has the loader carry it out, and tells
// the registry.
//
// All its decisions, loads and frees happen on one background thread, one step at a time, the
// models in turn; serving threads do none of it. A swap is: the new version becomes visible, then
// the old one is hidden. Requests that hold the old one finish on it; when the last of them has
// let go and its queue is empty, it is freed on the background thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "server/repository/content.h"
#include "server/repository/model_config.h"
#include "server/repository/version_policy.h"
#include "server/repository/watcher.h"
#include "server/serving/background_thread.h"
#include "server/serving/loader.h"
#include "server/serving/metrics.h"
#include "server/serving/model_servable.h"
#include "server/serving/registry.h"

namespace baton::serving {

class Lifecycle {
 public:
  // All outlive the lifecycle; `thread` is stopped before the lifecycle ends.
  Lifecycle(const Loader& loader, Registry& registry, Metrics& metrics, BackgroundThread& thread);
  ~Lifecycle();
  Lifecycle(const Lifecycle&) = delete;
  Lifecycle& operator=(const Lifecycle&) = delete;

  // The picture to follow from now on. Does not wait for what it leads to.
  void Follow(std::shared_ptr<const repository::Snapshot> snapshot) ABSL_LOCKS_EXCLUDED(mu_);

  // True once every model of the first snapshot serves, has failed, or has nothing to load; never
  // false again.
  bool Settled() const ABSL_LOCKS_EXCLUDED(mu_);
  // Versions that are ready.
  int ready_versions() const ABSL_LOCKS_EXCLUDED(mu_);

  // Begins no step any more, hides all versions as soon as the one under way has ended, and waits
  // until all are freed, or `deadline`. True if they are. Answers still awaited at `deadline` stay
  // awaited: Abort gives them up.
  bool Drain(SteadyTime deadline) ABSL_LOCKS_EXCLUDED(mu_);
  // Closes all queues and answers all that waits in them with kUnavailable. Waits for a load that
  // is under way. REQUIRES: Drain was called.
  void Abort() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Version {
    repository::Phase phase = repository::Phase::kLoading;
    std::weak_ptr<ModelServable> servable;  // while ready or unloading
    repository::ContentIdentity failed;     // while failed
    bool failure_stands = true;             // while failed: its content is the same
  };
  struct Model {
    repository::ModelScan scan;  // the last that succeeded
    bool wanted = true;          // false: vanished, to be unloaded
    std::optional<repository::FileStamp> config_stamp;
    absl::Status config_error;
    repository::ModelConfig config;
    std::map<int64_t, Version> versions;
  };

  // The steps below run on the background thread only.
  void Schedule() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Step() ABSL_LOCKS_EXCLUDED(mu_);
  void Apply(const repository::Snapshot& snapshot);
  void ApplyModel(const repository::ModelScan& scan);
  void ReadConfig(const std::string& name, Model& model);
  void ReportUntaken(const std::string& name, const Model& model);
  std::optional<repository::Action> NextAction(const Model& model) const;
  // Takes the next step of one model, in turn. False if no model has one.
  bool Act();
  void Load(const std::string& name, Model& model, int64_t version);
  void Unload(const std::string& name, Model& model, int64_t version);
  void Free(ModelServable* servable) ABSL_LOCKS_EXCLUDED(mu_);
  void RemoveVanished();
  void UpdateSettled() ABSL_LOCKS_EXCLUDED(mu_);
  void HideAll();

  const Loader& loader_;
  Registry& registry_;
  Metrics& metrics_;
  BackgroundThread& thread_;

  // Used by the background thread only.
  std::map<std::string, Model> models_;
  std::string last_acted_;                        // the next model after it has its turn
  std::optional<std::set<std::string>> awaited_;  // models of the first snapshot, until settled

  mutable Mutex mu_;
  CondVar changed_;  // hidden_, aborted_ or alive_
  std::shared_ptr<const repository::Snapshot> next_ ABSL_GUARDED_BY(mu_);  // not yet applied
  bool scheduled_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool hidden_ ABSL_GUARDED_BY(mu_) = false;  // all versions are, and none will come
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
  bool settled_ ABSL_GUARDED_BY(mu_) = false;
  int ready_ ABSL_GUARDED_BY(mu_) = 0;
  int alive_ ABSL_GUARDED_BY(mu_) = 0;  // servables not yet freed
};

}  // namespace baton::serving
