// Client: blocking calls to a Baton server, or to any server of the same protocols. Thread-safe;
// calls from several threads share one connection, which is made at the first call and again
// after a failure. For many calls at once use LoadGenerator, or grpc with EncodePredict.
//
// Errors carry the server's code and message. kUnavailable starting "cannot reach" means that no
// connection was made; kDeadlineExceeded that the timeout passed.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/predict_call.h"
#include "client/signature.h"
#include "engine/tensor_io.h"

namespace baton {

// How a client knows the server, and shows who it is itself. Texts, not paths.
struct ClientSecurity {
  std::string ca;           // PEM of who has signed the server's certificate; "": no TLS
  std::string certificate;  // PEM of the client's own; "": none
  std::string key;          // PEM, of that
  std::string token;        // bearer token of every call; "": none
};

struct ClientOptions {
  Protocol protocol = Protocol::kTensorFlowServing;
  std::chrono::nanoseconds timeout = std::chrono::seconds(10);  // of every call
  ClientSecurity security = {};
};

struct PredictResult {
  std::string version;  // that answered; empty if the server does not say
  // In the server's order; by name with TensorFlow Serving, which has no order.
  std::vector<NamedTensor> outputs;
};

// One version in the server's view. Which states there are is the protocol's: LOADING, AVAILABLE,
// END … with TensorFlow Serving; READY, UNAVAILABLE … with Open Inference.
struct VersionState {
  std::string model;
  std::string version;
  std::string state;
  std::string reason;  // why it failed; empty if it did not
};

struct ServerState {
  bool live = false;
  bool ready = false;
};

// kInvalidArgument unless `server` is HOST:PORT, unix:PATH or unix-abstract:NAME.
absl::Status ValidateServerAddress(const std::string& server);

// A channel that takes replies of any size and shares its connection with no other channel.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& server,
                                          const ClientSecurity& security);

// Puts the token, if there is one, into a call that has not started.
void AddToken(const ClientSecurity& security, grpc::ClientContext& context);

// The error of a call to `server` over `channel`; says so where there was no connection.
absl::Status CallStatus(const grpc::Status& status, const std::string& server,
                        grpc::Channel& channel);

class Client {
 public:
  // Does not connect yet. kInvalidArgument for a wrong address.
  static absl::StatusOr<std::unique_ptr<Client>> Create(const std::string& server,
                                                        const ClientOptions& options);

  absl::StatusOr<PredictResult> Predict(const ModelRef& model,
                                        absl::Span<const NamedTensor> inputs);
  absl::StatusOr<Signature> Metadata(const ModelRef& model);
  // The states of all versions of `model`, or of the one it names; newest first. With Open
  // Inference from RepositoryIndex, or where that is not served from ModelReady.
  absl::StatusOr<std::vector<VersionState>> Status(const ModelRef& model);
  // Every version of every model. By RepositoryIndex, whatever the protocol: TensorFlow Serving's
  // has no such call. kUnimplemented if the server does not serve it.
  absl::StatusOr<std::vector<VersionState>> Models();
  // RepositoryModelLoad, with `config` as its parameter of that name. Returns when the model
  // serves.
  absl::Status LoadModel(const std::string& model, const std::optional<std::string>& config);
  absl::Status UnloadModel(const std::string& model);
  // By Baton's own service; version 0 takes the label away.
  absl::Status SetLabel(const std::string& model, const std::string& label, int64_t version);
  // By ServerLive and ServerReady, whatever the protocol.
  absl::StatusOr<ServerState> Server();

  Protocol protocol() const { return options_.protocol; }
  const std::string& server() const { return server_; }

 private:
  Client(std::string server, const ClientOptions& options);
  // Calls `method` of `Service`'s stub, with the deadline.
  template <typename Service, typename Request, typename Reply>
  absl::StatusOr<Reply> Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                   const Request&, Reply*),
                             const Request& request);

  const std::string server_;
  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace baton
