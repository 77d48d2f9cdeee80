// Triton's ModelStatistics: what versions have done since they were loaded, for gRPC and REST.
#pragma once

#include "absl/status/status.h"
#include "proto/grpc_service.pb.h"
#include "server/serving/registry.h"

namespace baton::api {

// The statistics of the version that `request` names, of every ready version of the model that it
// names, or of all ready versions of all models. Errors as Registry::Acquire, for a model or
// version that is named.
absl::Status ModelStatisticsResponse(const serving::Registry& registry,
                                     const inference::ModelStatisticsRequest& request,
                                     inference::ModelStatisticsResponse& response);

}  // namespace baton::api
