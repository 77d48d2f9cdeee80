// Tensors to and from both protocols' messages. What is sent is always the raw form (one copy);
// what comes back may be in any form the protocols allow. Decoding is safe on any content and
// answers kInternal, naming the output, because it is the server that was wrong.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"
#include "engine/tensor_io.h"

namespace tensorflow {
class TensorProto;
}
namespace inference {
class ModelInferRequest;
class ModelInferResponse;
}  // namespace inference

namespace baton {

// kUndefined for a type that has no counterpart.
DataType DataTypeFromTensorFlow(int dtype);
DataType DataTypeFromOpenInference(absl::string_view datatype);  // "FP32"

// REQUIRES (both): a tensor with a type.
void EncodeTensorFlow(const TensorView& tensor, tensorflow::TensorProto* proto);
void AddOpenInferenceInput(const std::string& name, const TensorView& tensor,
                           inference::ModelInferRequest* request);

absl::StatusOr<Tensor> DecodeTensorFlow(const tensorflow::TensorProto& proto);
absl::StatusOr<std::vector<NamedTensor>> DecodeOpenInferenceOutputs(
    const inference::ModelInferResponse& response);

}  // namespace baton
