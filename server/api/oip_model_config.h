// Triton's ModelConfig: the config that a version is served with, for gRPC and REST.
#pragma once

#include "absl/status/status.h"
#include "proto/grpc_service.pb.h"
#include "server/serving/registry.h"

namespace baton::api {

// What config.pbtxt says, completed from the model: name, platform, backend, inputs and outputs
// (with labels' file names), max_batch_size, version policy, dynamic batching, instances and the
// name of the model's file.
inference::ModelConfig ServedConfig(const serving::Servable& servable);

// The config of the version that `request` names, or of the latest. Errors as Registry::Acquire.
absl::Status ModelConfigResponse(const serving::Registry& registry,
                                 const inference::ModelConfigRequest& request,
                                 inference::ModelConfigResponse& response);

}  // namespace baton::api
