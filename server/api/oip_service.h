// inference.GRPCInferenceService (Open Inference Protocol v2) on call loops. Thread-safe; outlives
// the loops.
#pragma once

#include <grpcpp/grpcpp.h>

#include "proto/grpc_service.grpc.pb.h"
#include "server/api/admin.h"
#include "server/api/call_loop.h"
#include "server/serving/model_server.h"

namespace baton::api {

class OipService {
 public:
  OipService(serving::ModelServer& server, Admin& admin, size_t max_tensor_bytes)
      : server_(server), admin_(admin), max_tensor_bytes_(max_tensor_bytes) {}

  void Register(grpc::ServerBuilder& builder);
  // As TfsService::Serve.
  void Serve(CallLoop& loop, int busy_calls);

 private:
  template <typename Call>
  void ModelInfer(Call& call);
  absl::Status ModelMetadata(const inference::ModelMetadataRequest& request, SteadyTime arrived,
                             inference::ModelMetadataResponse& response);
  absl::Status ModelReady(const inference::ModelReadyRequest& request,
                          inference::ModelReadyResponse& response);
  absl::Status RepositoryIndex(const inference::RepositoryIndexRequest& request,
                               inference::RepositoryIndexResponse& response);
  void ServeRefusals(CallLoop& loop);

  serving::ModelServer& server_;
  Admin& admin_;
  const size_t max_tensor_bytes_;
  inference::GRPCInferenceService::AsyncService service_;
};

}  // namespace baton::api
