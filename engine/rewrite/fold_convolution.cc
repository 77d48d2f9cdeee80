// BatchNormalization, and Mul or Add by a number or by one per channel, into the convolution before
// them:
//   scale * (W x + b) + shift  =  (scale W) x + (scale b + shift)
#include <cmath>

#include "engine/base/status.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

// What a node does to each channel.
struct ChannelAffine {
  std::vector<float> scale, shift;
};

bool IsFloatVector(const Graph& graph, ValueId id, int64_t size) {
  return graph.is_constant(id) && graph.constant(id).type() == DataType::kFloat &&
         graph.constant(id).size() == size;
}

std::optional<ChannelAffine> FromBatchNormalization(const Graph& graph, const Node& node,
                                                    int64_t channels) {
  if (node.inputs.size() != 5 || node.has_output(1)) return std::nullopt;
  const auto training = node.Int("training_mode", 0);
  const auto epsilon = node.Float("epsilon", 1e-5f);
  if (!training.ok() || *training != 0 || !epsilon.ok()) return std::nullopt;
  for (size_t i = 1; i < 5; ++i) {
    if (!IsFloatVector(graph, node.inputs[i], channels)) return std::nullopt;
  }
  const auto scale = graph.constant(node.inputs[1]).values<float>();
  const auto bias = graph.constant(node.inputs[2]).values<float>();
  const auto mean = graph.constant(node.inputs[3]).values<float>();
  const auto variance = graph.constant(node.inputs[4]).values<float>();
  ChannelAffine affine;
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    const double s = scale[c] / std::sqrt(static_cast<double>(variance[c]) + *epsilon);
    affine.scale.push_back(static_cast<float>(s));
    affine.shift.push_back(static_cast<float>(bias[c] - mean[c] * s));
  }
  return affine;
}

// Mul or Add of the convolution's output and a constant: a number, or one for each channel of shape
// [C,1,…] or [1,C,1,…].
std::optional<ChannelAffine> FromElementwise(const Graph& graph, const Node& node, ValueId output,
                                             int64_t channels, size_t rank) {
  if (node.inputs.size() != 2) return std::nullopt;
  const ValueId other = node.inputs[0] == output ? node.inputs[1] : node.inputs[0];
  const auto n = static_cast<size_t>(channels);
  std::vector<float> values;
  if (IsFloatVector(graph, other, 1) && graph.constant(other).shape().size() <= rank) {
    values.assign(n, graph.constant(other).values<float>()[0]);
  } else if (IsFloatVector(graph, other, channels)) {
    Shape shape = graph.constant(other).shape();
    if (shape.size() == rank && shape[0] == 1) shape.erase(shape.begin());
    if (shape.size() != rank - 1 || shape[0] != channels) return std::nullopt;
    const auto given = graph.constant(other).values<float>();
    values.assign(given.begin(), given.end());
  } else {
    return std::nullopt;
  }
  if (node.op == "Mul") return ChannelAffine{std::move(values), std::vector<float>(n, 0.f)};
  return ChannelAffine{std::vector<float>(n, 1.f), std::move(values)};
}

void Apply(Graph& graph, Node& conv, const ChannelAffine& affine) {
  const Tensor& weights = graph.constant(conv.inputs[1]);
  const size_t channels = affine.scale.size();
  // (M, C/g, …), of a transposed convolution (C, M, …).
  const size_t outer = conv.op == "Conv" ? 1 : static_cast<size_t>(weights.shape()[0]);
  Tensor scaled(DataType::kFloat, weights.shape());
  const auto from = weights.values<float>();
  const auto to = scaled.mutable_values<float>();
  const size_t per_channel = from.size() / channels / outer;
  for (size_t i = 0; i < from.size(); ++i) {
    to[i] = from[i] * affine.scale[i / per_channel % channels];
  }
  Tensor bias(DataType::kFloat, {static_cast<int64_t>(channels)});
  const auto b = bias.mutable_values<float>();
  for (size_t c = 0; c < channels; ++c) {
    const float before =
        conv.has_input(2) ? graph.constant(conv.inputs[2]).values<float>()[c] : 0.f;
    b[c] = before * affine.scale[c] + affine.shift[c];
  }
  conv.inputs.resize(3, kNoValue);
  conv.inputs[1] = graph.AddConstant(conv.name + "/weights", std::move(scaled));
  conv.inputs[2] = graph.AddConstant(conv.name + "/bias", std::move(bias));
}

// Output channels of a convolution that can take over what follows; 0 of other nodes.
int64_t FoldableChannels(const Graph& graph, const Node& node) {
  const bool transposed = node.op == "ConvTranspose";
  if (!node.domain.empty() || (node.op != "Conv" && !transposed)) return 0;
  if (node.inputs.size() < 2 || !graph.is_constant(node.inputs[1])) return 0;
  const Tensor& weights = graph.constant(node.inputs[1]);
  if (weights.type() != DataType::kFloat || weights.shape().size() < 3) return 0;
  const auto groups = node.Int("group", 1);
  if (weights.size() == 0 || (transposed && (!groups.ok() || *groups != 1))) return 0;
  const int64_t channels = weights.shape()[transposed ? 1 : 0];
  const bool fits = !node.has_input(2) || IsFloatVector(graph, node.inputs[2], channels);
  return fits ? channels : 0;
}

}  // namespace

absl::Status FoldIntoConvolution(Graph& graph) {
  const std::vector<int> uses = CountUses(graph);
  const std::vector<int> producers = Producers(graph);
  std::vector<bool> removed(graph.nodes.size(), false);
  // A convolution takes over the output of what it absorbed, so producers are followed by value.
  std::vector<int> maker = producers;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!node.domain.empty() || !node.has_input(0)) continue;
    const bool norm = node.op == "BatchNormalization";
    if (!norm && node.op != "Mul" && node.op != "Add") continue;
    for (const ValueId input : node.inputs) {
      const int producer = input == kNoValue ? -1 : maker[static_cast<size_t>(input)];
      if (producer < 0 || uses[static_cast<size_t>(input)] != 1) continue;
      Node& conv = graph.nodes[static_cast<size_t>(producer)];
      const int64_t channels = FoldableChannels(graph, conv);
      if (channels == 0) continue;
      const std::optional<ChannelAffine> affine =
          norm ? FromBatchNormalization(graph, node, channels)
               : FromElementwise(graph, node, input, channels,
                                 graph.constant(conv.inputs[1]).shape().size());
      if (!affine) continue;
      Apply(graph, conv, *affine);
      conv.outputs[0] = node.outputs[0];
      maker[static_cast<size_t>(node.outputs[0])] = producer;
      removed[i] = true;
      break;
    }
  }
  size_t index = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return removed[index++]; });
  return absl::OkStatus();
}

}  // namespace baton::engine
