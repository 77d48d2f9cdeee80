#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/model_commands.h"
#include "engine/base/status.h"

namespace baton::model_tool {
namespace {

constexpr std::pair<const char*, engine::Precision> kPrecisions[] = {
    {"f32", engine::Precision::kF32},
    {"bf16", engine::Precision::kBf16},
    {"int8", engine::Precision::kInt8},
    {"auto", engine::Precision::kAuto}};

}  // namespace

std::string PrecisionName(engine::Precision precision) {
  for (const auto& [name, value] : kPrecisions) {
    if (value == precision) return name;
  }
  return "unknown";
}

void AddModelArgument(CommandLine& command, std::string& path) {
  command.Add("MODEL", path, "ONNX file, or a directory with a model.onnx").Required();
}

void AddPrecisionFlag(CommandLine& command, engine::Precision& precision) {
  command
      .AddFunction(
          "--precision",
          [&precision](const std::string& text) -> absl::Status {
            for (const auto& [name, value] : kPrecisions) {
              if (text != name) continue;
              precision = value;
              return absl::OkStatus();
            }
            return absl::InvalidArgumentError(
                absl::StrCat("expected f32, bf16, int8 or auto, found \"", text, "\""));
          },
          "f32, bf16, int8 or auto")
      .TypeName("P")
      .DefaultText(PrecisionName(precision));
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
  auto model = engine::Model::Load(file, {.precision = precision});
  if (model.ok() || absl::StrContains(model.status().message(), file)) return model;
  return Annotate(model.status(), file);
}

}  // namespace baton::model_tool
