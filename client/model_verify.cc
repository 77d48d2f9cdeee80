// baton-model verify: loads models as a server would and runs their golden samples.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/model_commands.h"
#include "client/model_inputs.h"
#include "engine/base/status.h"
#include "engine/golden.h"
#include "server/repository/manifest.h"

namespace baton::model_tool {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> paths;
  std::optional<double> rtol;
  std::optional<double> atol;
  bool json = false;
};

// One line of output.
struct Target {
  std::string path;   // as printed
  std::string model;  // ONNX file; "" if `problem` says why there is none
  std::string problem;
};

int64_t VersionOf(const std::string& name) {
  int64_t version = 0;
  return absl::SimpleAtoi(name, &version) && version > 0 ? version : 0;
}

// Names of the sub-directories of `directory` that are not hidden: versions by number, then the
// others by name.
absl::StatusOr<std::vector<std::string>> SubDirectories(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (name.front() != '.' && it->is_directory(ignored)) names.push_back(name);
  }
  if (error) return absl::InternalError(absl::StrCat("cannot be read: ", error.message()));
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    const int64_t x = VersionOf(a), y = VersionOf(b);
    if ((x > 0) != (y > 0)) return x > 0;
    return x != y ? x < y : a < b;
  });
  return names;
}

bool HasModelFile(const std::string& directory) {
  std::error_code ignored;
  return fs::exists(directory + "/" + repository::kModelFile, ignored);
}

Target VersionTarget(const std::string& directory) {
  if (!HasModelFile(directory)) return {directory, "", "no model.onnx in it"};
  return {directory, directory + "/" + repository::kModelFile, ""};
}

// Adds the versions of a model's directory. False if it has none.
bool AddVersions(const std::string& directory, const std::vector<std::string>& names,
                 std::vector<Target>& targets) {
  bool found = false;
  for (const std::string& name : names) {
    if (VersionOf(name) == 0) continue;
    targets.push_back(VersionTarget(directory + "/" + name));
    found = true;
  }
  return found;
}

// What there is to verify at `path`: a file, a version (or any directory with a model.onnx), a
// model, or a repository.
void AddTargets(const std::string& path, std::vector<Target>& targets) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (!fs::exists(status)) return targets.push_back({path, "", "no such file or directory"});
  if (!fs::is_directory(status)) return targets.push_back({path, path, ""});
  std::string directory = path;
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  if (HasModelFile(directory)) return targets.push_back(VersionTarget(directory));

  const auto names = SubDirectories(directory);
  if (!names.ok()) {
    return targets.push_back({directory, "", std::string(names.status().message())});
  }
  if (AddVersions(directory, *names, targets)) return;
  for (const std::string& name : *names) {
    const std::string model = directory + "/" + name;
    if (HasModelFile(model)) {
      targets.push_back(VersionTarget(model));
      continue;
    }
    const auto versions = SubDirectories(model);
    if (!versions.ok()) {
      targets.push_back({model, "", std::string(versions.status().message())});
    } else if (!AddVersions(model, *versions, targets)) {
      targets.push_back({model, "", "no version in it (a sub-directory with a number for a name)"});
    }
  }
  if (names->empty()) {
    targets.push_back({directory, "", "no model.onnx, no version and no model in it"});
  }
}

// Without samples, a plan is compiled where the batch is all that is left to choose.
absl::Status CompileOnce(const engine::Model& model) {
  const auto shapes = ResolveShapes(model.signature(), 1, {});
  if (!shapes.ok()) return absl::OkStatus();  // nobody has said how large an input is
  return model.GetPlan(*shapes, 1).status();
}

absl::Status Verify(const Target& target, const Options& options,
                    std::optional<engine::GoldenResult>& result) {
  if (target.model.empty()) return absl::NotFoundError(target.problem);
  const fs::path parent = fs::path(target.model).parent_path();
  const std::string directory = parent.empty() ? "." : parent.string();

  engine::Tolerance tolerance;
  const absl::StatusOr<repository::Manifest> manifest = repository::ReadManifest(directory);
  if (manifest.ok()) {
    RETURN_IF_ERROR(repository::Verify(*manifest, directory));
    tolerance = {.rtol = manifest->rtol, .atol = manifest->atol};
  } else if (!absl::IsNotFound(manifest.status())) {
    return manifest.status();
  }
  tolerance.rtol = options.rtol.value_or(tolerance.rtol);
  tolerance.atol = options.atol.value_or(tolerance.atol);

  ASSIGN_OR_RETURN(const auto model, engine::Model::Load(target.model, {}));
  ASSIGN_OR_RETURN(const auto samples, engine::ReadGoldenSamples(directory, model->signature()));
  if (samples.empty()) return CompileOnce(*model);
  result.emplace();
  engine::Session session;
  absl::Status status;
  for (const engine::GoldenSample& sample : samples) {
    status.Update(engine::RunGoldenSample(*model, session, sample, tolerance, 1, &*result));
  }
  return status;
}

// A number, or null where JSON has none.
nlohmann::ordered_json Number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

absl::StatusOr<int> VerifyAll(const Options& options) {
  std::vector<Target> targets;
  for (const std::string& path : options.paths) AddTargets(path, targets);
  bool all_ok = true;
  for (const Target& target : targets) {
    std::optional<engine::GoldenResult> result;
    const absl::Status status = Verify(target, options, result);
    all_ok = all_ok && status.ok();
    std::string reason(status.message());
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    if (!options.json) {
      std::cout << target.path << ": " << (status.ok() ? "ok" : reason) << std::endl;
      continue;
    }
    const nlohmann::ordered_json line = {
        {"path", target.path},
        {"ok", status.ok()},
        {"reason", reason},
        {"max_abs_error", result ? Number(result->max_abs_error) : nullptr},
        {"max_rel_error", result ? Number(result->max_rel_error) : nullptr}};
    std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  }
  return all_ok ? 0 : 1;
}

}  // namespace

void AddVerifyCommand(CommandLine& app, Run& run) {
  auto options = std::make_shared<Options>();
  CommandLine& command = app.AddCommand(
      "verify", "Load models as a server would and run their golden samples; exit 1 if one fails");
  command
      .Add("PATH", options->paths,
           "repositories, models, versions, or directories with a model.onnx")
      .Required()
      .DefaultText("");
  command.Add("--rtol", options->rtol, "relative tolerance, instead of the manifest's (else 1e-3)")
      .NonNegative()
      .TypeName("X");
  command.Add("--atol", options->atol, "absolute tolerance, instead of the manifest's (else 1e-5)")
      .NonNegative()
      .TypeName("X");
  command.AddSwitch("--json", options->json, "one JSON object a line");
  command.OnChosen([options, &run] { run = [options] { return VerifyAll(*options); }; });
}

}  // namespace baton::model_tool
