// tensorflow.serving.PredictionService and ModelService on call loops. Thread-safe; outlives the
// loops.
#pragma once

#include <grpcpp/grpcpp.h>

#include "proto/tensorflow_serving/apis/model_service.grpc.pb.h"
#include "proto/tensorflow_serving/apis/prediction_service.grpc.pb.h"
#include "server/api/admin.h"
#include "server/api/call_loop.h"
#include "server/serving/model_server.h"

namespace baton::api {

class TfsService {
 public:
  TfsService(serving::ModelServer& server, Admin& admin, size_t max_tensor_bytes)
      : server_(server), admin_(admin), max_tensor_bytes_(max_tensor_bytes) {}

  void Register(grpc::ServerBuilder& builder);
  // Posts the calls of every method; `busy_calls` for those that carry the load. REQUIRES: the
  // gRPC server has been built.
  void Serve(CallLoop& loop, int busy_calls);

  // What this call answers, for REST, too.
  absl::Status GetModelMetadata(const tensorflow::serving::GetModelMetadataRequest& request,
                                SteadyTime arrived,
                                tensorflow::serving::GetModelMetadataResponse& response);

 private:
  absl::Status GetModelStatus(const tensorflow::serving::GetModelStatusRequest& request,
                              tensorflow::serving::GetModelStatusResponse& response);

  serving::ModelServer& server_;
  Admin& admin_;
  const size_t max_tensor_bytes_;
  tensorflow::serving::PredictionService::AsyncService prediction_;
  tensorflow::serving::ModelService::AsyncService model_;
};

}  // namespace baton::api
