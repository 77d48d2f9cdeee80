#include "engine/onnx_import.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <map>
#include <utility>

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

using Attributes = std::map<std::string, const onnx::AttributeProto*>;
using Functions = std::map<std::pair<std::string, std::string>, const onnx::FunctionProto*>;

// Within a graph or one call of a function.
struct Scope {
  std::string prefix;  // of nodes' and values' names
  std::map<std::string, int> opsets;
  absl::flat_hash_map<std::string, ValueId> names;
  Attributes attributes;  // that a call has given
  int depth = 0;          // calls around it
};

std::string DomainOf(const std::string& name) { return name == "ai.onnx" ? "" : name; }

std::map<std::string, int> OpsetsOf(
    const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  std::map<std::string, int> opsets;
  for (const auto& opset : imports) {
    opsets[DomainOf(opset.domain())] =
        static_cast<int>(std::clamp<int64_t>(opset.version(), 0, 1 << 20));
  }
  return opsets;
}

// Of a function's attributes: field 11, which ONNX before 1.13 does not know yet.
template <typename Function>
absl::StatusOr<std::vector<onnx::AttributeProto>> DefaultsOf(const Function& function) {
  std::vector<onnx::AttributeProto> defaults;
  if constexpr (requires { function.attribute_proto(); }) {
    defaults.assign(function.attribute_proto().begin(), function.attribute_proto().end());
  } else {
    const auto& unknown = function.GetReflection()->GetUnknownFields(function);
    for (int i = 0; i < unknown.field_count(); ++i) {
      const auto& field = unknown.field(i);
      if (field.number() != 11) continue;
      const bool parsed = field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED &&
                          defaults.emplace_back().ParseFromString(field.length_delimited());
      if (!parsed) return absl::InvalidArgumentError("a default attribute cannot be parsed");
    }
  }
  return defaults;
}

class Importer {
 public:
  Importer(const OnnxFile& file, const std::string& directory)
      : file_(file), model_(file.model), directory_(directory) {}

  absl::StatusOr<Graph> Run() {
    Scope scope;
    scope.opsets = OpsetsOf(model_.opset_import());
    scope_ = &scope;
    if (!model_.has_graph()) return absl::InvalidArgumentError("the ONNX file has no graph");
    // Files before IR version 3 have no list; they are operator set 1.
    scope.opsets.emplace("", 1);
    RETURN_IF_ERROR(FindFunctions());
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
    if (!scope_->names.emplace(name, id).second) {
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
      if (scope_->names.contains(proto.name())) continue;  // an initializer with a default value
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
      const auto it = scope_->names.find(proto.name());
      if (it == scope_->names.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("output \"", proto.name(), "\" is made by no node"));
      }
      ASSIGN_OR_RETURN(ValueInfo info, ImportValueInfo(proto, "output"));
      graph_.outputs.push_back(it->second);
      graph_.signature.outputs.push_back(std::move(info));
    }
    return absl::OkStatus();
  }

  // What an attribute is where a function passes on one that it was given: null if it was not.
  const onnx::AttributeProto* Resolve(const onnx::AttributeProto& proto) const {
    if (proto.ref_attr_name().empty()) return &proto;
    const auto given = scope_->attributes.find(proto.ref_attr_name());
    return given == scope_->attributes.end() ? nullptr : given->second;
  }

  absl::Status ImportAttribute(const std::string& name, const onnx::AttributeProto& proto,
                               Node& node) {
    using Proto = onnx::AttributeProto;
    auto& value = node.attributes[name];
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
                          absl::StrCat(Describe(node), ": attribute \"", name, "\""));
        }
        value = *std::move(tensor);
        break;
      }
      default:
        // Sub-graphs, sparse tensors, types: no supported operator has them, and an unsupported
        // operator is reported with all others once the graph is whole.
        node.attributes.erase(name);
    }
    return absl::OkStatus();
  }

  absl::Status ImportNode(const onnx::NodeProto& proto, int index) {
    Node node;
    node.domain = DomainOf(proto.domain());
    node.op = proto.op_type();
    node.name = absl::StrCat(scope_->prefix, proto.name());
    if (proto.name().empty()) {
      absl::StrAppend(&node.name, proto.op_type(), "_",
                      proto.output_size() > 0 ? proto.output(0) : absl::StrCat(index));
    }
    if (node.domain == "baton") {
      return absl::InvalidArgumentError(
          absl::StrCat("node \"", node.name, "\" (", node.op,
                       ") is of domain \"baton\", which is the engine's own; files use ONNX's"));
    }
    const auto opset = scope_->opsets.find(node.domain);
    if (opset == scope_->opsets.end()) {
      return absl::InvalidArgumentError(absl::StrCat("node \"", node.name, "\" (", node.op,
                                                     ") is of domain \"", node.domain,
                                                     "\", which opset_import does not list"));
    }
    node.opset = opset->second;
    const auto function = functions_.find({node.domain, node.op});
    if (function != functions_.end()) return Call(proto, node, *function->second);
    for (const auto& attribute : proto.attribute()) {
      const onnx::AttributeProto* const resolved = Resolve(attribute);
      if (resolved == nullptr) continue;
      RETURN_IF_ERROR(ImportAttribute(attribute.name(), *resolved, node));
    }
    for (const std::string& input : proto.input()) {
      if (input.empty()) {
        node.inputs.push_back(kNoValue);
        continue;
      }
      ASSIGN_OR_RETURN(node.inputs.emplace_back(), ValueNamed(input, node));
    }
    while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
    if (node.domain.empty() && node.op == "Constant") return ImportConstant(proto, node);
    RETURN_IF_ERROR(NormalizeNode(node, graph_));
    for (const std::string& output : proto.output()) {
      if (output.empty()) {
        node.outputs.push_back(kNoValue);
        continue;
      }
      node.outputs.push_back(graph_.AddValue(scope_->prefix + output));
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
    return Define(proto.output(0), graph_.AddConstant(scope_->prefix + proto.output(0), value));
  }

  absl::StatusOr<ValueId> ValueNamed(const std::string& name, const Node& node) const {
    const auto it = scope_->names.find(name);
    if (it != scope_->names.end()) return it->second;
    return absl::InvalidArgumentError(
        absl::StrCat(Describe(node), ": input \"", name,
                     "\" is made by no node before it (nodes must be in topological order)"));
  }

  absl::Status FindFunctions() {
    for (const onnx::FunctionProto& function : model_.functions()) {
      const std::string domain = DomainOf(function.domain());
      if (!functions_.emplace(std::make_pair(domain, function.name()), &function).second) {
        return absl::UnimplementedError(absl::StrCat("function \"", function.name(),
                                                     "\" of domain \"", domain,
                                                     "\" is defined twice (overloads are not "
                                                     "supported)"));
      }
    }
    return absl::OkStatus();
  }

  // The function's nodes in place of the one that calls it.
  absl::Status Call(const onnx::NodeProto& call, const Node& node,
                    const onnx::FunctionProto& function) {
    constexpr int kMostDeep = 32;
    if (scope_->depth == kMostDeep) {
      return absl::InvalidArgumentError(absl::StrCat(
          Describe(node), ": functions call each other more than ", kMostDeep, " deep"));
    }
    if (call.input_size() > function.input_size() || call.output_size() > function.output_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          Describe(node), ": got ", call.input_size(), " inputs and ", call.output_size(),
          " outputs, the function has ", function.input_size(), " and ", function.output_size()));
    }
    Scope inner;
    inner.prefix = absl::StrCat(node.name, "/");
    inner.opsets = OpsetsOf(function.opset_import());
    inner.depth = scope_->depth + 1;
    for (int i = 0; i < function.input_size(); ++i) {
      ValueId id = kNoValue;  // an optional input that is absent
      if (i < call.input_size() && !call.input(i).empty()) {
        ASSIGN_OR_RETURN(id, ValueNamed(call.input(i), node));
      }
      inner.names.emplace(function.input(i), id);
    }
    const absl::StatusOr<std::vector<onnx::AttributeProto>> defaults = DefaultsOf(function);
    if (!defaults.ok()) return Annotate(defaults.status(), Describe(node));
    for (const auto& attribute : *defaults) inner.attributes[attribute.name()] = &attribute;
    for (const auto& attribute : call.attribute()) {
      const onnx::AttributeProto* const resolved = Resolve(attribute);
      if (resolved != nullptr) inner.attributes[attribute.name()] = resolved;
    }
    Scope* const outer = std::exchange(scope_, &inner);
    absl::Status status;
    for (int i = 0; status.ok() && i < function.node_size(); ++i) {
      status = ++called_nodes_ > kMostNodes
                   ? absl::InvalidArgumentError(absl::StrCat("calls of functions have more than ",
                                                             kMostNodes, " nodes altogether"))
                   : ImportNode(function.node(i), i);
    }
    scope_ = outer;
    RETURN_IF_ERROR(status);
    for (int i = 0; i < call.output_size(); ++i) {
      if (call.output(i).empty()) continue;
      const auto made = inner.names.find(function.output(i));
      if (made == inner.names.end() || made->second == kNoValue) {
        return absl::InvalidArgumentError(
            absl::StrCat(Describe(node), ": no node of the function makes its output \"",
                         function.output(i), "\""));
      }
      RETURN_IF_ERROR(Define(call.output(i), made->second));
    }
    return absl::OkStatus();
  }

  static constexpr int kMostNodes = 1 << 20;  // functions that call functions twice get there

  const OnnxFile& file_;
  const onnx::ModelProto& model_;
  const std::string& directory_;
  Functions functions_;
  Scope* scope_ = nullptr;
  int called_nodes_ = 0;
  Graph graph_;
};

}  // namespace

absl::StatusOr<Graph> ImportOnnx(const OnnxFile& file, const std::string& directory) {
  return Importer(file, directory).Run();
}

}  // namespace baton::engine
