// baton-model: model files without a server.
#include <exception>
#include <iostream>

#include "client/model_commands.h"
#include "engine/base/command_line.h"

namespace {

int Main(int argc, char** argv) {
  baton::CommandLine app(
      "Model files without a server: check, run, look into, measure and publish them.",
      "baton-model");
  app.RequireCommand();
  baton::model_tool::Run run;
  baton::model_tool::AddVerifyCommand(app, run);
  baton::model_tool::AddRunCommand(app, run);
  baton::model_tool::AddShowCommand(app, run);
  baton::model_tool::AddBenchCommand(app, run);
  baton::model_tool::AddPublishCommand(app, run);
  if (const auto exit_code = app.Parse(argc, argv)) return *exit_code;

  const absl::StatusOr<int> exit_code = run();
  if (exit_code.ok()) return *exit_code;
  std::cerr << "baton-model: " << exit_code.status().message() << "\n";
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {  // out of memory, in the main
    std::cerr << "baton-model: " << error.what() << "\n";
    return 1;
  }
}
