// TensorFlow Serving's warm-up: the requests in `assets.extra/tf_serving_warmup_requests` of a
// version, a TFRecord file of tensorflow.serving.PredictionLog, at most 1000. Each is run as the
// request that it is, from message to message; the model that it names does not matter, its
// signature does. What is wrong with one fails the load.
//
// Contains no gRPC: `baton-model verify` runs them, too.
#pragma once

#include <cstddef>

#include "server/serving/version_load.h"

namespace baton::api {

// Runs them; tensors as for CallTerms::max_tensor_bytes. kDataLoss for a file that is no TFRecord
// file, kInvalidArgument for a record that is no PredictionLog and for too many, kUnimplemented for
// one that runs a session; those of the calls (see tfs_inference.h). All name file and record.
serving::WarmUpRequests WarmUpRequestsUpTo(size_t max_tensor_bytes);

}  // namespace baton::api
