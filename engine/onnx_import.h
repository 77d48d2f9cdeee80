// ONNX file → Graph, with all differences between operator set versions resolved: kernels see the
// newest form of each operator only (attributes that later became inputs are constant inputs).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/graph.h"
#include "engine/onnx_reader.h"

namespace baton::engine {

// External data is looked for in `directory`; "" for none allowed. kInvalidArgument: a broken
// graph; kUnimplemented: sequence, optional or map inputs and outputs.
absl::StatusOr<Graph> ImportOnnx(const OnnxFile& file, const std::string& directory);

// Brings `node` to the newest form of its operator, adding constants to `graph`.
absl::Status NormalizeNode(Node& node, Graph& graph);

}  // namespace baton::engine
