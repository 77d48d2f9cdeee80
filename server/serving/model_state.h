// ModelState: what the lifecycle knows of one model, and what is to be done next. A plain value; it
// decides, and does nothing itself.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/repository/content.h"
#include "server/repository/model_config.h"
#include "server/repository/scan.h"
#include "server/repository/version_policy.h"
#include "server/serving/model_servable.h"

namespace baton::serving {

struct ModelState {
  // What a version was loaded from.
  struct Origin {
    repository::Fingerprint files;
    std::string config;  // ModelConfig::identity
  };
  struct Version {
    repository::Phase phase = repository::Phase::kLoading;
    std::weak_ptr<ModelServable> servable;   // while ready or unloading
    const ModelServable* current = nullptr;  // the same, also while it is being freed
    Origin origin;                           // while ready or unloading
    bool reloading = false;                  // while ready: another is being loaded in its place
    std::optional<Origin> refused;           // while ready: one that could not take its place
    absl::Status reverted;               // while unloading: why, if that is the end of its rollout
    repository::ContentIdentity failed;  // while failed
    std::string failed_config;           // while failed: ModelConfig::identity it failed with
    bool failure_stands = true;          // while failed: its content and config are the same
    bool lacked_memory = false;          // while failed
  };

  // The next step towards the versions that policy, labels and rollout want; nothing if there is
  // none, or if one that is under way has to end first.
  std::optional<repository::Action> NextAction() const;
  // A version that is ready and to be loaded anew, as its files or config have changed; 0: none.
  int64_t NextReload() const;
  // Nothing is under way or to be done.
  bool IsQuiet() const;
  // No version serves, and files that may become one are still changing.
  bool IsUnsettled() const;
  // It serves, or there is nothing to wait for: its versions have failed, or it has none to load.
  bool HasBegun() const;
  // The versions on disk that are not taken, and why.
  std::map<int64_t, absl::Status> Untaken() const;
  // The labels as they should be in effect now: one whose version is not ready stays where it was.
  std::map<std::string, int64_t> NextLabels() const;

  repository::ModelScan scan;  // the last that succeeded
  bool wanted = true;          // false: vanished, to be unloaded
  std::optional<repository::FileStamp> config_stamp;
  std::optional<std::string> config_given;  // ModelSettings::config that was read
  absl::Status config_error;
  repository::ModelConfig config;
  std::map<int64_t, Version> versions;
  std::map<std::string, int64_t> labels;  // in effect
  // Versions of the rollout under way; 0: none.
  int64_t stable = 0;
  int64_t candidate = 0;

 private:
  bool IsReady(int64_t version) const;
  bool IsLoading() const;
  std::map<std::string, int64_t> WantedLabels() const;
};

}  // namespace baton::serving
