// One Predict as it goes over the wire, for callers that send the same request many times: the
// request is serialized once, and of a reply only what is asked for is read.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tensor_io.h"

namespace tensorflow::serving {
class ModelSpec;
class PredictRequest;
}  // namespace tensorflow::serving
namespace inference {
class ModelInferRequest;
}

namespace baton {

enum class Protocol { kTensorFlowServing, kOpenInference };

// "TensorFlow Serving", "Open Inference"
const char* ProtocolName(Protocol protocol);

// Which model is meant. At most one of `version` and `label`; neither: the latest that serves.
struct ModelRef {
  std::string name;
  std::optional<int64_t> version;
  std::string label;  // TensorFlow Serving only
};

// kInvalidArgument for both a version and a label, and for a label with Open Inference, which has
// none.
absl::Status ValidateModelRef(Protocol protocol, const ModelRef& model);

// REQUIRES (all three): a valid `model`.
void SetModelSpec(const ModelRef& model, tensorflow::serving::ModelSpec* spec);
void SetPredictRequest(const ModelRef& model, absl::Span<const NamedTensor> inputs,
                       tensorflow::serving::PredictRequest* request);
void SetPredictRequest(const ModelRef& model, absl::Span<const NamedTensor> inputs,
                       inference::ModelInferRequest* request);

struct EncodedRequest {
  std::string method;  // "/package.Service/Method"
  grpc::ByteBuffer body;
};

// kInvalidArgument for an invalid `model`, and for a request over the 2 GiB that a message can be.
absl::StatusOr<EncodedRequest> EncodePredict(Protocol protocol, const ModelRef& model,
                                             absl::Span<const NamedTensor> inputs);

// The version that gave `reply`, without parsing the outputs; 0 if the reply does not say.
// kInternal if it is not a well-formed message.
absl::StatusOr<int64_t> ReplyVersion(Protocol protocol, const grpc::ByteBuffer& reply);

}  // namespace baton
