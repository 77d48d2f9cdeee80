#include "server/repository/publisher.h"

#include <fcntl.h>
#include <onnx/onnx_pb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "server/repository/manifest.h"

namespace baton::repository {
namespace {

namespace fs = std::filesystem;

// Runs a function when it goes out of scope.
class Cleanup {
 public:
  explicit Cleanup(std::function<void()> run) : run_(std::move(run)) {}
  ~Cleanup() {
    if (run_) run_();
  }
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;
  void Cancel() { run_ = nullptr; }

 private:
  std::function<void()> run_;
};

absl::Status ErrorOf(const std::error_code& error, absl::string_view what,
                     const std::string& path) {
  errno = error.value();
  return ErrnoStatus(what, path);
}

std::string RandomSuffix() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8));
}

// Makes `path` and what is missing above it. `made` gets the directories made, deepest last.
absl::Status MakeDirectories(const fs::path& path, std::vector<std::string>& made) {
  std::error_code error;
  if (path.empty() || fs::is_directory(path, error)) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectories(path.parent_path(), made));
  if (mkdir(path.c_str(), 0777) == 0) {
    made.push_back(path.string());
    return SyncDirectory(path.has_parent_path() ? path.parent_path().string() : ".");
  }
  if (errno == EEXIST && fs::is_directory(path, error)) return absl::OkStatus();
  return ErrnoStatus("make directory", path.string());
}

// Versions in a model's directory by number, highest first, with the names of their directories
// ("007" is version 7).
using VersionNames = std::map<int64_t, std::string, std::greater<>>;
absl::StatusOr<VersionNames> Versions(const std::string& model_directory) {
  VersionNames versions;
  std::error_code error;
  for (fs::directory_iterator it(model_directory, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t version = 0;
    if (absl::SimpleAtoi(name, &version) && version > 0) versions.emplace(version, name);
  }
  if (error) return ErrorOf(error, "read directory", model_directory);
  return versions;
}

// Locations of the external data of `message` and all messages in it: tensors are in graphs, in
// attributes, in graphs in attributes, and in functions.
void FindExternalData(const google::protobuf::Message& message, std::set<std::string>& locations) {
  if (const auto* tensor = dynamic_cast<const onnx::TensorProto*>(&message)) {
    if (tensor->data_location() != onnx::TensorProto::EXTERNAL) return;
    for (const auto& entry : tensor->external_data()) {
      if (entry.key() == "location") locations.insert(entry.value());
    }
    return;
  }
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      FindExternalData(reflection.GetMessage(message, field), locations);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      FindExternalData(reflection.GetRepeatedMessage(message, field, i), locations);
    }
  }
}

absl::StatusOr<std::set<std::string>> ExternalDataLocations(const PublishRequest& request) {
  onnx::ModelProto model;
  if (!model.ParseFromString(request.onnx) || !model.has_graph()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not an ONNX model (", request.onnx.size(), " bytes)"));
  }
  std::set<std::string> locations;
  FindExternalData(model, locations);
  if (!locations.empty() && request.external_data_directory.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model has external data (\"", *locations.begin(),
                     "\"), but no directory to take it from was given"));
  }
  for (const std::string& location : locations) {
    RETURN_IF_ERROR(ResolveInside(request.external_data_directory, location).status());
    const std::string first = fs::path(location).lexically_normal().begin()->string();
    if (first == kModelFile || first == kManifestFile ||
        absl::StartsWith(first, "test_data_set_")) {
      return absl::InvalidArgumentError(absl::StrCat(
          "external data file \"", location, "\" has a name that the version directory uses"));
    }
  }
  return locations;
}

absl::Status Validate(const PublishRequest& request, const std::string& model_directory) {
  const std::string name = fs::path(model_directory).filename().string();
  if (name.empty() || name.front() == '.') {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", request.model_directory,
                     "\" does not name a model; expected REPOSITORY/NAME, NAME without a dot "
                     "in front"));
  }
  if (request.version.has_value() && *request.version < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", *request.version, " is not a number from 1 up"));
  }
  if (request.keep_last < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot keep the last ", request.keep_last, " versions; expected 0 or more"));
  }
  for (const double tolerance : {request.rtol, request.atol}) {
    if (!std::isfinite(tolerance) || tolerance < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tolerance ", tolerance, " is not a number from 0 up"));
    }
  }
  for (const auto& [metric, value] : request.metrics) {
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("metric \"", metric, "\" is ", value, "; expected a finite number"));
    }
  }
  for (const PublishSample& sample : request.samples) {
    if (sample.outputs.empty()) {
      return absl::InvalidArgumentError("a golden sample has no outputs; it would prove nothing");
    }
  }
  return absl::OkStatus();
}

std::string Now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// The directory that becomes a version.
class Staging {
 public:
  static absl::StatusOr<std::string> MakeDirectory(const std::string& model_directory) {
    while (true) {
      // Not mkdtemp(): the server may run as another user and must be able to read it.
      const std::string path = absl::StrCat(model_directory, "/.tmp-", RandomSuffix());
      if (mkdir(path.c_str(), 0777) == 0) return path;
      if (errno != EEXIST) return ErrnoStatus("make directory", path);
    }
  }

  explicit Staging(std::string directory) : directory_(std::move(directory)) {}

  absl::Status Fill(const PublishRequest& request, const std::set<std::string>& external_data) {
    RETURN_IF_ERROR(Add(
        kModelFile, [&](const std::string& path) { return WriteFileDurably(path, request.onnx); }));
    for (const std::string& location : external_data) {
      ASSIGN_OR_RETURN(const std::string source,
                       ResolveInside(request.external_data_directory, location));
      RETURN_IF_ERROR(Add(fs::path(location).lexically_normal().string(),
                          [&](const std::string& path) { return CopyDurably(source, path); }));
    }
    for (size_t i = 0; i < request.samples.size(); ++i) {
      const std::string sample = absl::StrCat("test_data_set_", i);
      RETURN_IF_ERROR(AddTensors(sample + "/input_", request.samples[i].inputs));
      RETURN_IF_ERROR(AddTensors(sample + "/output_", request.samples[i].outputs));
    }
    for (const std::string& sub_directory : sub_directories_) {
      RETURN_IF_ERROR(SyncDirectory(absl::StrCat(directory_, "/", sub_directory)));
    }
    manifest_.created = Now();
    manifest_.rtol = request.rtol;
    manifest_.atol = request.atol;
    manifest_.metrics = request.metrics;
    RETURN_IF_ERROR(
        WriteFileDurably(absl::StrCat(directory_, "/", kManifestFile), ToJson(manifest_)));
    return SyncDirectory(directory_);
  }

 private:
  // Lets `write` make the file and lists it in the manifest.
  template <typename Write>
  absl::Status Add(const std::string& relative, const Write& write) {
    const std::string path = absl::StrCat(directory_, "/", relative);
    for (fs::path parent = fs::path(relative).parent_path(); !parent.empty();
         parent = parent.parent_path()) {
      sub_directories_.insert(parent.string());
    }
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    if (error) return ErrorOf(error, "make directory", fs::path(path).parent_path().string());
    RETURN_IF_ERROR(write(path));
    ManifestFile file{.path = relative, .bytes = fs::file_size(path, error), .sha256 = {}};
    if (error) return ErrorOf(error, "stat", path);
    ASSIGN_OR_RETURN(file.sha256, Sha256OfFile(path));
    manifest_.files.push_back(std::move(file));
    return absl::OkStatus();
  }

  absl::Status AddTensors(const std::string& prefix, const std::vector<NamedTensor>& tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      RETURN_IF_ERROR(Add(absl::StrCat(prefix, i, ".pb"), [&](const std::string& path) {
        return WriteTensorProtoFile(path, tensors[i].tensor.view(), tensors[i].name);
      }));
    }
    return absl::OkStatus();
  }

  static absl::Status CopyDurably(const std::string& source, const std::string& target) {
    std::error_code error;
    fs::copy_file(source, target, error);
    if (error) return ErrorOf(error, "copy", source);
    const int fd = open(target.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus("open", target);
    const absl::Status status = fsync(fd) == 0 ? absl::OkStatus() : ErrnoStatus("fsync", target);
    close(fd);
    return status;
  }

  const std::string directory_;
  std::set<std::string> sub_directories_;
  Manifest manifest_;
};

// Renames a directory; fails with EEXIST or ENOTEMPTY rather than replace anything but, on file
// systems that cannot refuse it, an empty directory.
bool RenameToNew(const std::string& from, const std::string& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  return rename(from.c_str(), to.c_str()) == 0;
}

// Gives the staged directory its number.
absl::StatusOr<int64_t> Rename(const std::string& staged, const std::string& model_directory,
                               std::optional<int64_t> wanted) {
  while (true) {
    ASSIGN_OR_RETURN(const VersionNames versions, Versions(model_directory));
    const int64_t highest = versions.empty() ? 0 : versions.begin()->first;
    if (!wanted.has_value() && highest == std::numeric_limits<int64_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(model_directory, ": version ", highest,
                                                     " is the largest there can be; remove it"));
    }
    const int64_t version = wanted.has_value() ? *wanted : highest + 1;
    const std::string target = absl::StrCat(model_directory, "/", version);
    const bool taken = versions.contains(version);
    if (!taken && RenameToNew(staged, target)) return version;
    if (!taken && errno != EEXIST && errno != ENOTEMPTY) return ErrnoStatus("rename to", target);
    if (wanted.has_value()) {
      return absl::AlreadyExistsError(
          absl::StrCat(target, " exists already; versions never change: publish the next number, ",
                       "or remove it first"));
    }
    // Another publisher took the number since it was read; the next round sees its directory.
  }
}

// Renames before it removes, so that nobody sees half a version.
absl::Status RemoveVersion(const std::string& model_directory, const std::string& name) {
  const std::string from = absl::StrCat(model_directory, "/", name);
  const std::string to = absl::StrCat(model_directory, "/.old-", name, "-", RandomSuffix());
  if (rename(from.c_str(), to.c_str()) != 0) {
    if (errno == ENOENT) return absl::OkStatus();  // another publisher removed it
    return ErrnoStatus("rename", from);
  }
  std::error_code error;
  fs::remove_all(to, error);
  return error ? ErrorOf(error, "remove", to) : absl::OkStatus();
}

absl::Status RemoveOldVersions(const std::string& model_directory, int64_t published,
                               int keep_last) {
  ASSIGN_OR_RETURN(const VersionNames versions, Versions(model_directory));
  int kept = 0;
  for (const auto& [version, name] : versions) {
    if (kept < keep_last) {
      ++kept;
    } else if (version != published) {
      RETURN_IF_ERROR(RemoveVersion(model_directory, name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> Publish(const PublishRequest& request) {
  std::string model_directory = request.model_directory;
  while (model_directory.size() > 1 && model_directory.back() == '/') model_directory.pop_back();
  RETURN_IF_ERROR(Validate(request, model_directory));
  ASSIGN_OR_RETURN(const std::set<std::string> external_data, ExternalDataLocations(request));

  std::vector<std::string> made;
  Cleanup remove_made([&made] {
    for (auto it = made.rbegin(); it != made.rend(); ++it) rmdir(it->c_str());
  });
  RETURN_IF_ERROR(MakeDirectories(model_directory, made));
  ASSIGN_OR_RETURN(const std::string staged, Staging::MakeDirectory(model_directory));
  Cleanup remove_staged([&staged] {
    std::error_code ignored;
    fs::remove_all(staged, ignored);
  });
  Staging staging(staged);
  RETURN_IF_ERROR(staging.Fill(request, external_data));
  ASSIGN_OR_RETURN(const int64_t version, Rename(staged, model_directory, request.version));
  if (absl::Status synced = SyncDirectory(model_directory); !synced.ok()) {
    RemoveVersion(model_directory, absl::StrCat(version)).IgnoreError();
    return synced;
  }
  remove_staged.Cancel();
  remove_made.Cancel();
  if (request.keep_last > 0) {
    const absl::Status removed = RemoveOldVersions(model_directory, version, request.keep_last);
    if (!removed.ok()) {
      BATON_LOG(Warning) << "old versions were not removed: " << removed.message();
    }
  }
  return version;
}

}  // namespace baton::repository
