// Inputs for a model that come from the command line: concrete shapes, random values, files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model.h"
#include "engine/tensor.h"

namespace baton::model_tool {

// How a model's inputs depend on the batch.
struct BatchRule {
  bool free = false;  // an input's first dimension is of any size: it is the batch
  int64_t fixed = 1;  // first dimension of the first input that has one, where none is free
};
BatchRule BatchRuleOf(const engine::Signature& signature,
                      const std::map<std::string, int64_t>& dims);

// The shape of each input: free first dimensions are `batch`, and so are others of the same name;
// `dims` gives the rest, by name or as INPUT:INDEX. kInvalidArgument lists all that are missing,
// and those in `dims` that the model does not have.
absl::StatusOr<std::vector<Shape>> ResolveShapes(const engine::Signature& signature, int64_t batch,
                                                 const std::map<std::string, int64_t>& dims);

// Random values, the same for the same seed: floats in [-1,1), 8- and 16-bit integers in all
// their range, wider ones 0 or 1 (valid as an index into anything), empty strings.
std::vector<Tensor> RandomInputs(const engine::Signature& signature,
                                 const std::vector<Shape>& shapes, uint32_t seed);

// kInvalidArgument, naming the input, what was given and what is expected, if the model cannot
// take `tensor` there.
absl::Status CheckInput(const engine::ValueInfo& info, const TensorView& tensor);

// A .npy file, or an ONNX tensor file.
absl::StatusOr<Tensor> ReadTensorFile(const std::string& path);

std::vector<TensorView> ViewsOf(const std::vector<Tensor>& tensors);
std::vector<Shape> ShapesOf(const std::vector<Tensor>& tensors);

}  // namespace baton::model_tool
