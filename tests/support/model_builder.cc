#include "tests/support/model_builder.h"

namespace baton::testing {
namespace {

void SetValueInfo(onnx::ValueInfoProto& info, const std::string& name, DataType type,
                  const std::vector<int64_t>& dims, const std::vector<std::string>& symbols) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(static_cast<int32_t>(type));
  tensor.mutable_shape();
  for (size_t i = 0; i < dims.size(); ++i) {
    auto& dim = *tensor.mutable_shape()->add_dim();
    if (dims[i] >= 0) {
      dim.set_dim_value(dims[i]);
    } else if (i < symbols.size() && !symbols[i].empty()) {
      dim.set_dim_param(symbols[i]);
    } else if (i == 0) {
      dim.set_dim_param("batch");
    }
  }
}

onnx::AttributeProto& Add(onnx::NodeProto& node, const std::string& name,
                          onnx::AttributeProto::AttributeType type) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

}  // namespace

ModelBuilder::ModelBuilder(int opset) {
  model_.set_ir_version(8);
  model_.set_producer_name("baton-tests");
  model_.add_opset_import()->set_version(opset);
  model_.mutable_graph()->set_name("test");
}

ModelBuilder& ModelBuilder::Input(const std::string& name, DataType type,
                                  const std::vector<int64_t>& dims,
                                  const std::vector<std::string>& symbols) {
  SetValueInfo(*model_.mutable_graph()->add_input(), name, type, dims, symbols);
  return *this;
}

ModelBuilder& ModelBuilder::Output(const std::string& name, DataType type,
                                   const std::vector<int64_t>& dims,
                                   const std::vector<std::string>& symbols) {
  SetValueInfo(*model_.mutable_graph()->add_output(), name, type, dims, symbols);
  return *this;
}

ModelBuilder& ModelBuilder::Constant(const std::string& name, const Tensor& value) {
  *model_.mutable_graph()->add_initializer() = TensorToProto(value.view(), name);
  return *this;
}

onnx::NodeProto& ModelBuilder::Node(const std::string& op_type,
                                    const std::vector<std::string>& inputs,
                                    const std::vector<std::string>& outputs,
                                    const std::string& domain) {
  auto& graph = *model_.mutable_graph();
  auto& node = *graph.add_node();
  node.set_name(op_type + "_" + std::to_string(graph.node_size() - 1));
  node.set_op_type(op_type);
  node.set_domain(domain);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}

void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  Add(node, name, onnx::AttributeProto::INT).set_i(value);
}

void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
  auto& attribute = Add(node, name, onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute.add_ints(value);
}

void SetFloat(onnx::NodeProto& node, const std::string& name, float value) {
  Add(node, name, onnx::AttributeProto::FLOAT).set_f(value);
}

void SetString(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  Add(node, name, onnx::AttributeProto::STRING).set_s(value);
}

std::string AffineModel(float scale, float offset, int64_t columns) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, columns});
  m.Constant("scale", Tensor::From<float>({}, {scale}));
  m.Constant("offset", Tensor::From<float>({}, {offset}));
  m.Node("Mul", {"x", "scale"}, {"scaled"});
  m.Node("Add", {"scaled", "offset"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, columns});
  return m.Build();
}

}  // namespace baton::testing
