// Rollout: a new version takes over in stages, and only as long as it does as well as the one that
// serves. First a share of the requests is run by both, and the answers compared (shadow: clients
// get the stable version's). Then the same share is answered by the new one (live). Then it takes
// over, or on the first sign of trouble it goes: see RolloutOptions for what that is. Thread-safe.
//
// Applies to requests that name neither version nor label.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "server/repository/rollout_options.h"
#include "server/serving/servable.h"

namespace baton::serving {

class Rollout : public std::enable_shared_from_this<Rollout> {
 public:
  // `error` is OK if the candidate may take over, else why it must not. Called once, on a thread
  // that submits or runs requests; must not block.
  using Decided = std::function<void(const absl::Status& error)>;

  // REQUIRES: options.enabled().
  Rollout(const repository::RolloutOptions& options, std::shared_ptr<Servable> stable,
          std::shared_ptr<Servable> candidate, Decided decided);

  // What the next request is to be submitted to, once.
  std::shared_ptr<Servable> Pick() ABSL_LOCKS_EXCLUDED(mu_);

  int64_t candidate_version() const { return candidate_->version(); }
  // "rollout: shadow, 17 of 200 requests".
  std::string Describe() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  enum class Stage { kShadow, kLive, kOver };
  class Stand;
  class Shadowed;
  class Live;
  class Measured;
  struct Comparison;
  // What was wrong with an answer of the candidate's; OK if nothing was.
  struct Fault {
    absl::Status status;
    bool is_decisive = false;  // else a share of such answers may be allowed
  };
  // What is known of one version's requests in a stage.
  struct Sample {
    int64_t requests = 0;
    int64_t errors = 0;
    std::vector<double> seconds;  // of compute
  };

  // After the stable version answered: the same by the candidate.
  void RunShadow(std::shared_ptr<Comparison> comparison) ABSL_LOCKS_EXCLUDED(mu_);
  // `seconds`: negative where there is no time to compare.
  void RecordCandidate(Stage stage, const Fault& fault, double seconds) ABSL_LOCKS_EXCLUDED(mu_);
  void RecordStable(Stage stage, double seconds) ABSL_LOCKS_EXCLUDED(mu_);
  int64_t StageRequests() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Why the candidate must not go on, as far as is known; OK if it may.
  absl::Status Judge(const Fault& fault) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EnterLiveOrEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const repository::RolloutOptions options_;
  const std::shared_ptr<Servable> stable_;
  const std::shared_ptr<Servable> candidate_;
  const Decided decided_;
  mutable Mutex mu_;
  Stage stage_ ABSL_GUARDED_BY(mu_) = Stage::kShadow;
  int64_t picks_ ABSL_GUARDED_BY(mu_) = 0;
  bool measure_stable_ ABSL_GUARDED_BY(mu_) = false;  // with the next request that it gets
  size_t next_comparison_ ABSL_GUARDED_BY(mu_);       // of medians: when so many times are known
  Sample of_stable_ ABSL_GUARDED_BY(mu_);
  Sample of_candidate_ ABSL_GUARDED_BY(mu_);
};

}  // namespace baton::serving
