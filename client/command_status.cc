// baton status
#include <iostream>

#include "client/command.h"
#include "client/state_table.h"
#include "engine/base/status.h"

namespace baton {
namespace {

struct Options {
  ServerOptions server;
  ModelRef model;
};

absl::Status CheckUsage(const Options& options) {
  if (options.model.name.empty() &&
      (options.model.version.has_value() || !options.model.label.empty())) {
    return absl::InvalidArgumentError("a version or label of which model? Give --model=NAME");
  }
  return ValidateModelRef(options.server.protocol(), options.model);
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  if (!options.model.name.empty()) {
    ASSIGN_OR_RETURN(const std::vector<VersionState> states, client->Status(options.model));
    if (options.server.json) {
      std::cout << StatesToJson(states).dump(2) << "\n";
    } else {
      std::cout << StatesToTable(states);
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ServerState state, client->Server());
  if (options.server.json) {
    std::cout << nlohmann::json{{"live", state.live}, {"ready", state.ready}}.dump(2) << "\n";
  } else {
    std::cout << client->server() << " is " << (state.live ? "live" : "not live") << " and "
              << (state.ready ? "ready" : "not ready") << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddStatusCommand(CommandLine& app, Command* chosen) {
  CommandLine& command = app.AddCommand(
      "status", "say whether the server is ready, or in which state a model's versions are");
  auto options = std::make_shared<Options>();
  AddModelOptions(command, ModelOption::kOptional, &options->model);
  AddServerOptions(command, &options->server);
  command.Footer(
      "A version that failed is listed with the reason.\n"
      "Examples:\n"
      "  baton status                        is the server live and ready?\n"
      "  baton status --model=mnist          every version of mnist\n"
      "  baton status --model=mnist --json\n");
  command.OnChosen([chosen, options] {
    *chosen = {CheckUsage(*options), [options] { return Run(*options); }};
  });
}

}  // namespace baton
