#include "server/repository/settler.h"

#include <algorithm>

namespace baton::repository {
namespace {

bool IsOld(const Fingerprint& fingerprint, int64_t now_ns) {
  return !fingerprint.empty() &&
         std::all_of(fingerprint.begin(), fingerprint.end(), [&](const FileStamp& file) {
           return now_ns - std::max(file.mtime_ns, file.ctime_ns) >= Settler::kQuietAgeNs;
         });
}

}  // namespace

void Settler::Observe(ModelScan& model, bool is_poll, int64_t now_ns) {
  if (!model.status.ok()) return;
  const auto [tracked, is_first_scan] = tracks_.try_emplace(model.name);
  std::map<int64_t, Track>& tracks = tracked->second;
  std::erase_if(tracks, [&](const auto& entry) {
    const auto version = model.versions.find(entry.first);
    return version == model.versions.end() || !version->second.status.ok();
  });
  for (auto& [number, version] : model.versions) {
    if (!version.status.ok()) continue;
    const auto [entry, is_new] = tracks.try_emplace(number);
    Track& track = entry->second;
    if (is_new) {
      track.fingerprint = version.fingerprint;
      if (is_first_scan && IsOld(version.fingerprint, now_ns)) track.quiet_polls = kQuietPolls;
    } else if (track.fingerprint != version.fingerprint) {
      track.fingerprint = version.fingerprint;
      track.quiet_polls = 0;
    } else if (is_poll) {
      track.quiet_polls = std::min(track.quiet_polls + 1, kQuietPolls);
    }
    version.settled = track.quiet_polls >= kQuietPolls;
  }
}

void Settler::Forget(const std::string& model) { tracks_.erase(model); }

}  // namespace baton::repository
