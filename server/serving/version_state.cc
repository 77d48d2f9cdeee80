#include "server/serving/version_state.h"

namespace baton::serving {

absl::string_view VersionStateName(VersionState state) {
  switch (state) {
    case VersionState::kAbsent:
      return "absent";
    case VersionState::kVerifying:
      return "verifying";
    case VersionState::kLoading:
      return "loading";
    case VersionState::kWarming:
      return "warming";
    case VersionState::kReady:
      return "ready";
    case VersionState::kDraining:
      return "draining";
    case VersionState::kGone:
      return "gone";
    case VersionState::kFailed:
      return "failed";
  }
  return "unknown";
}

bool MayChange(VersionState from, VersionState to) {
  using enum VersionState;
  switch (from) {
    case kAbsent:
      return to == kVerifying;
    case kVerifying:
      return to == kLoading || to == kFailed;
    case kLoading:
      return to == kWarming || to == kFailed;
    case kWarming:
      return to == kReady || to == kFailed;
    case kReady:
      return to == kDraining;
    case kDraining:
      return to == kGone || to == kFailed;
    case kGone:
      return to == kVerifying;
    case kFailed:
      return to == kVerifying || to == kGone;
  }
  return false;
}

}  // namespace baton::serving
