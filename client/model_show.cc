// baton-model show: what a model file holds, and what of it would not run.
#include <onnx/onnx_pb.h>

#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/model_commands.h"
#include "engine/base/file.h"
#include "engine/base/status.h"

namespace baton::model_tool {
namespace {

struct Options {
  std::string model;
  bool json = false;
};

struct Contents {
  std::map<std::pair<std::string, std::string>, int> operators;  // domain, operator: how many
  int64_t parameters = 0;
  int64_t parameter_bytes = 0;
};

void AddTensor(const onnx::TensorProto& tensor, Contents& contents) {
  const Shape shape(tensor.dims().begin(), tensor.dims().end());
  const absl::StatusOr<int64_t> count = CheckedNumElements(shape);
  if (!count.ok()) return;  // loading names it
  contents.parameters += *count;
  contents.parameter_bytes +=
      *count * static_cast<int64_t>(DataTypeSize(static_cast<DataType>(tensor.data_type())));
}

// Counts a graph and those in its nodes' attributes. Protobuf limits the depth.
void AddGraph(const onnx::GraphProto& graph, Contents& contents) {
  for (const onnx::TensorProto& tensor : graph.initializer()) AddTensor(tensor, contents);
  for (const onnx::SparseTensorProto& sparse : graph.sparse_initializer()) {
    AddTensor(sparse.values(), contents);
  }
  for (const onnx::NodeProto& node : graph.node()) {
    const std::string domain = node.domain() == "ai.onnx" ? "" : node.domain();
    ++contents.operators[{domain, node.op_type()}];
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) AddGraph(attribute.g(), contents);
      for (const onnx::GraphProto& sub : attribute.graphs()) AddGraph(sub, contents);
    }
  }
}

std::vector<engine::ValueInfo> ValuesOf(
    const google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& protos,
    const std::map<std::string, bool>& leave_out) {
  std::vector<engine::ValueInfo> values;
  for (const onnx::ValueInfoProto& proto : protos) {
    if (leave_out.contains(proto.name())) continue;
    engine::ValueInfo& value = values.emplace_back();
    value.name = proto.name();
    const auto& type = proto.type().tensor_type();
    value.type = static_cast<DataType>(type.elem_type());
    value.has_rank = type.has_shape();
    for (const auto& dim : type.shape().dim()) {
      value.dims.push_back({dim.has_dim_value() ? dim.dim_value() : -1, dim.dim_param()});
    }
  }
  return values;
}

// The signature as the file declares it, for a model that does not load.
engine::Signature DeclaredSignature(const onnx::GraphProto& graph) {
  std::map<std::string, bool> initializers;
  for (const onnx::TensorProto& tensor : graph.initializer()) initializers[tensor.name()] = true;
  return {.inputs = ValuesOf(graph.input(), initializers), .outputs = ValuesOf(graph.output(), {})};
}

std::string DomainName(const std::string& domain) { return domain.empty() ? "ai.onnx" : domain; }

nlohmann::ordered_json ToJson(const std::vector<engine::ValueInfo>& values) {
  auto list = nlohmann::ordered_json::array();
  for (const engine::ValueInfo& value : values) {
    nlohmann::ordered_json shape = nullptr;  // any rank
    if (value.has_rank) {
      shape = nlohmann::ordered_json::array();
      for (const engine::Dim& dim : value.dims) {
        if (dim.value >= 0) {
          shape.push_back(dim.value);
        } else if (dim.symbol.empty()) {
          shape.push_back(-1);
        } else {
          shape.push_back(dim.symbol);
        }
      }
    }
    list.push_back({{"name", value.name}, {"type", DataTypeName(value.type)}, {"shape", shape}});
  }
  return list;
}

void PrintJson(const std::string& path, const onnx::ModelProto& proto,
               const engine::Signature& signature, const Contents& contents,
               const absl::Status& loads) {
  auto opsets = nlohmann::ordered_json::array();
  for (const auto& opset : proto.opset_import()) {
    opsets.push_back({{"domain", opset.domain()}, {"version", opset.version()}});
  }
  auto operators = nlohmann::ordered_json::array();
  for (const auto& [key, count] : contents.operators) {
    operators.push_back({{"domain", key.first}, {"operator", key.second}, {"count", count}});
  }
  const nlohmann::ordered_json root = {
      {"path", path},
      {"ir_version", proto.ir_version()},
      {"producer", absl::StrCat(proto.producer_name(), proto.producer_version().empty() ? "" : " ",
                                proto.producer_version())},
      {"opsets", opsets},
      {"inputs", ToJson(signature.inputs)},
      {"outputs", ToJson(signature.outputs)},
      {"operators", operators},
      {"parameters", contents.parameters},
      {"parameter_bytes", contents.parameter_bytes},
      {"runs", loads.ok()},
      {"reason", std::string(loads.message())}};
  std::cout << root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

void PrintText(const std::string& path, const onnx::ModelProto& proto,
               const engine::Signature& signature, const Contents& contents,
               const absl::Status& loads) {
  std::cout << path << "\n";
  std::cout << "producer    " << proto.producer_name() << " " << proto.producer_version()
            << " (IR version " << proto.ir_version() << ")\n";
  for (const auto& opset : proto.opset_import()) {
    std::cout << "opset       " << DomainName(opset.domain()) << " " << opset.version() << "\n";
  }
  for (const engine::ValueInfo& input : signature.inputs) {
    std::cout << "input       " << input.name << " " << ToString(input) << "\n";
  }
  for (const engine::ValueInfo& output : signature.outputs) {
    std::cout << "output      " << output.name << " " << ToString(output) << "\n";
  }
  std::cout << "parameters  " << contents.parameters << " (" << contents.parameter_bytes
            << " bytes)\n";
  for (const auto& [key, count] : contents.operators) {
    std::cout << "operator    " << (key.first.empty() ? "" : key.first + ".") << key.second << " x "
              << count << "\n";
  }
  std::cout << "runs        " << (loads.ok() ? "yes" : absl::StrCat("no: ", loads.message()))
            << "\n";
}

absl::StatusOr<int> Show(const Options& options) {
  const std::string path = ModelFileAt(options.model);
  onnx::ModelProto proto;
  {
    ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
    if (!proto.ParseFromString(contents) || !proto.has_graph()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": not an ONNX model (", contents.size(), " bytes)"));
    }
  }
  Contents contents;
  AddGraph(proto.graph(), contents);
  const auto model = engine::Model::Load(path, {});
  const engine::Signature signature =
      model.ok() ? (*model)->signature() : DeclaredSignature(proto.graph());
  if (options.json) {
    PrintJson(path, proto, signature, contents, model.status());
  } else {
    PrintText(path, proto, signature, contents, model.status());
  }
  return 0;
}

}  // namespace

void AddShowCommand(CommandLine& app, Run& run) {
  auto options = std::make_shared<Options>();
  CommandLine& command = app.AddCommand(
      "show", "Print signature, opsets, operators, parameters, and what would not run and why");
  AddModelArgument(command, options->model);
  command.AddSwitch("--json", options->json, "one JSON object");
  command.OnChosen([options, &run] { run = [options] { return Show(*options); }; });
}

}  // namespace baton::model_tool
