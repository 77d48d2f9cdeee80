// Bodies of Open Inference's REST infer, with the binary tensor data extension, to and from the
// messages of ModelInfer. Safe on text of any content.
//
// A body is JSON; where the header Inference-Header-Content-Length says how long that is, the data
// of tensors with the parameter binary_data_size follow it, in the order of the tensors.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/grpc_service.pb.h"

namespace baton::api {

// How the outputs of a reply are wanted.
struct InferForm {
  bool binary = false;                  // "binary_data_output"
  std::map<std::string, bool> outputs;  // "binary_data", where an output has it

  bool IsBinary(const std::string& output) const;
};

// Reads a body into id, parameters, inputs (all as raw_input_contents) and outputs of `request`.
// `json_size` is the header's, if there is one. kInvalidArgument for malformed JSON, data that are
// missing or do not fit type and shape, and binary data of the wrong size; names the input.
absl::StatusOr<InferForm> ReadInferBody(absl::string_view body, std::optional<size_t> json_size,
                                        size_t max_tensor_bytes,
                                        inference::ModelInferRequest& request);

struct InferReply {
  std::string body;
  std::optional<size_t> json_size;  // where binary data follow the JSON
};

// kInvalidArgument for an output that JSON cannot show (FP16, BF16, BYTES that are not UTF-8).
absl::StatusOr<InferReply> WriteInferReply(const inference::ModelInferResponse& response,
                                           const InferForm& form);

}  // namespace baton::api
