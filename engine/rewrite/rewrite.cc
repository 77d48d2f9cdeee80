#include "engine/rewrite/rewrite.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/dnnl_util.h"
#include "engine/kernel_table.h"
#include "engine/plan.h"

namespace baton::engine {
namespace {

// Kernels for inferring shapes; null where the operator is not supported (the model's loader
// reports those).
std::vector<std::optional<Meta>> MetasOf(const Graph& graph) {
  LoadedGraph loaded;
  loaded.graph = graph;
  for (const Node& node : graph.nodes) {
    std::unique_ptr<Kernel> kernel;
    if (const KernelEntry* entry = FindKernel(node.domain, node.op, node.opset)) {
      absl::StatusOr<std::unique_ptr<Kernel>> made = entry->make(node, loaded.graph);
      if (made.ok()) kernel = *std::move(made);
    }
    loaded.kernels.push_back(std::move(kernel));
  }
  return InferMetas(loaded);
}

}  // namespace

absl::Status RemoveNoOps(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (!node.domain.empty()) continue;
    if (node.op == "Dropout" && !node.has_output(1)) {
      // training_mode (opset 12) is input 2; without it, or with a constant false, it does nothing.
      if (node.has_input(2)) {
        if (!graph.is_constant(node.inputs[2])) continue;
        const Tensor& training = graph.constant(node.inputs[2]);
        const bool off = training.type() == DataType::kBool && training.size() == 1 &&
                         !training.values<bool>()[0];
        if (!off) continue;
      }
    } else if (node.op != "Identity") {
      continue;
    }
    if (!node.has_input(0) || !node.has_output(0)) continue;
    ReplaceUses(graph, node.outputs[0], node.inputs[0]);
  }
  RemoveDeadNodes(graph);
  return absl::OkStatus();
}

absl::Status FoldConstants(Graph& graph, bool dequantize) {
  constexpr size_t kMaxBytes = size_t{256} << 20;  // beside four times what a node reads
  for (const Node& node : graph.nodes) {
    bool constant = !node.inputs.empty();
    std::vector<const Tensor*> inputs;
    size_t max_bytes = kMaxBytes;
    for (const ValueId id : node.inputs) {
      constant = constant && (id == kNoValue || graph.is_constant(id));
      inputs.push_back(id == kNoValue || !constant ? nullptr : &graph.constant(id));
      if (inputs.back() != nullptr) max_bytes += 4 * inputs.back()->bytes();
    }
    const KernelEntry* entry = FindKernel(node.domain, node.op, node.opset);
    if (!constant || entry == nullptr) continue;
    if (!dequantize && node.domain.empty() && node.op == "DequantizeLinear") continue;
    absl::StatusOr<std::unique_ptr<Kernel>> kernel = entry->make(node, graph);
    if (!kernel.ok()) continue;  // reported, with the node's name, when kernels are made
    absl::StatusOr<std::vector<Tensor>> outputs = Evaluate(node, **kernel, inputs, 1, max_bytes);
    if (absl::IsOutOfRange(outputs.status()) || absl::IsUnimplemented(outputs.status())) continue;
    if (!outputs.ok()) return Annotate(outputs.status(), Describe(node));
    for (size_t i = 0; i < outputs->size(); ++i) {
      if (!node.has_output(i)) continue;
      graph.values[static_cast<size_t>(node.outputs[i])].constant = std::move((*outputs)[i]);
    }
  }
  std::erase_if(graph.nodes, [&](const Node& node) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue && !graph.is_constant(id)) return false;
    }
    return true;
  });
  return absl::OkStatus();
}

absl::Status Rewrite(Graph& graph, Precision precision) {
  if (precision == Precision::kBf16 && !HasBfloat16()) {
    return absl::FailedPreconditionError(
        "precision bf16: this processor has no AVX-512 BF16; choose f32 or auto");
  }
  WidenHalves(graph);
  RETURN_IF_ERROR(RemoveNoOps(graph));
  ExpandQuantizedOperators(graph);
  RETURN_IF_ERROR(FoldConstants(graph, /*dequantize=*/false));
  FuseQuantizedProducts(graph);
  RETURN_IF_ERROR(FoldConstants(graph));
  DropQuantization(graph);
  {
    const std::vector<std::optional<Meta>> metas = MetasOf(graph);
    FuseActivations(graph, metas);
    FuseLayerNorm(graph, metas);
    FuseAttention(graph, metas);
  }
  RETURN_IF_ERROR(FoldIntoConvolution(graph));
  SplitConvTranspose(graph);
  RETURN_IF_ERROR(FoldInputScale(graph));
  RETURN_IF_ERROR(FusePostOps(graph, MetasOf(graph)));
  FuseQuantize(graph);
  RemoveDeadNodes(graph);
  const bool has_integers =
      std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
        return node.domain == "baton" && (node.op == "QuantConv" || node.op == "QuantMatMul");
      });
  if (precision == Precision::kInt8 && !has_integers) {
    return absl::FailedPreconditionError(
        "precision int8: the model has no quantized products (QuantizeLinear … Conv or MatMul); "
        "quantize it, or choose another precision");
  }
  if (precision == Precision::kBf16) LowerPrecision(graph, MetasOf(graph));
  return absl::OkStatus();
}

}  // namespace baton::engine
