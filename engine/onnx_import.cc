#include "engine/onnx_import.h"

#include <onnx/onnx_pb.h>

#include <map>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/tensor_io.h"

namespace baton::engine {
namespace {

absl::StatusOr<ValueInfo> ImportValueInfo(const onnx::ValueInfoProto& proto, const char* role) {
  ValueInfo info;
  info.name = proto.name();
  if (!proto.type().has_tensor_type()) {
    return absl::UnimplementedError(
        absl::StrCat(role, " \"", info.name,
                     "\" is not a tensor (sequences, maps and optionals are not supported)"));
  }
  const auto& type = proto.type().tensor_type();
  info.type = static_cast<DataType>(type.elem_type());
  if (DataTypeSize(info.type) == 0) {
    return absl::UnimplementedError(absl::StrCat(role, " \"", info.name, "\" has element ",
                                                 DataTypeName(info.type),
                                                 ", which is not supported"));
  }
  info.has_rank = type.has_shape();
  for (const auto& dim : type.shape().dim()) {
    Dim d;
    if (dim.has_dim_value()) {
      d.value = dim.dim_value();
      // Some exporters write 0 or -1 for "any".
      if (d.value <= 0 && info.dims.empty()) d.value = -1;
      if (d.value < 0) d.value = -1;
    }
    d.symbol = dim.dim_param();
    info.dims.push_back(std::move(d));
  }
  return info;
}

// The tensor that a Constant node's attribute stands for.
struct ToTensor {
  Tensor operator()(int64_t v) const { return Tensor::From<int64_t>({}, {v}); }
  Tensor operator()(float v) const { return Tensor::From<float>({}, {v}); }
  Tensor operator()(const std::string& v) const { return Tensor::From<std::string>({}, {v}); }
  Tensor operator()(const std::vector<int64_t>& v) const { return List<int64_t>(v); }
  Tensor operator()(const std::vector<float>& v) const { return List<float>(v); }
  Tensor operator()(const std::vector<std::string>& v) const { return List<std::string>(v); }
  Tensor operator()(const Tensor& v) const { return v; }
  template <typename T>
  static Tensor List(const std::vector<T>& v) {
    return Tensor::From<T>({static_cast<int64_t>(v.size())}, absl::MakeConstSpan(v));
  }
};

class Importer {
 public:
  Importer(const OnnxFile& file, const std::string& directory)
      : file_(file), model_(file.model), directory_(directory) {}

  absl::StatusOr<Graph> Run() {
    for (const auto& opset : model_.opset_import()) {
      opsets_[opset.domain() == "ai.onnx" ? "" : opset.domain()] =
          static_cast<int>(std::clamp<int64_t>(opset.version(), 0, 1 << 20));
    }
    if (!model_.has_graph()) return absl::InvalidArgumentError("the ONNX file has no graph");
    if (opsets_.count("") == 0) {
      // Files before IR version 3 have no list; they are operator set 1.
      opsets_[""] = 1;
    }
    const onnx::GraphProto& graph = model_.graph();
    if (graph.sparse_initializer_size() > 0) {
      return absl::UnimplementedError("sparse initializers are not supported");
    }
    RETURN_IF_ERROR(ImportInitializers(graph));
    RETURN_IF_ERROR(ImportInputs(graph));
    for (int i = 0; i < graph.node_size(); ++i) RETURN_IF_ERROR(ImportNode(graph.node(i), i));
    RETURN_IF_ERROR(ImportOutputs(graph));
    return std::move(graph_);
  }

 private:
  absl::Status Define(const std::string& name, ValueId id) {
    if (!names_.emplace(name, id).second) {
      return absl::InvalidArgumentError(absl::StrCat("value \"", name, "\" is defined twice"));
    }
    return absl::OkStatus();
  }

  absl::Status ImportInitializers(const onnx::GraphProto& graph) {
    for (int i = 0; i < graph.initializer_size(); ++i) {
      const onnx::TensorProto& proto = graph.initializer(i);
      absl::StatusOr<Tensor> tensor = ImportInitializer(proto, static_cast<size_t>(i));
      if (!tensor.ok()) {
        return Annotate(tensor.status(), absl::StrCat("initializer \"", proto.name(), "\""));
      }
      RETURN_IF_ERROR(Define(proto.name(), graph_.AddConstant(proto.name(), *std::move(tensor))));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Tensor> ImportInitializer(const onnx::TensorProto& proto, size_t number) const {
    const bool apart = number < file_.weights.size() && !file_.weights[number].empty();
    if (!apart || proto.has_raw_data()) return TensorFromProto(proto, directory_);
    const Tensor& weights = file_.weights[number];
    const bool agrees = proto.data_location() != onnx::TensorProto::EXTERNAL &&
                        !proto.has_segment() &&
                        proto.data_type() == static_cast<int32_t>(weights.type()) &&
                        Shape(proto.dims().begin(), proto.dims().end()) == weights.shape();
    if (!agrees)
      return absl::InvalidArgumentError("its raw_data is not all that it says of itself");
    return weights;
  }

  absl::Status ImportInputs(const onnx::GraphProto& graph) {
    for (const auto& proto : graph.input()) {
      if (names_.contains(proto.name())) continue;  // an initializer with a default value
      ASSIGN_OR_RETURN(ValueInfo info, ImportValueInfo(proto, "input"));
      const ValueId id = graph_.AddValue(proto.name());
      RETURN_IF_ERROR(Define(proto.name(), id));
      graph_.inputs.push_back(id);
      graph_.signature.inputs.push_back(std::move(info));
    }
    return absl::OkStatus();
  }

  absl::Status ImportOutputs(const onnx::GraphProto& graph) {
    if (graph.output_size() == 0) return absl::InvalidArgumentError("the graph has no outputs");
    for (const auto& proto : graph.output()) {
      const auto it = names_.find(proto.name());
      if (it == names_.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("output \"", proto.name(), "\" is made by no node"));
      }
      ASSIGN_OR_RETURN(ValueInfo info, ImportValueInfo(proto, "output"));
      graph_.outputs.push_back(it->second);
      graph_.signature.outputs.push_back(std::move(info));
    }
    return absl::OkStatus();
  }

  absl::Status ImportAttribute(const onnx::AttributeProto& proto, Node& node) {
    using Proto = onnx::AttributeProto;
    auto& value = node.attributes[proto.name()];
    switch (proto.type()) {
      case Proto::INT:
        value = static_cast<int64_t>(proto.i());
        break;
      case Proto::FLOAT:
        value = proto.f();
        break;
      case Proto::STRING:
        value = proto.s();
        break;
      case Proto::INTS:
        value = std::vector<int64_t>(proto.ints().begin(), proto.ints().end());
        break;
      case Proto::FLOATS:
        value = std::vector<float>(proto.floats().begin(), proto.floats().end());
        break;
      case Proto::STRINGS:
        value = std::vector<std::string>(proto.strings().begin(), proto.strings().end());
        break;
      case Proto::TENSOR: {
        absl::StatusOr<Tensor> tensor = TensorFromProto(proto.t(), directory_);
        if (!tensor.ok()) {
          return Annotate(tensor.status(),
                          absl::StrCat(Describe(node), ": attribute \"", proto.name(), "\""));
        }
        value = *std::move(tensor);
        break;
      }
      default:
        // Sub-graphs, sparse tensors, types: no supported operator has them, and an unsupported
        // operator is reported with all others once the graph is whole.
        node.attributes.erase(proto.name());
    }
    return absl::OkStatus();
  }

  absl::Status ImportNode(const onnx::NodeProto& proto, int index) {
    Node node;
    node.domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
    node.op = proto.op_type();
    node.name = proto.name();
    if (node.name.empty()) {
      node.name = absl::StrCat(proto.op_type(), "_",
                               proto.output_size() > 0 ? proto.output(0) : absl::StrCat(index));
    }
    if (node.domain == "baton") {
      return absl::InvalidArgumentError(
          absl::StrCat("node \"", node.name, "\" (", node.op,
                       ") is of domain \"baton\", which is the engine's own; files use ONNX's"));
    }
    const auto opset = opsets_.find(node.domain);
    if (opset == opsets_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("node \"", node.name, "\" (", node.op,
                                                     ") is of domain \"", node.domain,
                                                     "\", which opset_import does not list"));
    }
    node.opset = opset->second;
    for (const auto& attribute : proto.attribute()) {
      RETURN_IF_ERROR(ImportAttribute(attribute, node));
    }
    for (const std::string& input : proto.input()) {
      if (input.empty()) {
        node.inputs.push_back(kNoValue);
        continue;
      }
      const auto it = names_.find(input);
      if (it == names_.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(Describe(node), ": input \"", input,
                         "\" is made by no node before it (nodes must be in topological order)"));
      }
      node.inputs.push_back(it->second);
    }
    while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
    if (node.domain.empty() && node.op == "Constant") return ImportConstant(proto, node);
    RETURN_IF_ERROR(NormalizeNode(node, graph_));
    for (const std::string& output : proto.output()) {
      if (output.empty()) {
        node.outputs.push_back(kNoValue);
        continue;
      }
      node.outputs.push_back(graph_.AddValue(output));
      RETURN_IF_ERROR(Define(output, node.outputs.back()));
    }
    graph_.nodes.push_back(std::move(node));
    return absl::OkStatus();
  }

  absl::Status ImportConstant(const onnx::NodeProto& proto, const Node& node) {
    if (proto.output_size() != 1 || node.attributes.size() != 1) {
      return absl::UnimplementedError(
          absl::StrCat(Describe(node),
                       ": expected one output and one attribute that is a number, a string, a "
                       "list of them, or a dense tensor"));
    }
    const Tensor value = std::visit(ToTensor(), node.attributes.begin()->second);
    return Define(proto.output(0), graph_.AddConstant(proto.output(0), value));
  }

  const OnnxFile& file_;
  const onnx::ModelProto& model_;
  const std::string& directory_;
  std::map<std::string, int> opsets_;
  absl::flat_hash_map<std::string, ValueId> names_;
  Graph graph_;
};

}  // namespace

absl::StatusOr<Graph> ImportOnnx(const OnnxFile& file, const std::string& directory) {
  return Importer(file, directory).Run();
}

}  // namespace baton::engine
