#include "client/model_check.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/clock.h"
#include "engine/base/cpu.h"
#include "server/api/tfs_warm_up.h"
#include "server/repository/model_config.h"
#include "server/repository/scan.h"
#include "server/serving/model_state.h"
#include "server/serving/registry.h"
#include "server/serving/runtime.h"
#include "server/serving/version_load.h"

namespace baton::model_tool {
namespace {

namespace fs = std::filesystem;
using repository::ModelScan;
using repository::Phase;

constexpr size_t kMaxTensorBytes = size_t{64} << 20;  // the server's default --max_message_mb

bool HasModelFile(const std::string& directory) {
  std::error_code ignored;
  return fs::exists(absl::StrCat(directory, "/", repository::kModelFile), ignored);
}

// `path` in a form that has a parent and a name.
fs::path Named(const std::string& path) {
  fs::path named(path);
  if (!named.has_parent_path() || named.filename() == "." || named.filename() == "..") {
    std::error_code ignored;
    named = fs::absolute(named, ignored).lexically_normal();
  }
  return named.has_filename() ? named : named.parent_path();
}

class Checker {
 public:
  Checker(const CheckOptions& options, CheckListener& listener)
      : options_(options), listener_(listener) {
    loader_options_.parallel_threads = AvailableCores();
    loader_options_.warm_up_requests = api::WarmUpRequestsUpTo(kMaxTensorBytes);
  }

  void Check(std::string path) {
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
    if (!fs::exists(status)) return Fail(path, absl::NotFoundError("no such file or directory"));
    if (!fs::is_directory(status)) {
      const fs::path file = Named(path);
      return CheckLoose(path, file.parent_path().string(), file.filename().string());
    }
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const fs::path directory = Named(path);
    const std::string name = directory.filename().string();
    ModelScan scan = repository::ScanModel(name, path);
    const bool is_model = !scan.versions.empty() || scan.config.has_value();
    const std::optional<int64_t> number = repository::VersionNumber(name);
    if (number.has_value() && (HasModelFile(path) || !is_model)) {
      return CheckVersion(path, directory.parent_path().string(), *number);
    }
    if (HasModelFile(path)) return CheckLoose(path, path, repository::kModelFile);
    if (is_model || !scan.status.ok()) return CheckModel(std::move(scan));
    CheckRepository(path);
  }

 private:
  void Fail(const std::string& path, const absl::Status& status) {
    listener_.OnVerdict({path, status, std::nullopt});
  }

  void CheckRepository(const std::string& path) {
    repository::RepositoryScan scan = repository::ScanRepository(path);
    if (!scan.status.ok()) return Fail(path, scan.status);
    for (const std::string& warning : scan.warnings) listener_.OnWarning(path, warning);
    if (scan.models.empty()) {
      Fail(path, absl::NotFoundError("no model.onnx, no version and no model in it"));
    }
    for (auto& [name, model] : scan.models) CheckModel(std::move(model));
  }

  // What the server knows of a model before it loads a version.
  serving::ModelState ReadModel(ModelScan scan) {
    serving::ModelState state;
    for (auto& [number, version] : scan.versions) version.settled = true;
    state.scan = std::move(scan);
    auto config = repository::ReadModelConfig(state.scan.path, state.scan.name);
    state.config_error = config.status();
    if (config.ok()) state.config = *std::move(config);
    for (const std::string& warning : state.config.warnings) {
      listener_.OnWarning(state.scan.path, warning);
    }
    return state;
  }

  void CheckModel(ModelScan scan) {
    if (!scan.status.ok()) return Fail(scan.path, scan.status);
    for (const std::string& warning : scan.warnings) listener_.OnWarning(scan.path, warning);
    serving::ModelState state = ReadModel(std::move(scan));
    if (state.scan.versions.empty()) return FailWithoutVersions(state);
    std::set<int64_t> loadable;
    for (const auto& [number, version] : state.scan.versions) {
      if (LoadVersion(version.path, state, version)) loadable.insert(number);
    }
    WarnOfThosePassedOver(std::move(state), loadable);
  }

  // One version, at `path`, of the model at `model_path`.
  void CheckVersion(const std::string& path, const std::string& model_path, int64_t number) {
    ModelScan scan = repository::ScanModel(Named(model_path).filename().string(), model_path);
    if (!scan.status.ok()) return Fail(path, scan.status);
    const serving::ModelState state = ReadModel(std::move(scan));
    const auto version = state.scan.versions.find(number);
    if (version == state.scan.versions.end()) {
      return Fail(path, absl::NotFoundError("it was removed just now"));
    }
    LoadVersion(path, state, version->second);
  }

  // False if the version cannot serve.
  bool LoadVersion(const std::string& path, const serving::ModelState& state,
                   const repository::VersionScan& version) {
    absl::Status status = state.config_error;
    const std::map<int64_t, absl::Status> untaken = state.Untaken();
    if (const auto found = untaken.find(version.version); found != untaken.end()) {
      status = found->second;
    }
    if (!status.ok()) {
      Fail(path, status);
      return false;
    }
    return Load(path, {state.scan.name, version.version, version.path, state.config, {}});
  }

  // Says what the server says to a request for the model.
  void FailWithoutVersions(const serving::ModelState& state) {
    serving::Registry registry;
    registry.AddModel(state.scan.name);
    registry.SetModelError(state.scan.name, state.config_error);
    Fail(state.scan.path, registry.Acquire(state.scan.name, {}).status());
    if (HasModelFile(state.scan.path)) {
      listener_.OnWarning(state.scan.path,
                          absl::StrCat("its ", repository::kModelFile,
                                       " is in no version's directory; move it into one, \"1\""));
    }
  }

  // A directory, or file, that is no version of a model.
  void CheckLoose(const std::string& path, const std::string& directory,
                  const std::string& model_file) {
    serving::LoadRequest request;
    request.model = Named(directory).filename().string();
    request.version = 1;
    request.directory = directory;
    request.model_file = model_file;
    Load(path, std::move(request));
  }

  bool Load(const std::string& path, serving::LoadRequest request) {
    request.rtol = options_.rtol;
    request.atol = options_.atol;
    const serving::VersionLoad load = serving::LoadVersion(
        loader_options_, request, runtime_, RealClock::Get(), [](serving::VersionState) {});
    for (const std::string& warning : load.warnings) listener_.OnWarning(path, warning);
    listener_.OnVerdict({path, load.error, load.golden});
    return load.error.ok();
  }

  // Takes the steps of a server whose loads end as those of the check did.
  void WarnOfThosePassedOver(serving::ModelState state, const std::set<int64_t>& loadable) {
    while (const auto action = state.NextAction()) {
      if (action->kind == repository::Action::Kind::kUnload) {
        state.versions.erase(action->version);
      } else {
        state.versions[action->version].phase =
            loadable.contains(action->version) ? Phase::kReady : Phase::kFailed;
      }
    }
    std::vector<int64_t> served, passed_over;
    for (const int64_t number : loadable) {
      const auto found = state.versions.find(number);
      const bool is_ready = found != state.versions.end() && found->second.phase == Phase::kReady;
      (is_ready ? served : passed_over).push_back(number);
    }
    if (passed_over.empty()) return;
    const auto policy = state.config.version_policy.value_or(repository::VersionPolicy{});
    listener_.OnWarning(
        state.scan.path,
        absl::StrCat("version policy \"", repository::ToString(policy), "\" serves ",
                     served.empty() ? "no version" : absl::StrJoin(served, ", "),
                     " and passes over ", absl::StrJoin(passed_over, ", ")));
  }

  const CheckOptions& options_;
  CheckListener& listener_;
  serving::LoaderOptions loader_options_;
  serving::EngineRuntime runtime_;
};

}  // namespace

void CheckPath(const std::string& path, const CheckOptions& options, CheckListener& listener) {
  Checker(options, listener).Check(path);
}

}  // namespace baton::model_tool
