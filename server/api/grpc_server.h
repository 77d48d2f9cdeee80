// GrpcServer: one port that speaks TensorFlow Serving's protocol, Open Inference v2, health and
// reflection. Used from one thread.
//
// Threads it owns: `pollers` call loops, which do the network, parse requests, answer everything
// that takes no compute, and run small models; and gRPC's own, of which the one for reflection and
// its timers are all that works.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "server/api/admin.h"
#include "server/api/call_loop.h"
#include "server/api/gate.h"
#include "server/api/health_service.h"
#include "server/api/oip_service.h"
#include "server/api/secrets.h"
#include "server/api/tfs_service.h"
#include "server/serving/model_server.h"

namespace baton::api {

// One of gRPC's own settings (grpc_types.h).
struct ChannelArgument {
  std::string name;
  std::variant<int, std::string> value;
};

struct GrpcOptions {
  int port = 8500;          // 0: any that is free
  std::string socket_path;  // also listen on this Unix socket; "": none
  int max_message_mb = 64;  // largest request, 1 … 2047
  int pollers = 0;          // call loops; 0: one for every eight cores
  int max_pollers = 0;      // of these; 0: no bound
  int poll_spin_us = 0;     // a call loop polls for so long before it sleeps
  std::vector<ChannelArgument> channel_arguments = {};
  bool enable_health = true;
  AdminAccess admin = AdminAccess::kLocal;
  std::optional<int> connection_idle_seconds;  // then it is closed; no value: never

  // kInvalidArgument, naming the flag, its value and what is allowed.
  absl::Status Validate() const;
};

class GrpcServer {
 public:
  // Listens and serves. `server` has been started; it and `secrets` (null: no TLS, no tokens)
  // outlive this. The Unix socket is plain in any case. kInvalidArgument for wrong options;
  // kFailedPrecondition or kPermissionDenied for a port or socket that cannot be used.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcOptions& options,
                                                           serving::ModelServer& server,
                                                           const Secrets* secrets = nullptr);
  ~GrpcServer();  // Shutdown now, and waits for every call to be answered
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int port() const { return port_; }

  // Health is NOT_SERVING from now on; everything is still answered.
  void SetNotServing() { health_.SetNotServing(); }

  // Takes no new calls and waits until those under way are answered; cancels them at `deadline`.
  // False if some are still being worked on then. Once more is no harm.
  bool Shutdown(SteadyTime deadline);

 private:
  GrpcServer(const GrpcOptions& options, serving::ModelServer& server, const Secrets* secrets);
  absl::Status Listen();

  const GrpcOptions options_;
  serving::ModelServer& model_server_;
  const std::shared_ptr<grpc::ServerCredentials> credentials_;  // of the port
  const Gate gate_;
  Admin admin_;
  TfsService tfs_;
  OipService oip_;
  HealthService health_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<CallLoop>> loops_;
  bool shut_down_ = false;
};

}  // namespace baton::api
