#include "engine/kernel_table.h"

#include "engine/kernels/kernels.h"

namespace baton::engine {
namespace {

// Older forms are rewritten by the importer (onnx_normalize.h), so most rows say 1. Sorted.
constexpr KernelEntry kKernels[] = {
    {"", "Abs", 1, &MakeUnary},
    {"", "Acos", 1, &MakeUnary},
    {"", "Acosh", 1, &MakeUnary},
    {"", "Add", 1, &MakeBinary},
    {"", "And", 1, &MakeBinary},
    {"", "ArgMax", 1, &MakeArgExtreme},
    {"", "ArgMin", 1, &MakeArgExtreme},
    {"", "Asin", 1, &MakeUnary},
    {"", "Asinh", 1, &MakeUnary},
    {"", "Atan", 1, &MakeUnary},
    {"", "Atanh", 1, &MakeUnary},
    {"", "AveragePool", 1, &MakePool},
    {"", "BatchNormalization", 1, &MakeBatchNormalization},
    {"", "BitShift", 1, &MakeBinary},
    {"", "Cast", 6, &MakeCast},
    {"", "CastLike", 1, &MakeCastLike},
    {"", "Ceil", 1, &MakeUnary},
    {"", "Celu", 1, &MakeUnary},
    {"", "Clip", 1, &MakeClip},
    {"", "Concat", 4, &MakeConcat},
    {"", "ConstantOfShape", 1, &MakeConstantOfShape},
    {"", "Conv", 1, &MakeConv},          {"", "ConvTranspose", 1, &MakeConvTranspose},
    {"", "Cos", 1, &MakeUnary},
    {"", "Cosh", 1, &MakeUnary},
    {"", "Div", 1, &MakeBinary},
    {"", "Elu", 1, &MakeActivation},     {"", "Flatten", 1, &MakeFlatten},
    {"", "Equal", 1, &MakeBinary},
    {"", "Erf", 1, &MakeUnary},
    {"", "Exp", 1, &MakeUnary},
    {"", "Expand", 1, &MakeExpand},
    {"", "Floor", 1, &MakeUnary},
    {"", "Gather", 1, &MakeGather},
    {"", "GatherElements", 1, &MakeGatherElements},
    {"", "GatherND", 1, &MakeGatherNd},
    {"", "Gemm", 1, &MakeGemm},          {"", "LeakyRelu", 1, &MakeActivation},
    {"", "GlobalAveragePool", 1, &MakePool},
    {"", "GlobalMaxPool", 1, &MakePool},
    {"", "Greater", 1, &MakeBinary},
    {"", "GreaterOrEqual", 1, &MakeBinary},
    {"", "HardSigmoid", 1, &MakeUnary},
    {"", "HardSwish", 1, &MakeUnary},
    {"", "InstanceNormalization", 1, &MakeInstanceNormalization},
    {"", "IsInf", 1, &MakeUnary},
    {"", "IsNaN", 1, &MakeUnary},
    {"", "LRN", 1, &MakeLrn},
    {"", "Less", 1, &MakeBinary},
    {"", "LessOrEqual", 1, &MakeBinary},
    {"", "Log", 1, &MakeUnary},
    {"", "LogSoftmax", 1, &MakeSoftmax},
    {"", "MatMul", 1, &MakeMatMul},      {"", "Relu", 1, &MakeActivation},
    {"", "Max", 1, &MakeVariadic},
    {"", "MaxPool", 1, &MakePool},
    {"", "Mean", 1, &MakeVariadic},
    {"", "Min", 1, &MakeVariadic},
    {"", "Mish", 1, &MakeUnary},
    {"", "Mod", 1, &MakeBinary},
    {"", "Mul", 1, &MakeBinary},
    {"", "Neg", 1, &MakeUnary},
    {"", "Not", 1, &MakeUnary},
    {"", "Or", 1, &MakeBinary},
    {"", "PRelu", 1, &MakeBinary},
    {"", "Pad", 2, &MakePad},
    {"", "Pow", 7, &MakePow},
    {"", "Reciprocal", 1, &MakeUnary},
    {"", "ReduceL1", 1, &MakeReduce},
    {"", "ReduceL2", 1, &MakeReduce},
    {"", "ReduceLogSum", 1, &MakeReduce},
    {"", "ReduceLogSumExp", 1, &MakeReduce},
    {"", "ReduceMax", 1, &MakeReduce},
    {"", "ReduceMean", 1, &MakeReduce},
    {"", "ReduceMin", 1, &MakeReduce},
    {"", "ReduceProd", 1, &MakeReduce},
    {"", "ReduceSum", 1, &MakeReduce},
    {"", "ReduceSumSquare", 1, &MakeReduce},
    {"", "Reshape", 5, &MakeReshape},    {"", "Shape", 1, &MakeShape},
    {"", "Round", 1, &MakeUnary},
    {"", "Selu", 1, &MakeUnary},
    {"", "Shrink", 1, &MakeUnary},
    {"", "Sigmoid", 1, &MakeActivation}, {"", "Softplus", 1, &MakeActivation},
    {"", "Sign", 1, &MakeUnary},
    {"", "Sin", 1, &MakeUnary},
    {"", "Sinh", 1, &MakeUnary},
    {"", "Size", 1, &MakeSize},
    {"", "Slice", 1, &MakeSlice},
    {"", "Softmax", 1, &MakeSoftmax},
    {"", "Softsign", 1, &MakeUnary},
    {"", "Split", 1, &MakeSplit},
    {"", "Sqrt", 1, &MakeUnary},
    {"", "Squeeze", 1, &MakeSqueeze},
    {"", "Sub", 1, &MakeBinary},
    {"", "Sum", 1, &MakeVariadic},
    {"", "Tan", 1, &MakeUnary},
    {"", "Tanh", 1, &MakeActivation},
    {"", "ThresholdedRelu", 1, &MakeUnary},
    {"", "Tile", 6, &MakeTile},
    {"", "Transpose", 1, &MakeTranspose},
    {"", "Unsqueeze", 1, &MakeUnsqueeze},
    {"", "Where", 1, &MakeWhere},
    {"", "Xor", 1, &MakeBinary},
};

}  // namespace

absl::Span<const KernelEntry> Kernels() { return kKernels; }

const KernelEntry* FindKernel(absl::string_view domain, absl::string_view op, int opset) {
  const KernelEntry* best = nullptr;
  for (const KernelEntry& entry : kKernels) {
    if (entry.domain != domain || entry.op != op || entry.first_opset > opset) continue;
    if (best == nullptr || entry.first_opset > best->first_opset) best = &entry;
  }
  return best;
}

}  // namespace baton::engine
