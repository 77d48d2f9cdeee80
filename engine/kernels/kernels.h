// The factories of all operators, by family; kernel_table.cc names each of them once.
#pragma once

#include <vector>

#include "engine/kernel.h"

namespace baton::engine {

#define BATON_KERNEL(name) \
  absl::StatusOr<std::unique_ptr<Kernel>> name(const Node& node, const Graph& graph)

// Of a Conv, MatMul or Gemm on bfloat16, set by a rewrite: its result is float.
inline constexpr char kFloatOutput[] = "float_output";

// conv.cc
BATON_KERNEL(MakeConv);
BATON_KERNEL(MakeIntegerConv);
BATON_KERNEL(MakeConvTranspose);
// matmul.cc
BATON_KERNEL(MakeGemm);
BATON_KERNEL(MakeMatMul);
// True for a MatMul or Gemm whose weights are a constant matrix (and whose C, if any, is a constant
// row): it becomes one inner product, which takes post-ops.
bool IsDense(const Node& node, const Graph& graph);
// integer_matmul.cc
BATON_KERNEL(MakeIntegerMatMul);
// quantize.cc
BATON_KERNEL(MakeQuantizeLinear);
BATON_KERNEL(MakeDequantizeLinear);
BATON_KERNEL(MakeDynamicQuantizeLinear);
// activation.cc: float activations that oneDNN has, in any layout
BATON_KERNEL(MakeActivation);
// What a node does to each element of its first input, for post_ops of the node before it; empty if
// it is something else. kInvalidArgument for a bad attribute.
absl::StatusOr<std::vector<PostOp>> ActivationPostOps(const Node& node, const Graph& graph);
// binary.cc: element-wise with two operands and broadcasting
BATON_KERNEL(MakeBinary);
// pool.cc
BATON_KERNEL(MakePool);
// softmax.cc
BATON_KERNEL(MakeSoftmax);
// shape.cc: views and shapes
BATON_KERNEL(MakeShape);
BATON_KERNEL(MakeReshape);
BATON_KERNEL(MakeSqueeze);
BATON_KERNEL(MakeUnsqueeze);
BATON_KERNEL(MakeSize);
BATON_KERNEL(MakeFlatten);
// cast.cc
BATON_KERNEL(MakeCast);
BATON_KERNEL(MakeCastLike);
BATON_KERNEL(MakeConstantOfShape);
BATON_KERNEL(MakeRange);
// gather.cc: elements picked by other tensors
BATON_KERNEL(MakeGather);
BATON_KERNEL(MakeGatherElements);
BATON_KERNEL(MakeGatherNd);
BATON_KERNEL(MakeWhere);
// depth_to_space.cc
BATON_KERNEL(MakeDepthToSpace);
// movement.cc: elements moved, not changed
BATON_KERNEL(MakeTranspose);
BATON_KERNEL(MakeSlice);
BATON_KERNEL(MakeExpand);
BATON_KERNEL(MakeTile);
BATON_KERNEL(MakeConcat);
BATON_KERNEL(MakeSplit);
BATON_KERNEL(MakePad);
// normalization.cc
BATON_KERNEL(MakeBatchNormalization);
BATON_KERNEL(MakeInstanceNormalization);
BATON_KERNEL(MakeLrn);
// layer_norm.cc
BATON_KERNEL(MakeLayerNorm);
// reduce.cc
BATON_KERNEL(MakeReduce);
BATON_KERNEL(MakeArgExtreme);
// resize.cc: Resize and Upsample
BATON_KERNEL(MakeResize);
// top_k.cc
BATON_KERNEL(MakeTopK);
// attention.cc
BATON_KERNEL(MakeAttention);
// unary.cc: element-wise with one operand
BATON_KERNEL(MakeUnary);
BATON_KERNEL(MakeClip);
// variadic.cc
BATON_KERNEL(MakeVariadic);
BATON_KERNEL(MakePow);

#undef BATON_KERNEL

}  // namespace baton::engine
