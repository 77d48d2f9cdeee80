// Triton's classification extension: an output as its highest-valued classes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/tensor.h"
#include "proto/grpc_service.pb.h"
#include "server/serving/servable.h"

namespace baton::api {

// Adds output `index` of `servable` to the reply as BYTES, each "value:index" or
// "value:index:label": the `count` highest values (all, where there are fewer), highest first; of
// equal ones the first, and NaN last. For a model with a batch dimension they are taken from each
// row (shape [rows, count]), else from the whole tensor (shape [count]); the index is that within
// the row, flat. Labels come from the output's label_filename. kInvalidArgument for outputs that
// are not numbers.
absl::Status AddClasses(const serving::Servable& servable, size_t index, const TensorView& tensor,
                        int64_t count, inference::ModelInferResponse& response);

}  // namespace baton::api
