// Reads ONNX files: the message without its large weights, and those apart, each read straight into
// the tensor that it becomes. A file in memory, as a message, and as tensors would be three times
// its size.
#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"

namespace baton::engine {

struct OnnxFile {
  onnx::ModelProto model;
  // By number among the graph's initializers: what its raw_data held, which is not in `model`.
  // Empty tensors, or none, where all is in `model`.
  std::vector<Tensor> weights;
};

// kInvalidArgument: not ONNX, not whole, or of 2 GiB and more.
absl::StatusOr<OnnxFile> ParseOnnx(absl::string_view onnx);
// As ParseOnnx; errors of reading name the path.
absl::StatusOr<OnnxFile> ReadOnnx(const std::string& path);

}  // namespace baton::engine
