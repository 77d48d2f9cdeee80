#include "trainer/onnx_export.h"

#include <onnx/onnx_pb.h>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/version.h"
#include "engine/tensor_io.h"
#include "trainer/training.h"

namespace baton::trainer {
namespace {

constexpr int kIrVersion = 7;  // the oldest that has opset 13: the most runtimes read it
constexpr int kOpset = 13;
constexpr char kBatchSymbol[] = "batch";
constexpr char kPixelScaleName[] = "pixel_scale";

using Ints = std::vector<int64_t>;

void AddInts(onnx::NodeProto& node, const std::string& name, const Ints& values) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute.add_ints(value);
}

void AddInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

void SetValueInfo(onnx::ValueInfoProto& info, const std::string& name, const Shape& item_shape,
                  const std::string& description) {
  info.set_name(name);
  info.set_doc_string(description);
  onnx::TypeProto::Tensor& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(static_cast<int>(DataType::kFloat));
  type.mutable_shape()->add_dim()->set_dim_param(kBatchSymbol);
  for (const int64_t dim : item_shape) type.mutable_shape()->add_dim()->set_dim_value(dim);
}

// Adds one node for each layer; each reads what the one before wrote.
class GraphWriter {
 public:
  explicit GraphWriter(onnx::GraphProto& graph) : graph_(graph), value_(kInputName) {}

  onnx::NodeProto& Add(const std::string& op, const std::string& name,
                       const std::vector<std::string>& more_inputs = {}) {
    onnx::NodeProto& node = *graph_.add_node();
    node.set_op_type(op);
    node.set_name(name);
    node.add_input(value_);
    for (const std::string& input : more_inputs) node.add_input(input);
    value_ = name + ".out";
    node.add_output(value_);
    return node;
  }
  void AddLayer(const Layer& layer) {
    layer_ = &layer;
    std::visit(*this, layer.spec);
  }

  void operator()(const Dense&) { AddInt(Add("Gemm", layer_->name, Weights()), "transB", 1); }
  void operator()(const Conv2D& conv) {
    onnx::NodeProto& node = Add("Conv", layer_->name, Weights());
    const int64_t padding = (conv.kernel - 1) / 2;
    AddInts(node, "kernel_shape", Ints(2, conv.kernel));
    AddInts(node, "pads", Ints(4, padding));
    AddInts(node, "strides", Ints(2, 1));
  }
  void operator()(const MaxPool& pool) {
    onnx::NodeProto& node = Add("MaxPool", layer_->name);
    AddInts(node, "kernel_shape", Ints(2, pool.size));
    AddInts(node, "strides", Ints(2, pool.size));
  }
  void operator()(const Activation& activation) {
    switch (activation.kind) {
      case Activation::Kind::kSigmoid:
        Add("Sigmoid", layer_->name);
        return;
      case Activation::Kind::kTanh:
        Add("Tanh", layer_->name);
        return;
      case Activation::Kind::kRelu:
        Add("Relu", layer_->name);
        return;
    }
  }
  void operator()(const Flatten&) { AddInt(Add("Flatten", layer_->name), "axis", 1); }

 private:
  // Stores the layer's parameters; returns their names.
  std::vector<std::string> Weights() {
    std::vector<std::string> names;
    for (const Parameter& parameter : layer_->parameters) {
      *graph_.add_initializer() = TensorToProto(parameter.value.view(), parameter.name);
      names.push_back(parameter.name);
    }
    return names;
  }

  onnx::GraphProto& graph_;
  std::string value_;
  const Layer* layer_ = nullptr;
};

}  // namespace

std::string ExportOnnx(const Network& network, const OnnxText& text) {
  onnx::ModelProto model;
  model.set_ir_version(kIrVersion);
  model.set_producer_name("baton-train");
  model.set_producer_version(kBatonVersion);
  model.set_doc_string(text.description);
  model.add_opset_import()->set_version(kOpset);
  for (const auto& [key, value] : text.properties) {
    onnx::StringStringEntryProto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }

  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name(text.graph_name);
  SetValueInfo(*graph.add_input(), kInputName, network.input_shape(),
               "grey pixels, 0 (background) to 255 (ink), row by row");
  SetValueInfo(*graph.add_output(), kOutputName, {network.classes()}, "probability of each class");
  *graph.add_initializer() =
      TensorToProto(Tensor::From<float>({}, {kPixelScale}).view(), kPixelScaleName);

  GraphWriter writer(graph);
  writer.Add("Mul", "scale_pixels", {kPixelScaleName});
  for (const Layer& layer : network.layers()) writer.AddLayer(layer);
  onnx::NodeProto& softmax = writer.Add("Softmax", "softmax");
  AddInt(softmax, "axis", -1);
  softmax.set_output(0, kOutputName);
  return model.SerializeAsString();
}

}  // namespace baton::trainer
