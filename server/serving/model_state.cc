#include "server/serving/model_state.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"

namespace baton::serving {

using repository::Phase;

namespace {

// True if a reader finds the same: a link made to a file, or a new owner, changes its ctime, and a
// restored copy has another inode.
bool SameFiles(const repository::Fingerprint& a, const repository::Fingerprint& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const repository::FileStamp& x, const repository::FileStamp& y) {
                      return x.path == y.path && x.size == y.size && x.mtime_ns == y.mtime_ns;
                    });
}

}  // namespace

bool ModelState::IsReady(int64_t version) const {
  const auto found = versions.find(version);
  return found != versions.end() && found->second.phase == Phase::kReady;
}

bool ModelState::IsLoading() const {
  return std::any_of(versions.begin(), versions.end(), [](const auto& entry) {
    return entry.second.phase == Phase::kLoading || entry.second.reloading;
  });
}

bool ModelState::IsUnsettled() const {
  for (const auto& [number, version] : versions) {
    if (version.phase == Phase::kReady) return false;
  }
  return std::any_of(scan.versions.begin(), scan.versions.end(), [](const auto& entry) {
    const repository::VersionScan& version = entry.second;
    return version.status.ok() && version.has_model && !repository::MayTake(version);
  });
}

bool ModelState::IsQuiet() const { return !IsLoading() && !NextAction() && NextReload() == 0; }

std::optional<repository::Action> ModelState::NextAction() const {
  std::set<int64_t> available, failed;
  std::map<int64_t, Phase> phases;
  for (const auto& [number, version] : versions) {
    phases[number] = version.phase;
    if (version.phase == Phase::kFailed && version.failure_stands) failed.insert(number);
  }
  if (wanted) {
    for (const auto& [number, version] : scan.versions) {
      const bool loadable = repository::MayTake(version) && config_error.ok();
      // A failure that stands counts as available: the policy passes it over by itself.
      if (IsReady(number) || loadable || failed.contains(number)) available.insert(number);
    }
  }
  repository::VersionPolicy policy = config.version_policy.value_or(repository::VersionPolicy{});
  if (scan.settings.version_policy) policy = *scan.settings.version_policy;
  repository::DesiredVersions desired = repository::Desired(available, policy, failed);
  const auto hold = [&](int64_t number) {
    if (available.contains(number) && !failed.contains(number)) desired.versions.insert(number);
  };
  // A label holds its version: clients ask for it; the former one until the new one is ready.
  for (const auto& [label, number] : WantedLabels()) hold(number);
  for (const auto& [label, number] : labels) {
    if (IsReady(number)) hold(number);
  }
  for (const int64_t number : {stable, candidate}) {
    if (IsReady(number)) hold(number);
  }
  return repository::Next(desired, phases);
}

int64_t ModelState::NextReload() const {
  if (!wanted || !config_error.ok() || IsLoading()) return 0;
  for (const auto& [number, version] : versions) {
    const auto found = scan.versions.find(number);
    if (version.phase != Phase::kReady || found == scan.versions.end()) continue;
    const repository::VersionScan& on_disk = found->second;
    if (!repository::MayTake(on_disk)) continue;
    const auto is_now = [&](const Origin& origin) {
      return origin.config == config.identity && SameFiles(origin.files, on_disk.fingerprint);
    };
    if (is_now(version.origin) || (version.refused && is_now(*version.refused))) continue;
    // Also with a manifest: a copy over the old files changes them one by one.
    if (!on_disk.settled && !SameFiles(on_disk.fingerprint, version.origin.files)) continue;
    return number;
  }
  return 0;
}

bool ModelState::HasBegun() const {
  bool loading = false;
  for (const auto& [number, version] : versions) {
    if (version.phase == Phase::kReady) return true;
    loading = loading || version.phase == Phase::kLoading;
  }
  if (loading || NextAction()) return false;
  return !config_error.ok() || !IsUnsettled();
}

std::map<int64_t, absl::Status> ModelState::Untaken() const {
  std::map<int64_t, absl::Status> untaken;
  for (const auto& [number, version] : scan.versions) {
    if (versions.contains(number) || repository::MayTake(version)) continue;
    if (!version.status.ok()) {
      untaken[number] = version.status;
    } else if (!version.has_model) {
      untaken[number] =
          absl::UnavailableError(absl::StrCat("its directory has no ", repository::kModelFile));
    } else {
      untaken[number] = absl::UnavailableError(
          "its files are still changing; without a manifest it is taken once they have been the "
          "same for two polls");
    }
  }
  return untaken;
}

std::map<std::string, int64_t> ModelState::WantedLabels() const {
  std::map<std::string, int64_t> wanted_labels = config.labels;
  for (const auto& [label, number] : scan.settings.labels) wanted_labels[label] = number;
  std::erase_if(wanted_labels, [](const auto& entry) { return entry.second == 0; });
  return wanted_labels;
}

std::map<std::string, int64_t> ModelState::NextLabels() const {
  std::map<std::string, int64_t> next = WantedLabels();
  for (auto& [label, number] : next) {
    if (IsReady(number)) continue;
    const auto former = labels.find(label);
    if (former != labels.end() && IsReady(former->second)) number = former->second;
  }
  return next;
}

}  // namespace baton::serving
