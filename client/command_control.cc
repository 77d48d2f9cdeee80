// baton load, unload and label
#include <iostream>

#include "client/command.h"
#include "client/state_table.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton {
namespace {

struct Options {
  ServerOptions server;
  std::string model;
  std::string config;  // a file of JSON; "": none
  std::string label;
  int64_t version = 0;
  bool remove = false;
};

// The states of the model's versions, after what was asked for has been done.
absl::Status Report(Client& client, const Options& options, absl::string_view done) {
  if (!options.server.json) {
    std::cout << done << "\n";
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::vector<VersionState> states, client.Models());
  std::erase_if(states, [&](const VersionState& state) { return state.model != options.model; });
  std::cout << StatesToJson(states).dump(2) << "\n";
  return absl::OkStatus();
}

absl::Status Load(const Options& options) {
  std::optional<std::string> config;
  if (!options.config.empty()) {
    ASSIGN_OR_RETURN(config, ReadFile(options.config));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  RETURN_IF_ERROR(client->LoadModel(options.model, config));
  return Report(*client, options, absl::StrCat("model \"", options.model, "\" is loaded"));
}

absl::Status Unload(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  RETURN_IF_ERROR(client->UnloadModel(options.model));
  return Report(*client, options, absl::StrCat("model \"", options.model, "\" is unloaded"));
}

absl::Status SetLabel(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  RETURN_IF_ERROR(
      client->SetLabel(options.model, options.label, options.remove ? 0 : options.version));
  return Report(*client, options,
                options.remove ? absl::StrCat("model \"", options.model, "\" has no label \"",
                                              options.label, "\" any more")
                               : absl::StrCat("label \"", options.label, "\" of model \"",
                                              options.model, "\" is version ", options.version));
}

std::shared_ptr<Options> AddOptions(CommandLine& command) {
  auto options = std::make_shared<Options>();
  // A load takes as long as the model does to be checked, compiled and warmed up.
  options->server.timeout_s = 600;
  AddServerOptions(command, &options->server);
  command.Remove("--protocol");  // one call for both
  command.Add("--model", options->model, "the model's name").Required();
  return options;
}

}  // namespace

void AddControlCommands(CommandLine& app, Command* chosen) {
  CommandLine& load = app.AddCommand(
      "load", "load a model of the repository, or anew (a server under explicit control)");
  auto load_options = AddOptions(load);
  load.Add("--config", load_options->config,
           "file with JSON of a ModelConfig, instead of the model's config.pbtxt");
  load.Footer("Example:\n  baton load --model=mnist\n");
  load.OnChosen([chosen, load_options] {
    *chosen = {absl::OkStatus(), [load_options] { return Load(*load_options); }};
  });

  CommandLine& unload =
      app.AddCommand("unload",
                     "unload all versions of a model (likewise); it finishes what "
                     "it has been asked");
  auto unload_options = AddOptions(unload);
  unload.Footer("Example:\n  baton unload --model=mnist\n");
  unload.OnChosen([chosen, unload_options] {
    *chosen = {absl::OkStatus(), [unload_options] { return Unload(*unload_options); }};
  });

  CommandLine& label =
      app.AddCommand("label", "point a label of a model at a version, which it keeps loaded");
  auto label_options = AddOptions(label);
  label.Add("--label", label_options->label, "the label's name").Required();
  label.Add("--version", label_options->version, "the version that it stands for")
      .Positive()
      .DefaultText("");
  label.AddSwitch("--remove", label_options->remove, "take the label away").Excludes("--version");
  label.Footer(
      "Example: roll back at once, for clients that ask for \"stable\"\n"
      "  baton label --model=mnist --label=stable --version=3\n");
  label.OnChosen([chosen, label_options] {
    absl::Status usage;
    if (label_options->version == 0 && !label_options->remove) {
      usage = absl::InvalidArgumentError("give --version=N, or --remove");
    }
    *chosen = {usage, [label_options] { return SetLabel(*label_options); }};
  });
}

}  // namespace baton
