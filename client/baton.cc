// baton: the command-line client.
#include <stdlib.h>

#include <algorithm>
#include <iostream>

#include "client/command.h"
#include "engine/base/command_line.h"

int main(int argc, char** argv) {
  // gRPC's own messages would mix with ours; what matters of them comes back in a call's status.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  baton::CommandLine app(
      "baton: the client of baton-server (and of other servers of the same protocols)", "baton");
  app.RequireCommand();
  baton::Command command;
  baton::AddPredictCommand(app, &command);
  baton::AddStatusCommand(app, &command);
  baton::AddMetadataCommand(app, &command);
  baton::AddModelsCommand(app, &command);
  baton::AddControlCommands(app, &command);
  baton::AddBenchCommand(app, &command);
  app.Footer(
      "`baton COMMAND --help` explains a command. Results go to stdout, all else to stderr; exit\n"
      "code 1: it failed, 2: the command line is wrong.\n"
      "Examples:\n"
      "  baton status --model=mnist\n"
      "  baton predict --model=mnist --image=seven.png\n"
      "  baton bench --model=mnist --duration=10\n");
  if (const std::optional<int> exit_code = app.Parse(argc, argv)) {
    return *exit_code;
  }
  if (!command.usage.ok()) {
    std::cerr << "baton: " << command.usage.message() << " (--help lists all)\n";
    return 2;
  }
  const absl::Status status = command.run();
  std::cout.flush();
  if (status.ok() && std::cout.good()) return 0;
  std::string message =
      status.ok() ? "the result could not be written to stdout" : std::string(status.message());
  std::replace(message.begin(), message.end(), '\n', ' ');
  if (message.empty()) message = absl::StatusCodeToString(status.code());
  std::cerr << "baton: " << message << "\n";
  return 1;
}
