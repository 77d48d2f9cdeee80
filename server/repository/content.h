// Content identity: whether a version that failed is another one now. Stamps decide cheaply that
// nothing changed; contents decide that something really did, so that a `touch`, a restored backup
// or a re-mounted disk does not have a broken model loaded again and again.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/repository/scan.h"

namespace baton::repository {

struct ContentIdentity {
  Fingerprint fingerprint;
  std::string digest;  // "": not known, because the files were changing
};

// Lower-case hex SHA-256 over the paths and contents of the files in `fingerprint`. Reads all of
// them: for loader threads. Errors of ReadFile.
absl::StatusOr<std::string> ContentDigest(const std::string& version_path,
                                          const Fingerprint& fingerprint);

// What to remember of a version whose load began from `version` and failed. Where the files have
// changed since that scan the digest stays unknown and nothing is read.
ContentIdentity IdentifyContent(const VersionScan& version);

// True if `now` is worth another load after a failure that was remembered as `failed`: it is
// settled, its stamps differ and so do its contents. (Settled even with a manifest: a copy in
// progress changes with every poll.) Same contents under new stamps update `failed`, so that they
// are read once. Reads files if the stamps differ: for loader threads.
bool WorthRetry(const VersionScan& now, ContentIdentity& failed);

}  // namespace baton::repository
