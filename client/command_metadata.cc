// baton metadata
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/command.h"
#include "engine/base/status.h"

namespace baton {
namespace {

struct Options {
  ServerOptions server;
  ModelRef model;
};

nlohmann::json ToJson(const std::vector<TensorInfo>& tensors) {
  nlohmann::json list = nlohmann::json::array();
  for (const TensorInfo& tensor : tensors) {
    list.push_back({{"name", tensor.name},
                    {"type", DataTypeName(tensor.type)},
                    {"shape", std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())}});
  }
  return list;
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, options.server.Connect());
  ASSIGN_OR_RETURN(const Signature signature, client->Metadata(options.model));
  if (options.server.json) {
    const nlohmann::json json{{"model", signature.model},
                              {"version", signature.version},
                              {"inputs", ToJson(signature.inputs)},
                              {"outputs", ToJson(signature.outputs)}};
    std::cout << json.dump(2) << "\n";
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows{{"model", signature.model}};
  if (!signature.version.empty()) rows.push_back({"version", signature.version});
  for (const TensorInfo& input : signature.inputs) {
    rows.push_back({"input", input.name, TypeAndShape(input)});
  }
  for (const TensorInfo& output : signature.outputs) {
    rows.push_back({"output", output.name, TypeAndShape(output)});
  }
  std::cout << Columns(rows);
  return absl::OkStatus();
}

}  // namespace

void AddMetadataCommand(CommandLine& app, Command* chosen) {
  CommandLine& command =
      app.AddCommand("metadata", "show a model's inputs and outputs: names, types, shapes");
  auto options = std::make_shared<Options>();
  AddModelOptions(command, ModelOption::kRequired, &options->model);
  AddServerOptions(command, &options->server);
  command.Footer(
      "A dimension of any size is shown as ?, in JSON as -1.\n"
      "Examples:\n"
      "  baton metadata --model=mnist\n"
      "  baton metadata --model=mnist --version=3 --protocol=oip --json\n");
  command.OnChosen([chosen, options] {
    *chosen = {ValidateModelRef(options->server.protocol(), options->model),
               [options] { return Run(*options); }};
  });
}

}  // namespace baton
