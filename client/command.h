// What the sub-commands of `baton` share. Each has one file with one function, Add…Command, that
// describes it to the command line and, if it is the one chosen, stores what is to be run.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "engine/base/command_line.h"

namespace baton {

// A sub-command as it was parsed.
struct Command {
  absl::Status usage;  // kInvalidArgument: the flags do not go together
  // Prints the result on stdout, or returns the error for main to print.
  std::function<absl::Status()> run;
};

// REQUIRES (all): `chosen` outlives the parsing.
void AddPredictCommand(CommandLine& app, Command* chosen);
void AddStatusCommand(CommandLine& app, Command* chosen);
void AddMetadataCommand(CommandLine& app, Command* chosen);
void AddModelsCommand(CommandLine& app, Command* chosen);
void AddBenchCommand(CommandLine& app, Command* chosen);
void AddControlCommands(CommandLine& app, Command* chosen);  // load, unload, label

// --server, --timeout, --protocol, --json, --tls-…, --token-file.
struct ServerOptions {
  std::string server = "localhost:8500";
  double timeout_s = 10;
  std::string protocol_name = "tfs";
  bool json = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string token_file;

  Protocol protocol() const {
    return protocol_name == "oip" ? Protocol::kOpenInference : Protocol::kTensorFlowServing;
  }
  std::chrono::nanoseconds timeout() const {
    return std::chrono::nanoseconds(static_cast<int64_t>(timeout_s * 1e9));
  }
  // Reads the files.
  absl::StatusOr<ClientSecurity> Security() const;
  absl::StatusOr<std::unique_ptr<Client>> Connect() const;
};
void AddServerOptions(CommandLine& command, ServerOptions* options);

// --model, --version, --label.
enum class ModelOption { kRequired, kOptional };
void AddModelOptions(CommandLine& command, ModelOption required, ModelRef* model);

// --image, --idx, --index, --json-input, --input.
struct InputOptions {
  std::vector<std::string> images;  // [NAME=]FILE
  std::string idx;
  std::vector<int64_t> indices;
  std::string json;                // text, a file's path, or "-"
  std::vector<std::string> files;  // NAME=FILE

  bool empty() const { return images.empty() && idx.empty() && json.empty() && files.empty(); }
};
void AddInputOptions(CommandLine& command, InputOptions* options);

// Reads the inputs; asks `client` for the signature where it is needed to fit or convert them. An
// idx file without indices gives its first image. kInvalidArgument if one input is given twice.
absl::StatusOr<std::vector<NamedTensor>> ReadInputs(const InputOptions& options, Client& client,
                                                    const ModelRef& model);

// "a=b" as {"a", "b"}; kInvalidArgument unless there is a name and a value.
absl::StatusOr<std::pair<std::string, std::string>> SplitAssignment(const std::string& text);

// "7" or, at most `limit` characters, the nested values of a tensor: "[[0.5,1],[2,3]]", cut short
// with "...".
std::string ValuesToString(const TensorView& tensor, size_t limit);

// Left-aligned columns, two spaces between them.
std::string Columns(const std::vector<std::vector<std::string>>& rows);

}  // namespace baton
