// The commands of `baton-model`: each function adds one subcommand with its flags to `app`. When
// the command line names that subcommand, `run` becomes what to do; it returns the exit code, or
// an error that main prints as one line.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/command_line.h"
#include "engine/model.h"

namespace baton::model_tool {

using Run = std::function<absl::StatusOr<int>()>;

void AddVerifyCommand(CommandLine& app, Run& run);
void AddRunCommand(CommandLine& app, Run& run);
void AddShowCommand(CommandLine& app, Run& run);
void AddBenchCommand(CommandLine& app, Run& run);
void AddPublishCommand(CommandLine& app, Run& run);

inline constexpr int kMaxThreads = 1024;

// Flags that several commands have.
void AddModelArgument(CommandLine& command, std::string& path);
void AddPrecisionFlag(CommandLine& command, engine::Precision& precision);
void AddThreadsFlag(CommandLine& command, const std::string& name, const std::string& help,
                    int& threads);
// Repeatable `--dim NAME=N`.
void AddDimFlag(CommandLine& command, std::map<std::string, int64_t>& dims);

// `path`, or the model.onnx in it where it is a directory.
std::string ModelFileAt(const std::string& path);
// Loads that file. Errors name it.
absl::StatusOr<std::shared_ptr<const engine::Model>> LoadModel(const std::string& path,
                                                               engine::Precision precision);

}  // namespace baton::model_tool
