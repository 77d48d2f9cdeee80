// The states of a model's versions, in TensorFlow Serving's terms; for gRPC and HTTP.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "proto/tensorflow_serving/apis/get_model_status.pb.h"
#include "proto/tensorflow_serving/apis/model.pb.h"
#include "server/serving/registry.h"

namespace baton::api {

// Version or label of `spec`, or neither.
serving::VersionChoice ChoiceOf(const tensorflow::serving::ModelSpec& spec);

// The versions of a model, highest first, or the one that `spec` chooses. A version that failed is
// END with its error. kNotFound: no such model, version or label; kUnavailable: a model without
// versions (says why, where that is known).
absl::StatusOr<tensorflow::serving::GetModelStatusResponse> ModelStatusResponse(
    const serving::Registry& registry, const tensorflow::serving::ModelSpec& spec);

}  // namespace baton::api
