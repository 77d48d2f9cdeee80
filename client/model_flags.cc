#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/model_commands.h"
#include "engine/base/status.h"
#include "engine/golden.h"
#include "engine/session.h"

namespace baton::model_tool {
namespace {

// Fails where a directory has no samples, or the model misses one.
absl::Status CheckSamples(const std::string& directory, const engine::Model& model) {
  ASSIGN_OR_RETURN(const std::vector<engine::GoldenSample> samples,
                   engine::ReadGoldenSamples(directory, model.signature()));
  if (samples.empty()) return absl::NotFoundError(directory);
  engine::Session session;
  for (const engine::GoldenSample& sample : samples) {
    RETURN_IF_ERROR(engine::RunGoldenSample(model, session, sample, {}, 1, nullptr));
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelArgument(CommandLine& command, std::string& path) {
  command.Add("MODEL", path, "ONNX file, or a directory with a model.onnx").Required();
}

void AddPrecisionFlag(CommandLine& command, engine::Precision& precision) {
  command
      .AddFunction(
          "--precision",
          [&precision](const std::string& text) -> absl::Status {
            const std::optional<engine::Precision> named = engine::PrecisionNamed(text);
            if (!named) {
              return absl::InvalidArgumentError(
                  absl::StrCat("expected f32, bf16, int8 or auto, found \"", text, "\""));
            }
            precision = *named;
            return absl::OkStatus();
          },
          "f32, bf16, int8 (of quantized models) or auto (bf16 where the samples beside the model "
          "allow it)")
      .TypeName("P")
      .DefaultText(engine::PrecisionName(precision));
}

void AddThreadsFlag(CommandLine& command, const std::string& name, const std::string& help,
                    int& threads) {
  command.Add(name, threads, help).Range(1, kMaxThreads).TypeName("N");
}

void AddDimFlag(CommandLine& command, std::map<std::string, int64_t>& dims) {
  command
      .AddFunction(
          "--dim",
          [&dims](const std::string& text) -> absl::Status {
            const size_t equals = text.rfind('=');
            int64_t value = 0;
            if (equals == std::string::npos || equals == 0 ||
                !absl::SimpleAtoi(text.substr(equals + 1), &value) || value < 1) {
              return absl::InvalidArgumentError(
                  absl::StrCat("expected NAME=N with N from 1 up, found \"", text, "\""));
            }
            dims[text.substr(0, equals)] = value;
            return absl::OkStatus();
          },
          "size of the dimension that the model calls NAME; INPUT:INDEX for one without a name")
      .TypeName("NAME=N")
      .OneWordEach();
}

std::string ModelFileAt(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? path + "/model.onnx" : path;
}

absl::StatusOr<std::shared_ptr<const engine::Model>> LoadModel(const std::string& path,
                                                               engine::Precision precision) {
  const std::string file = ModelFileAt(path);
  const auto load = [&file](engine::Precision p) {
    return engine::Model::Load(file, {.precision = p});
  };
  const auto check = [&file](const engine::Model& model) {
    const std::string directory = std::filesystem::path(file).parent_path().string();
    return CheckSamples(directory.empty() ? "." : directory, model);
  };
  auto model =
      precision == engine::Precision::kAuto ? engine::LoadAuto(load, check) : load(precision);
  if (model.ok() || absl::StrContains(model.status().message(), file)) return model;
  return Annotate(model.status(), file);
}

}  // namespace baton::model_tool
