#include "server/repository/scan.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton::repository {
namespace {

constexpr size_t kMaxNameLength = 200;
// Far above any real model; ends a walk through links that fan out.
constexpr size_t kMaxFilesOfVersion = 100'000;

int64_t Nanoseconds(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

FileStamp Stamp(std::string path, const struct stat& info) {
  return {std::move(path), static_cast<int64_t>(info.st_size), Nanoseconds(info.st_mtim),
          Nanoseconds(info.st_ctim), static_cast<uint64_t>(info.st_ino)};
}

// Says in words what opening or listing a directory ran into.
absl::Status DirectoryError(const std::string& path) {
  switch (errno) {
    case ENOENT:
      return absl::NotFoundError(absl::StrCat("directory ", path, " does not exist"));
    case ENOTDIR:
      return absl::FailedPreconditionError(absl::StrCat(path, " is not a directory"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat("directory ", path, " may not be read; give the server's user r-x on it"));
    case ELOOP:
      return absl::FailedPreconditionError(absl::StrCat(path, ": symbolic links form a loop"));
    default:
      return ErrnoStatus("read directory", path);
  }
}

// The names in a directory, sorted, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  struct Close {
    void operator()(DIR* dir) const { closedir(dir); }
  };
  std::unique_ptr<DIR, Close> dir(opendir(path.c_str()));
  if (dir == nullptr) return DirectoryError(path);
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) break;
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
      names.push_back(entry->d_name);
    }
  }
  if (errno != 0) return DirectoryError(path);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::string> RealPath(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) return DirectoryError(path);
  return std::string(real.get());
}

bool IsInside(const std::string& real_path, const std::string& real_root) {
  return real_path == real_root || real_root == "/" ||
         absl::StartsWith(real_path, absl::StrCat(real_root, "/"));
}

// Attributes of what `path` is or links to. kNotFound: it is not there (any more).
// kFailedPrecondition: a link that leaves `real_root`, dangles or loops.
absl::StatusOr<struct stat> StatInside(const std::string& path, const std::string& real_root) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return ErrnoStatus("stat", path);
  if (!S_ISLNK(info.st_mode)) return info;
  absl::StatusOr<std::string> real = RealPath(path);
  if (absl::IsNotFound(real.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("symbolic link ", path, " points to something that does not exist"));
  }
  RETURN_IF_ERROR(real.status());
  if (!IsInside(*real, real_root)) {
    return absl::FailedPreconditionError(
        absl::StrCat("symbolic link ", path, " leaves ", real_root,
                     "; links are followed only inside it, so copy or mount the files there"));
  }
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus("stat", path);
  return info;
}

// Collects the files of one version.
class FileWalk {
 public:
  FileWalk(std::string version_path, std::string real_root)
      : version_path_(std::move(version_path)), real_root_(std::move(real_root)) {}

  absl::StatusOr<Fingerprint> Run() {
    struct stat info;
    if (stat(version_path_.c_str(), &info) != 0) return DirectoryError(version_path_);
    RETURN_IF_ERROR(Visit("", info));
    std::sort(files_.begin(), files_.end(),
              [](const FileStamp& a, const FileStamp& b) { return a.path < b.path; });
    return std::move(files_);
  }

 private:
  // `prefix` is the directory's path relative to the version, with a slash at its end.
  absl::Status Visit(const std::string& prefix, const struct stat& directory) {
    const std::pair<dev_t, ino_t> id{directory.st_dev, directory.st_ino};
    if (std::find(open_.begin(), open_.end(), id) != open_.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat(version_path_, "/", prefix, ": symbolic links form a loop"));
    }
    open_.push_back(id);
    ASSIGN_OR_RETURN(const std::vector<std::string> names,
                     ListDirectory(absl::StrCat(version_path_, "/", prefix)));
    for (const std::string& name : names) {
      std::string relative = prefix + name;
      const std::string path = absl::StrCat(version_path_, "/", relative);
      const absl::StatusOr<struct stat> info = StatInside(path, real_root_);
      if (absl::IsNotFound(info.status())) continue;  // removed since it was listed
      RETURN_IF_ERROR(info.status());
      if (S_ISDIR(info->st_mode)) {
        const absl::Status status = Visit(relative + "/", *info);
        if (absl::IsNotFound(status)) continue;
        RETURN_IF_ERROR(status);
      } else if (S_ISREG(info->st_mode)) {
        files_.push_back(Stamp(std::move(relative), *info));
        if (files_.size() > kMaxFilesOfVersion) {
          return absl::FailedPreconditionError(
              absl::StrCat(version_path_, " holds more than ", kMaxFilesOfVersion, " files"));
        }
      } else {
        return absl::FailedPreconditionError(
            absl::StrCat(path, " is neither a file nor a directory"));
      }
    }
    open_.pop_back();
    return absl::OkStatus();
  }

  const std::string version_path_;
  const std::string real_root_;
  Fingerprint files_;
  std::vector<std::pair<dev_t, ino_t>> open_;  // the directories from the version down to here
};

bool Has(const Fingerprint& files, absl::string_view path) {
  return std::any_of(files.begin(), files.end(),
                     [&](const FileStamp& f) { return f.path == path; });
}

// Fills in `model` from its directory; `real_root` has been resolved.
absl::Status FillModel(ModelScan& model, const std::string& real_root) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(model.path));
  for (const std::string& name : names) {
    if (name.front() == '.') continue;
    const std::string path = absl::StrCat(model.path, "/", name);
    const std::optional<int64_t> number = VersionNumber(name);
    const absl::StatusOr<struct stat> info = StatInside(path, real_root);
    if (absl::IsNotFound(info.status())) continue;  // removed since it was listed
    if (name == kConfigFile) {
      RETURN_IF_ERROR(info.status());
      if (!S_ISREG(info->st_mode)) {
        return absl::FailedPreconditionError(absl::StrCat(path, " is not a file"));
      }
      model.config = Stamp(name, *info);
      continue;
    }
    if (!number.has_value()) {
      if (info.ok() && S_ISDIR(info->st_mode) && name != kWarmUpDirectory) {
        model.warnings.push_back(
            absl::StrCat("model \"", model.name, "\": directory \"", name,
                         "\" is passed over: a version's name is a positive integer "
                         "without leading zeros"));
      }
      continue;
    }
    VersionScan version;
    version.version = *number;
    version.path = path;
    version.root = model.root;
    if (!info.ok()) {
      version.status = info.status();
    } else if (!S_ISDIR(info->st_mode)) {
      version.status = absl::FailedPreconditionError(
          absl::StrCat(path, " is not a directory; a version is a directory with a ", kModelFile));
    } else {
      absl::StatusOr<Fingerprint> files = FileWalk(path, real_root).Run();
      if (absl::IsNotFound(files.status())) continue;
      version.status = files.status();
      if (files.ok()) version.fingerprint = *std::move(files);
    }
    version.has_model = Has(version.fingerprint, kModelFile);
    version.has_manifest = Has(version.fingerprint, kManifestFile);
    model.versions.emplace(*number, std::move(version));
  }
  return absl::OkStatus();
}

absl::Status ScanInto(ModelScan& model) {
  ASSIGN_OR_RETURN(const std::string real_root, RealPath(model.root));
  if (model.root != model.path) {
    RETURN_IF_ERROR(StatInside(model.path, real_root).status());
  }
  return FillModel(model, real_root);
}

}  // namespace

absl::Status CheckTakeable(const VersionScan& version) {
  RETURN_IF_ERROR(version.status);
  if (!version.has_model) {
    return absl::NotFoundError(absl::StrCat("no ", kModelFile, " in ", version.path));
  }
  if (!version.has_manifest && !version.settled) {
    return absl::UnavailableError(absl::StrCat(
        version.path, " is still being written, or was a moment ago; it has no ", kManifestFile,
        ", so it is taken once its files have been the same for two polls"));
  }
  return absl::OkStatus();
}

std::optional<int64_t> VersionNumber(const std::string& name) {
  int64_t version = 0;
  const bool digits =
      std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isdigit(c); });
  if (name.empty() || !digits || name.front() == '0' || !absl::SimpleAtoi(name, &version)) {
    return std::nullopt;
  }
  return version;
}

absl::Status CheckModelName(absl::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxNameLength && name.front() != '.' &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", name, "\" is no model name; expected letters, digits, '_', '-' and '.', at most ",
      kMaxNameLength, ", no dot in front"));
}

ModelScan ScanModel(const std::string& name, const std::string& base_path,
                    const std::string& root) {
  ModelScan model;
  model.name = name;
  model.path = base_path;
  model.root = root.empty() ? base_path : root;
  if (absl::Status status = ScanInto(model); !status.ok()) {
    model.status = Annotate(status, absl::StrCat("model \"", name, "\""));
    model.versions.clear();
    model.config.reset();
  }
  return model;
}

RepositoryScan ScanRepository(const std::string& root) {
  RepositoryScan scan;
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(root);
  if (!names.ok()) {
    scan.status = Annotate(names.status(), "model repository");
    return scan;
  }
  for (const std::string& name : *names) {
    const std::string path = absl::StrCat(root, "/", name);
    struct stat info;
    if (name.front() == '.' || stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) continue;
    if (absl::Status status = CheckModelName(name); !status.ok()) {
      scan.warnings.push_back(absl::StrCat("model repository ", root,
                                           ": directory is passed over: ", status.message()));
      continue;
    }
    ModelScan model = ScanModel(name, path, root);
    if (absl::IsNotFound(model.status)) continue;  // removed since it was listed
    scan.models.emplace(name, std::move(model));
  }
  return scan;
}

absl::StatusOr<Fingerprint> ScanFiles(const std::string& version_path, const std::string& root) {
  ASSIGN_OR_RETURN(std::string real_root, RealPath(root));
  return FileWalk(version_path, std::move(real_root)).Run();
}

}  // namespace baton::repository
