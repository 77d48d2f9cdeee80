// Open Inference Protocol's tensors (inference.ModelInferRequest and its reply) to and from views.
// Safe on messages of any content.
//
// Inputs come either all in raw_input_contents (row-major, little-endian; BYTES: each element a
// 4-byte length and its bytes) or each in the typed `contents`. Replies are always raw.
#pragma once

#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"
#include "proto/grpc_service.pb.h"
#include "server/api/input_check.h"
#include "server/serving/servable.h"

namespace baton::api {

// kUndefined for a name that the protocol does not have.
DataType FromOipType(absl::string_view name);
// "FP32"; "type <n>" for a type that the protocol does not have.
std::string OipTypeName(DataType type);

// The inputs of `request`, checked against `servable`. The views borrow from `request` where its
// bytes can be used as they are. kInvalidArgument as InputCheck says; kUnimplemented for shared
// memory.
absl::StatusOr<DecodedInputs> DecodeInferInputs(const inference::ModelInferRequest& request,
                                                const serving::Servable& servable,
                                                size_t max_tensor_bytes);

// One output of a reply.
struct WantedOutput {
  size_t index = 0;     // in the signature
  int64_t classes = 0;  // as that many of its highest-valued classes; 0: as the tensor it is
  friend bool operator==(const WantedOutput&, const WantedOutput&) = default;
};
using WantedOutputs = absl::InlinedVector<WantedOutput, 4>;

// Which outputs `request` wants: all, or those it names, in its order. kInvalidArgument for a name
// that is unknown or given twice, or a wrong parameter "classification"; kUnimplemented for outputs
// in shared memory.
absl::StatusOr<WantedOutputs> InferOutputs(const inference::ModelInferRequest& request,
                                           const serving::Servable& servable);

// Appends one BYTES element, its length and itself, to an output's raw contents.
void AppendBytesElement(absl::string_view element, std::string& raw);

// Adds `tensor` to the reply under `name`.
void AddInferOutput(const std::string& name, const TensorView& tensor,
                    inference::ModelInferResponse& response);

}  // namespace baton::api
