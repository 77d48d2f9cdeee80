// Scanning: what is in a model's directory right now. Reads directories and file attributes, never
// file contents (ContentDigest does, when asked). No state, no clock; safe from any thread.
//
// An error concerns the one thing it names: a version that cannot be read does not hide its
// siblings, nor a model its neighbours.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/repository/manifest.h"
#include "server/repository/model_settings.h"

namespace baton::repository {

inline constexpr char kConfigFile[] = "config.pbtxt";
inline constexpr char kWarmUpDirectory[] = "warmup";  // beside the versions: data of warm-ups

// What tells a file from another, or from an earlier state of itself, without reading it.
struct FileStamp {
  std::string path;  // relative to the version's directory
  int64_t size = 0;  // bytes
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;  // cannot be set by a copying tool, unlike mtime
  uint64_t inode = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

// Every file of a version, sub-directories too, sorted by path. Files with a leading dot count:
// rsync's and object-store clients' partial files have one.
using Fingerprint = std::vector<FileStamp>;

struct VersionScan {
  int64_t version = 0;
  std::string path;  // of its directory
  std::string root;  // what symbolic links in it must not leave
  Fingerprint fingerprint;
  bool has_model = false;     // kModelFile is there
  bool has_manifest = false;  // kManifestFile is there
  // Filled in by the watcher: the files were the same for two polls (see settler.h).
  bool settled = false;
  // Why its directory cannot be served from: not readable, a symbolic link that leaves the root, a
  // loop of links, something that is neither file nor directory.
  absl::Status status;
};

// OK if a load of the version may begin: readable, has a model, and is either announced by a
// manifest (the loader verifies it) or settled. Else why not: `version.status`, kNotFound without
// a model file, kUnavailable while it is still being written.
absl::Status CheckTakeable(const VersionScan& version);
inline bool MayTake(const VersionScan& version) { return CheckTakeable(version).ok(); }

struct ModelScan {
  std::string name;
  std::string path;
  std::string root;  // the repository that it was found in; its own path for a single model
  // Not OK: the directory could not be read, so nothing is known about its versions (`versions` is
  // empty); what serves goes on. kNotFound, kPermissionDenied, kFailedPrecondition (not a
  // directory, or a link that leaves the root), kAlreadyExists (two directories claim the name).
  absl::Status status;
  std::map<int64_t, VersionScan> versions;  // lowest first
  std::optional<FileStamp> config;          // of config.pbtxt, absent where there is none
  std::vector<std::string> warnings;        // what was passed over and why, one text each
  // Filled in by the watcher, for a model that was named to it; else the defaults.
  ModelSettings settings;
  uint64_t reading = 0;
};

struct RepositoryScan {
  absl::Status status;  // as ModelScan::status, for the root; `models` is empty then
  std::map<std::string, ModelScan, std::less<>> models;
  std::vector<std::string> warnings;
};

// The version that a directory's name stands for, a positive integer without leading zeros; nothing
// for any other name.
std::optional<int64_t> VersionNumber(const std::string& name);

// OK for a name that fits URLs, metrics and directories: letters, digits, '_', '-', '.', at most
// 200, not starting with a dot. Else kInvalidArgument.
absl::Status CheckModelName(absl::string_view name);

// The model `name` in `base_path`: its versions are the sub-directories named by a positive
// integer without leading zeros. Other sub-directories are passed over with a warning; dot
// directories, kWarmUpDirectory and files silently. Symbolic links are followed as long as they
// stay inside `root` (`base_path` itself where it is empty).
ModelScan ScanModel(const std::string& name, const std::string& base_path,
                    const std::string& root = "");

// Every sub-directory of `root` as a model; dot directories are passed over silently, those whose
// name CheckModelName refuses with a warning.
RepositoryScan ScanRepository(const std::string& root);

// The fingerprint of a version's directory now; the error as VersionScan::status.
absl::StatusOr<Fingerprint> ScanFiles(const std::string& version_path, const std::string& root);

}  // namespace baton::repository
