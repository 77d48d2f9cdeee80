// Version policy: which versions a model should serve, and the next step towards it. Pure
// functions; the lifecycle calls them after every scan and every change of state, carries out the
// step and calls again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace baton::repository {

struct VersionPolicy {
  enum class Kind { kLatest, kAll, kSpecific };
  Kind kind = Kind::kLatest;
  int64_t latest = 1;          // kLatest: how many, at least 1
  std::set<int64_t> specific;  // kSpecific: which, at least one, all positive

  // kInvalidArgument: says which value is out of range.
  absl::Status Validate() const;
  friend bool operator==(const VersionPolicy&, const VersionPolicy&) = default;
};

// "latest 2", "all", "specific 1, 4".
std::string ToString(const VersionPolicy& policy);

struct DesiredVersions {
  std::set<int64_t> versions;
  // There are versions on disk, so the model is to be served. `versions` may be empty all the same,
  // because what the policy picks has failed or is not there: then a version that is ready stays.
  bool wants_model = false;
  friend bool operator==(const DesiredVersions&, const DesiredVersions&) = default;
};

// The versions that should be ready. `available`: those that are on disk and either may be taken
// or have been. `failed`: those whose failure stands (their content has not changed). A failed
// version is passed over: the latest N are the N newest that have not failed, so the next best
// steps in. A specific version has no stand-in.
DesiredVersions Desired(const std::set<int64_t>& available, const VersionPolicy& policy,
                        const std::set<int64_t>& failed);

// Where a version is, as far as the policy needs to know. A version that is not listed is neither
// loaded nor being loaded.
enum class Phase {
  kLoading,    // verifying, loading, warming
  kReady,      //
  kUnloading,  // draining
  kFailed,
};

struct Action {
  enum class Kind { kLoad, kUnload };
  Kind kind;
  int64_t version;
  friend bool operator==(const Action&, const Action&) = default;
};

// The next step from `phases` towards `desired`, or nothing: the goal is reached, or a step that
// is under way has to end first. Called again after each step, it reaches the goal.
//   - Loads come first, the highest version first, one at a time. A desired version that is
//     kFailed is loaded again (its caller found that the content changed).
//   - An old version is unloaded only when every desired version is ready, lowest first; so a
//     ready version serves until its successor does. Where no version is desired, but the model
//     (`wants_model`), the highest ready version stays.
//   - Without `wants_model` every ready version goes.
std::optional<Action> Next(const DesiredVersions& desired, const std::map<int64_t, Phase>& phases);

}  // namespace baton::repository
