// Registry: what is being served now, by name, and the state of every version known. Thread-safe.
// Readers take a lock only for the time of a map look-up and a shared_ptr copy; nothing loads,
// runs or frees under it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/mutex.h"
#include "server/serving/rollout.h"
#include "server/serving/servable.h"
#include "server/serving/version_state.h"

namespace baton::serving {

// Which version a request wants: the latest that is ready, a number, or a label.
struct VersionChoice {
  std::optional<int64_t> version;
  std::string label;
};

class Registry {
 public:
  // kNotFound: no such model, version or label, or a version that is gone (lists what there is).
  // kUnavailable: known, but not ready (says its state, and the reason if it failed).
  // kInvalidArgument: the name is empty.
  absl::StatusOr<std::shared_ptr<Servable>> Acquire(absl::string_view model,
                                                    const VersionChoice& choice) const
      ABSL_LOCKS_EXCLUDED(mu_);

  // From now on Acquire gives kUnavailable: the server is shutting down.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

  bool Knows(absl::string_view model) const ABSL_LOCKS_EXCLUDED(mu_);
  // kNotFound for a model that is not known.
  absl::StatusOr<ModelStatus> Status(absl::string_view model) const ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<ModelStatus> StatusOfAll() const ABSL_LOCKS_EXCLUDED(mu_);

  // The calls of the lifecycle. Two threads may change states of different versions of one model at
  // once; everything else has one caller at a time.
  // A model that is added twice keeps what it has.
  void AddModel(const std::string& model) ABSL_LOCKS_EXCLUDED(mu_);
  // REQUIRES: no version of the model is ready. Forgets the model; unknown models are ignored.
  void RemoveModel(const std::string& model) ABSL_LOCKS_EXCLUDED(mu_);
  void SetModelError(const std::string& model, const absl::Status& error) ABSL_LOCKS_EXCLUDED(mu_);
  // REQUIRES: a model that was added, a transition that MayChange allows, and `servable` exactly
  // for kReady. kReady makes the servable visible; leaving kReady hides it and returns it, so that
  // the caller lets go of it where it wants. Of the versions that are gone the last few are kept
  // for Status.
  std::shared_ptr<Servable> SetState(const std::string& model, int64_t version, VersionState state,
                                     const absl::Status& error = absl::OkStatus(),
                                     std::shared_ptr<Servable> servable = nullptr)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Puts another servable of a version that is ready in its place, and returns the former one.
  // REQUIRES: the version is kReady.
  std::shared_ptr<Servable> Replace(const std::string& model, int64_t version,
                                    std::shared_ptr<Servable> servable) ABSL_LOCKS_EXCLUDED(mu_);
  // From now on `rollout` picks what answers requests that name no version; null: the latest does.
  void SetRollout(const std::string& model, std::shared_ptr<Rollout> rollout)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The versions that are there but not taken, and why: exactly these are kAbsent from now on, but
  // for those that are in another state already.
  void SetAbsent(const std::string& model, const std::map<int64_t, absl::Status>& why)
      ABSL_LOCKS_EXCLUDED(mu_);
  void SetLabels(const std::string& model, std::map<std::string, int64_t> labels)
      ABSL_LOCKS_EXCLUDED(mu_);
  // kNotFound for a model that is not known.
  absl::StatusOr<std::map<std::string, int64_t>> Labels(absl::string_view model) const
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Status UnknownModel(absl::string_view model) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Acquire, where no rollout decides; else that is returned in `rollout`.
  absl::StatusOr<std::shared_ptr<Servable>> Find(absl::string_view model,
                                                 const VersionChoice& choice,
                                                 std::shared_ptr<Rollout>& rollout) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  struct Version {
    VersionState state = VersionState::kAbsent;
    absl::Status error;
    std::shared_ptr<Servable> servable;  // set exactly while kReady
  };
  struct Model {
    std::map<int64_t, Version, std::greater<int64_t>> versions;
    std::map<std::string, int64_t> labels;
    std::shared_ptr<Rollout> rollout;  // null if there is none under way
    absl::Status error;
  };
  static ModelStatus StatusOf(const std::string& name, const Model& model);

  mutable Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, Model, std::less<>> models_ ABSL_GUARDED_BY(mu_);
};

}  // namespace baton::serving
