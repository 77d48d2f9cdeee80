// Lifecycle: makes what serves follow what is in the repository. Takes the watcher's snapshots,
// asks the version policy for the next step of each model, has the loader carry it out, and tells
// the registry.
//
// All its decisions and frees happen on one background thread, one step at a time, the models in
// turn; loads run beside it on threads of low priority, one version of a model at a time, several
// models at once. Serving threads do none of it. A swap is: the new version becomes visible, then
// the old one is hidden. Requests that hold the old one finish on it; when the last of them has let
// go and its queue is empty, it is freed on the background thread.
//
// A version that is ready is loaded anew, beside the one that serves, when its files or its
// model's config have changed; if that fails the former goes on.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/mutex.h"
#include "server/repository/watcher.h"
#include "server/serving/background_thread.h"
#include "server/serving/loader.h"
#include "server/serving/memory_budget.h"
#include "server/serving/metrics.h"
#include "server/serving/model_state.h"
#include "server/serving/registry.h"
#include "server/serving/rollout.h"

namespace baton::serving {

struct LifecycleOptions {
  int load_threads = 1;            // models that load at once
  int load_nice = 15;              // their scheduling priority, 0 … 19
  int load_retries = 0;            // of a version that failed, while its content is the same
  Duration load_retry_interval{};  // between these
  int settle_pictures = 0;         // after which WhenQuiet waits no longer for files to settle
  int64_t memory_limit_bytes = 0;  // of the process; 0: none
};

class Lifecycle {
 public:
  // All outlive the lifecycle; `thread` is stopped before the lifecycle ends.
  Lifecycle(const LifecycleOptions& options, const Loader& loader, Runtime& runtime,
            Registry& registry, Metrics& metrics, BackgroundThread& thread);
  ~Lifecycle();
  Lifecycle(const Lifecycle&) = delete;
  Lifecycle& operator=(const Lifecycle&) = delete;

  // The picture to follow from now on. Does not wait for what it leads to.
  void Follow(std::shared_ptr<const repository::Snapshot> snapshot) ABSL_LOCKS_EXCLUDED(mu_);

  // Calls `done`, on the background thread, once nothing is left to do for a model that was in the
  // last picture given to Follow, or at once if it was not; also when the server stops. Files that
  // are still changing are waited for, where no version serves, for a few pictures.
  void WhenQuiet(const std::string& model, std::function<void()> done);

  // True once every model of the first snapshot serves, has failed, or has nothing to load; never
  // false again.
  bool Settled() const ABSL_LOCKS_EXCLUDED(mu_);
  // Versions that are ready.
  int ready_versions() const ABSL_LOCKS_EXCLUDED(mu_);

  // Begins no step any more, hides all versions, and waits until all are freed, or `deadline`.
  // True if they are. Answers still awaited at `deadline` stay awaited: Abort gives them up.
  bool Drain(SteadyTime deadline) ABSL_LOCKS_EXCLUDED(mu_);
  // Closes all queues and answers all that waits in them with kUnavailable. Waits for loads that
  // are under way; what they load never serves. REQUIRES: Drain was called.
  void Abort() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Version = ModelState::Version;
  using Model = ModelState;
  struct Waiter {
    std::string model;
    std::function<void()> done;
    int pictures = 0;  // that have come meanwhile
  };
  struct LoadJob;

  // The steps below run on the background thread only.
  void Schedule() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Step() ABSL_LOCKS_EXCLUDED(mu_);
  void Apply(const repository::Snapshot& snapshot);
  void ApplyModel(const repository::ModelScan& scan);
  void ReadConfig(const std::string& name, Model& model);
  void UpdateLabels(const std::string& name, Model& model);
  // Takes the next step of one model, in turn. False if no model has one that can be taken now.
  bool Act();
  bool ActOn(const std::string& name, Model& model);
  // False if it has to wait: for a loader thread, or for memory that is about to be freed.
  bool Load(const std::string& name, Model& model, int64_t number, bool reload);
  bool MakeRoom(const std::string& name, Model& model, int64_t number);
  // On a loader thread.
  void RunLoad(LoadJob& job) ABSL_LOCKS_EXCLUDED(mu_);
  bool WaitForRetry() ABSL_LOCKS_EXCLUDED(mu_);
  void FinishLoad(LoadJob& job);
  void Fail(const std::string& name, Version& version, int64_t number, const absl::Status& error,
            const std::string& reason, repository::ContentIdentity identity, std::string config);
  void Publish(LoadJob& job, Model& model, Version& version);
  // The rollout that `job` is to begin with, or null if its version takes over at once.
  std::shared_ptr<Rollout> MakeRollout(const LoadJob& job, Model& model,
                                       const std::shared_ptr<Servable>& candidate);
  void EndRollout(const std::string& name, int64_t candidate, const absl::Status& error);
  void Unload(const std::string& name, Model& model, int64_t version);
  void Free(ModelServable* servable) ABSL_LOCKS_EXCLUDED(mu_);
  void RemoveVanished();
  void TellWaiters();
  void UpdateSettled() ABSL_LOCKS_EXCLUDED(mu_);
  void HideAll();

  const LifecycleOptions options_;
  const Loader& loader_;
  Registry& registry_;
  Metrics& metrics_;
  BackgroundThread& thread_;
  MemoryBudget memory_;
  std::vector<std::unique_ptr<BackgroundThread>> loaders_;

  // Used by the background thread only.
  std::map<std::string, Model> models_;
  std::vector<BackgroundThread*> idle_loaders_;
  std::string last_acted_;                        // the next model after it has its turn
  std::optional<std::set<std::string>> awaited_;  // models of the first snapshot, until settled
  std::vector<Waiter> waiters_;

  mutable Mutex mu_;
  CondVar changed_;  // stopping_, hidden_, aborted_ or alive_
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
