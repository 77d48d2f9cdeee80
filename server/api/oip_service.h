// inference.GRPCInferenceService (Open Inference Protocol v2) on call loops. Thread-safe; outlives
// the loops.
#pragma once

#include <grpcpp/grpcpp.h>

#include "proto/grpc_service.grpc.pb.h"
#include "server/api/admin.h"
#include "server/api/call_loop.h"
#include "server/api/oip_stream.h"
#include "server/api/run.h"
#include "server/serving/model_server.h"

namespace baton::api {

// The extensions of the protocol that ServerMetadata names.
inline constexpr const char* kOipExtensions[] = {
    "classification", "schedule_policy", "model_configuration", "model_repository", "statistics"};

class OipService {
 public:
  OipService(serving::ModelServer& server, Admin& admin, size_t max_tensor_bytes)
      : server_(server), admin_(admin), max_tensor_bytes_(max_tensor_bytes) {}

  void Register(grpc::ServerBuilder& builder);
  // As TfsService::Serve.
  void Serve(CallLoop& loop, int busy_calls);
  // Ends all streams, now and later, once what has arrived on them is answered.
  void Close() { streams_.Close(); }

  // What these calls answer, for REST, too.
  absl::Status ModelMetadata(const inference::ModelMetadataRequest& request, SteadyTime arrived,
                             inference::ModelMetadataResponse& response);
  // `request` and `response` live until `done` has been called.
  void RepositoryIndex(const inference::RepositoryIndexRequest& request,
                       inference::RepositoryIndexResponse& response, Done done);

 private:
  absl::Status ModelReady(const inference::ModelReadyRequest& request,
                          inference::ModelReadyResponse& response);
  void ServeRefusals(CallLoop& loop);

  serving::ModelServer& server_;
  Admin& admin_;
  const size_t max_tensor_bytes_;
  inference::GRPCInferenceService::AsyncService service_;
  StreamSet streams_;
};

}  // namespace baton::api
