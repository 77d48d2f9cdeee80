// baton models
#include <iostream>

#include "client/command.h"
#include "client/state_table.h"
#include "engine/base/status.h"

namespace baton {
namespace {

absl::Status Run(const ServerOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.Connect());
  ASSIGN_OR_RETURN(const std::vector<VersionState> states, client->Models());
  if (options.json) {
    std::cout << StatesToJson(states).dump(2) << "\n";
  } else if (states.empty()) {
    std::cout << "the server has no models\n";
  } else {
    std::cout << StatesToTable(states);
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelsCommand(CommandLine& app, Command* chosen) {
  CommandLine& command = app.AddCommand("models", "list every version of every model");
  auto options = std::make_shared<ServerOptions>();
  AddServerOptions(command, options.get());
  command.Remove("--protocol");  // RepositoryIndex, in any case
  command.Footer(
      "Examples:\n"
      "  baton models\n"
      "  baton models --server=10.0.0.7:8500 --json\n");
  command.OnChosen([chosen, options] {
    *chosen = {absl::OkStatus(), [options] { return Run(*options); }};
  });
}

}  // namespace baton
