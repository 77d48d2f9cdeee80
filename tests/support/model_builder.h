// ModelBuilder: small ONNX models for tests, built in code.
//   ModelBuilder m;                                   // opset 17 unless told
//   m.Input("x", DataType::kFloat, {-1, 4});          // -1: symbolic "batch" (first) or any
//   m.Constant("w", Tensor::From<float>({4, 2}, {…}));
//   m.Node("MatMul", {"x", "w"}, {"y"});
//   m.Output("y", DataType::kFloat, {-1, 2});
//   std::string onnx = m.Build();
#pragma once

#include <onnx/onnx_pb.h>

#include <string>
#include <vector>

#include "engine/tensor.h"
#include "engine/tensor_io.h"

namespace baton::testing {

class ModelBuilder {
 public:
  explicit ModelBuilder(int opset = 17);
  // `symbols`: names of dimensions that are -1, by axis; "": as above.
  ModelBuilder& Input(const std::string& name, DataType type, const std::vector<int64_t>& dims,
                      const std::vector<std::string>& symbols = {});
  ModelBuilder& Output(const std::string& name, DataType type, const std::vector<int64_t>& dims,
                       const std::vector<std::string>& symbols = {});
  ModelBuilder& Constant(const std::string& name, const Tensor& value);
  // The node, for adding attributes. Its name is op_type + "_" + index.
  onnx::NodeProto& Node(const std::string& op_type, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const std::string& domain = "");
  onnx::ModelProto& proto() { return model_; }
  std::string Build() const { return model_.SerializeAsString(); }

 private:
  onnx::ModelProto model_;
};

void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value);
void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values);
void SetFloat(onnx::NodeProto& node, const std::string& name, float value);
void SetString(onnx::NodeProto& node, const std::string& name, const std::string& value);

// y = scale * x + offset over float[?, columns], inputs and outputs named "x" and "y". With
// another offset for each version, an answer tells which version gave it.
std::string AffineModel(float scale, float offset, int64_t columns = 4);

}  // namespace baton::testing
