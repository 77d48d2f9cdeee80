#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
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

void AddModelArgument(CLI::App& command, std::string& path) {
  command.add_option("MODEL", path, "ONNX file, or a directory with a model.onnx")->required();
}

void AddPrecisionFlag(CLI::App& command, engine::Precision& precision) {
  command
      .add_option_function<std::string>(
          "--precision",
          [&precision](const std::string& text) {
            for (const auto& [name, value] : kPrecisions) {
              if (text == name) precision = value;
            }
          },
          "f32, bf16, int8 or auto")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "auto"}))
      ->type_name("P")
      ->default_str(PrecisionName(precision));
}

void AddThreadsFlag(CLI::App& command, const std::string& name, const std::string& help,
                    int& threads) {
  command.add_option(name, threads, help)->check(CLI::Range(1, kMaxThreads))->type_name("N");
}

void AddDimFlag(CLI::App& command, std::map<std::string, int64_t>& dims) {
  command
      .add_option_function<std::vector<std::string>>(
          "--dim",
          [&dims](const std::vector<std::string>& assignments) {
            for (const std::string& text : assignments) {
              const size_t equals = text.rfind('=');
              int64_t value = 0;
              if (equals == std::string::npos || equals == 0 ||
                  !absl::SimpleAtoi(text.substr(equals + 1), &value) || value < 1) {
                throw CLI::ValidationError(
                    "--dim", "expected NAME=N with N from 1 up, found \"" + text + "\"");
              }
              dims[text.substr(0, equals)] = value;
            }
          },
          "size of the dimension that the model calls NAME; INPUT:INDEX for one without a name")
      ->type_name("NAME=N")
      ->allow_extra_args(false);
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
