// The life of a model version: one enum, one transition table.
//
//   absent → verifying → loading → warming → ready → draining → gone
//   verifying, loading, warming → failed(reason); draining → failed(reason) after a rollout that
//   was reverted; failed → verifying when the content changes,
//   failed → gone when the version vanishes; gone → verifying when it comes back
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::serving {

enum class VersionState {
  kAbsent,
  kVerifying,
  kLoading,
  kWarming,
  kReady,
  kDraining,
  kGone,
  kFailed
};

// Lower-case name, as in metrics ("ready").
absl::string_view VersionStateName(VersionState state);

// True if the life of a version may go from `from` to `to` in one step.
bool MayChange(VersionState from, VersionState to);

struct VersionStatus {
  int64_t version = 0;
  VersionState state = VersionState::kAbsent;
  absl::Status error;     // kFailed: why; kAbsent: why it is not taken; else OK
  std::string note = {};  // of a rollout that is under way, or Servable::note
};

struct ModelStatus {
  std::string name;
  std::vector<VersionStatus> versions;  // highest version first
  absl::Status error;  // what is wrong with the model as a whole (its config, its directory)
};

}  // namespace baton::serving
