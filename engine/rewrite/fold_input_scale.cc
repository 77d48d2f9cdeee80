// x · s with a constant number s, before a product or convolution with constant weights: s moves
// into the weights. Models that scale pixels in the graph begin so.
//   (s x) W = x (s W); padding is 0 before and after
#include <cmath>

#include "engine/kernels/kernels.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

// The factor by which `node` multiplies its input number `*input`, if it does just that.
std::optional<float> ScaleOf(const Graph& graph, const Node& node, size_t* input) {
  if (!node.domain.empty() || (node.op != "Mul" && node.op != "Div")) return std::nullopt;
  if (node.inputs.size() != 2 || !node.has_input(0) || !node.has_input(1)) return std::nullopt;
  for (size_t i = 0; i < 2; ++i) {
    if (node.op == "Div" && i == 0) continue;  // s / x
    if (!graph.is_constant(node.inputs[i])) continue;
    const Tensor& constant = graph.constant(node.inputs[i]);
    const bool number =
        constant.type() == DataType::kFloat && constant.size() == 1 && constant.shape().size() <= 1;
    if (!number) return std::nullopt;
    *input = 1 - i;
    const float value = constant.values<float>()[0];
    const float scale = node.op == "Mul" ? value : 1.0f / value;
    return std::isnormal(scale) ? std::make_optional(scale) : std::nullopt;
  }
  return std::nullopt;
}

bool TakesScale(const Graph& graph, const Node& node) {
  if (!node.domain.empty() || node.inputs.size() < 2) return false;
  if (node.op == "Gemm" || node.op == "MatMul") return IsDense(node, graph);
  return node.op == "Conv" && graph.is_constant(node.inputs[1]) &&
         graph.constant(node.inputs[1]).type() == DataType::kFloat;
}

}  // namespace

absl::Status FoldInputScale(Graph& graph) {
  const std::vector<int> uses = CountUses(graph);
  const std::vector<int> producers = Producers(graph);
  for (Node& node : graph.nodes) {
    if (!TakesScale(graph, node)) continue;
    const ValueId input = node.inputs[0];
    if (input == kNoValue || uses[static_cast<size_t>(input)] != 1) continue;
    const int producer = producers[static_cast<size_t>(input)];
    if (producer < 0) continue;
    const Node& scaling = graph.nodes[static_cast<size_t>(producer)];
    size_t scaled = 0;
    const std::optional<float> scale = ScaleOf(graph, scaling, &scaled);
    if (!scale) continue;
    Tensor weights = Tensor::Copy(graph.constant(node.inputs[1]).view());
    for (float& w : weights.mutable_values<float>()) w *= *scale;
    node.inputs[0] = scaling.inputs[scaled];
    node.inputs[1] = graph.AddConstant(node.name + "/scaled_weights", std::move(weights));
  }
  RemoveDeadNodes(graph);
  return absl::OkStatus();
}

}  // namespace baton::engine
