#include "server/repository/content.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton::repository {

absl::StatusOr<std::string> ContentDigest(const std::string& version_path,
                                          const Fingerprint& fingerprint) {
  std::string list;
  for (const FileStamp& file : fingerprint) {
    ASSIGN_OR_RETURN(const std::string digest,
                     Sha256OfFile(absl::StrCat(version_path, "/", file.path)));
    // A zero byte ends a path, so that no two lists of files read the same.
    list.append(file.path).push_back('\0');
    list.append(digest);
  }
  return Sha256(list);
}

ContentIdentity IdentifyContent(const VersionScan& version) {
  ContentIdentity identity{version.fingerprint, ""};
  const auto unchanged = [&] {
    const absl::StatusOr<Fingerprint> now = ScanFiles(version.path, version.root);
    return now.ok() && *now == version.fingerprint;
  };
  if (!unchanged()) return identity;
  absl::StatusOr<std::string> digest = ContentDigest(version.path, version.fingerprint);
  // Looked at again, because a digest of files that changed meanwhile could match their new
  // contents, and those would never be tried.
  if (digest.ok() && unchanged()) identity.digest = *std::move(digest);
  return identity;
}

bool WorthRetry(const VersionScan& now, ContentIdentity& failed) {
  if (!now.status.ok() || !now.has_model || !now.settled) return false;
  if (now.fingerprint == failed.fingerprint) return false;
  if (failed.digest.empty()) return true;
  const absl::StatusOr<std::string> digest = ContentDigest(now.path, now.fingerprint);
  if (!digest.ok() || *digest != failed.digest) return true;
  failed.fingerprint = now.fingerprint;
  return false;
}

}  // namespace baton::repository
