// A trained network as an ONNX model: pixels (0 to 255) in, class probabilities out.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/network.h"

namespace baton::trainer {

inline constexpr char kInputName[] = "image";           // float[batch, …input shape], 0 to 255
inline constexpr char kOutputName[] = "probabilities";  // float[batch, classes]

struct OnnxText {
  std::string graph_name;
  std::string description;                                      // the model's doc_string
  std::vector<std::pair<std::string, std::string>> properties;  // the model's metadata_props
};

// The serialized ModelProto, opset 13: scaling of pixels, the layers, softmax. Weights are inside.
std::string ExportOnnx(const Network& network, const OnnxText& text);

}  // namespace baton::trainer
