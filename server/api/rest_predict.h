// Bodies of TensorFlow Serving's REST predict, to and from the messages of its gRPC call. Safe on
// text of any content.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"
#include "proto/tensorflow_serving/apis/predict.pb.h"

namespace baton::api {

// How tensors stand in a body, and in its reply.
enum class PredictForm {
  kRows,     // "instances": one entry for each row; answered with "predictions"
  kColumns,  // "inputs": whole tensors; answered with "outputs"
};

// An input as requests name it.
struct NamedType {
  std::string name;
  DataType type;
};

// The inputs of a model under the name of a signature.
using InputsOfSignature = std::function<std::vector<NamedType>(const std::string& signature_name)>;

// Reads a body into signature_name and inputs of `request`. An unknown input is put in without
// elements, and one that is missing left out: whoever decodes the request says what is wrong with
// its names. kInvalidArgument for malformed JSON, for a body that has not exactly one of
// "instances" and "inputs", for instances that differ in names or shape, and as ReadElements.
absl::StatusOr<PredictForm> ReadPredictBody(absl::string_view body,
                                            const InputsOfSignature& inputs_of,
                                            size_t max_tensor_bytes,
                                            tensorflow::serving::PredictRequest& request);

// The reply's body; outputs by name, or a single one bare. Strings of outputs whose names end with
// "_bytes", and strings that are not UTF-8, are {"b64": "…"}. kInvalidArgument if outputs of kRows
// have no rows, or some have more than others.
absl::StatusOr<std::string> PredictReply(const tensorflow::serving::PredictResponse& response,
                                         PredictForm form);

}  // namespace baton::api
