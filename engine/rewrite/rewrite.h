// Rewrites: what is done to a graph once, at load. Each leaves a graph that computes the same.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "engine/graph.h"
#include "engine/kernel.h"

namespace baton::engine {

// All of them, in the order that works. kFailedPrecondition: the model or the processor has not
// what `precision` needs. REQUIRES: not kAuto.
absl::Status Rewrite(Graph& graph, Precision precision);

// What is stored as float16 or bfloat16 is computed on floats; inputs and outputs stay what they
// are.
void WidenHalves(Graph& graph);
// Identity, Dropout (inference) and the like vanish.
absl::Status RemoveNoOps(Graph& graph);
// Nodes with constant inputs become constants; DequantizeLinear where `dequantize`.
absl::Status FoldConstants(Graph& graph, bool dequantize = true);
// What quantizers write. Operators on integers are spelled out as DequantizeLinear, the operator on
// floats, QuantizeLinear; then products with such a frame become products of integers, and other
// values stay as they are before they are quantized.
void ExpandQuantizedOperators(Graph& graph);
void FuseQuantizedProducts(Graph& graph);
void DropQuantization(Graph& graph);
// QuantizeLinear moves into the product of integers that makes its input. After FusePostOps.
void FuseQuantize(Graph& graph);
// BatchNormalization, and Mul or Add by a number or by one per channel, move into the convolution's
// weights and bias.
absl::Status FoldIntoConvolution(Graph& graph);
// A transposed convolution becomes a convolution and DepthToSpace.
void SplitConvTranspose(Graph& graph);
// A multiplication by a constant number moves into the weights of the product or convolution that
// follows.
absl::Status FoldInputScale(Graph& graph);
// What exporters spell out in small operators becomes one node: activations, layer and RMS
// normalization, attention. `metas`: of each value, from InferMetas.
void FuseActivations(Graph& graph, const std::vector<std::optional<Meta>>& metas);
void FuseLayerNorm(Graph& graph, const std::vector<std::optional<Meta>>& metas);
void FuseAttention(Graph& graph, const std::vector<std::optional<Meta>>& metas);
// Bias, residual and activation move into the node that makes their input; into a convolution also
// numbers that its result is multiplied by or that are added to it.
absl::Status FusePostOps(Graph& graph, const std::vector<std::optional<Meta>>& metas);
// Products on bfloat16. Last.
void LowerPrecision(Graph& graph, const std::vector<std::optional<Meta>>& metas);
// A node that casts a value, not yet in the graph.
Node MakeCast(Graph& graph, ValueId from, DataType to);
// Nodes whose results nobody uses.
void RemoveDeadNodes(Graph& graph);

// Number of consumers of each value; a graph output counts as one.
std::vector<int> CountUses(const Graph& graph);
// The node that makes each value, or -1.
std::vector<int> Producers(const Graph& graph);
// Every use of `from`, as an input or a graph output, becomes `to`.
void ReplaceUses(Graph& graph, ValueId from, ValueId to);

}  // namespace baton::engine
