// grpc.health.v1.Health on a call loop: "" (and each gRPC service's name) is the server, every
// model is a service of its name. SERVING: the server is ready; the model has a ready version. From
// SetNotServing on everything is NOT_SERVING. Open to every caller. Thread-safe; outlives the loop.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <optional>
#include <string>

#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "server/api/call_loop.h"
#include "server/serving/model_server.h"

namespace baton::api {

class HealthService {
 public:
  explicit HealthService(serving::ModelServer& server) : server_(server) {}

  void Register(grpc::ServerBuilder& builder) { builder.RegisterService(&service_); }
  // REQUIRES: the gRPC server has been built.
  void Serve(CallLoop& loop);

  void SetNotServing() { not_serving_ = true; }
  // Ends every Watch with kUnavailable, also those to come.
  void Close() { closed_ = true; }

 private:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;
  class WatchCall;

  // No value: no such service.
  std::optional<Status> StatusOf(const std::string& name) const;

  serving::ModelServer& server_;
  grpc::health::v1::Health::AsyncService service_;
  std::atomic<bool> not_serving_{false};  // goes true once, never back
  std::atomic<bool> closed_{false};       // goes true once, never back
};

}  // namespace baton::api
