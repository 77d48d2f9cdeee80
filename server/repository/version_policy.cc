#include "server/repository/version_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace baton::repository {

absl::Status VersionPolicy::Validate() const {
  if (kind == Kind::kLatest && latest < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("version policy: latest ", latest, "; expected at least 1"));
  }
  if (kind == Kind::kSpecific && specific.empty()) {
    return absl::InvalidArgumentError("version policy: specific, but no version is listed");
  }
  if (kind == Kind::kSpecific && *specific.begin() < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "version policy: specific version ", *specific.begin(), "; expected a positive integer"));
  }
  return absl::OkStatus();
}

std::string ToString(const VersionPolicy& policy) {
  switch (policy.kind) {
    case VersionPolicy::Kind::kLatest:
      return absl::StrCat("latest ", policy.latest);
    case VersionPolicy::Kind::kAll:
      return "all";
    case VersionPolicy::Kind::kSpecific:
      break;
  }
  return absl::StrCat("specific ", absl::StrJoin(policy.specific, ", "));
}

DesiredVersions Desired(const std::set<int64_t>& available, const VersionPolicy& policy,
                        const std::set<int64_t>& failed) {
  DesiredVersions desired;
  desired.wants_model = !available.empty();
  for (auto version = available.rbegin(); version != available.rend(); ++version) {
    if (failed.contains(*version)) continue;
    if (policy.kind == VersionPolicy::Kind::kSpecific && !policy.specific.contains(*version)) {
      continue;
    }
    if (policy.kind == VersionPolicy::Kind::kLatest &&
        static_cast<int64_t>(desired.versions.size()) == policy.latest) {
      break;
    }
    desired.versions.insert(*version);
  }
  return desired;
}

std::optional<Action> Next(const DesiredVersions& desired, const std::map<int64_t, Phase>& phases) {
  const std::set<int64_t> wanted = desired.wants_model ? desired.versions : std::set<int64_t>{};
  const auto is = [&](int64_t version, Phase phase) {
    const auto entry = phases.find(version);
    return entry != phases.end() && entry->second == phase;
  };
  const bool one_is_loading = std::any_of(phases.begin(), phases.end(), [](const auto& entry) {
    return entry.second == Phase::kLoading;
  });
  if (!one_is_loading) {
    for (auto version = wanted.rbegin(); version != wanted.rend(); ++version) {
      if (!phases.contains(*version) || is(*version, Phase::kFailed)) {
        return Action{Action::Kind::kLoad, *version};
      }
    }
  }
  if (!std::all_of(wanted.begin(), wanted.end(),
                   [&](int64_t version) { return is(version, Phase::kReady); })) {
    return std::nullopt;
  }
  std::set<int64_t> surplus;
  for (const auto& [version, phase] : phases) {
    if (phase == Phase::kReady && !wanted.contains(version)) surplus.insert(version);
  }
  if (desired.wants_model && wanted.empty() && !surplus.empty()) {
    surplus.erase(std::prev(surplus.end()));
  }
  if (surplus.empty()) return std::nullopt;
  return Action{Action::Kind::kUnload, *surplus.begin()};
}

}  // namespace baton::repository
