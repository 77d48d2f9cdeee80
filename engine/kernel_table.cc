#include "engine/kernel_table.h"

#include "engine/kernels/kernels.h"

namespace baton::engine {
namespace {

// Older forms are rewritten by the importer (onnx_normalize.h), so most rows say 1. Sorted.
constexpr KernelEntry kKernels[] = {
    {"", "Add", 1, &MakeBinary},
    {"", "And", 1, &MakeBinary},
    {"", "AveragePool", 1, &MakePool},
    {"", "BitShift", 1, &MakeBinary},
    {"", "Conv", 1, &MakeConv},          {"", "ConvTranspose", 1, &MakeConvTranspose},
    {"", "Div", 1, &MakeBinary},
    {"", "Elu", 1, &MakeActivation},     {"", "Flatten", 1, &MakeFlatten},
    {"", "Equal", 1, &MakeBinary},
    {"", "Gemm", 1, &MakeGemm},          {"", "LeakyRelu", 1, &MakeActivation},
    {"", "GlobalAveragePool", 1, &MakePool},
    {"", "GlobalMaxPool", 1, &MakePool},
    {"", "Greater", 1, &MakeBinary},
    {"", "GreaterOrEqual", 1, &MakeBinary},
    {"", "Less", 1, &MakeBinary},
    {"", "LessOrEqual", 1, &MakeBinary},
    {"", "LogSoftmax", 1, &MakeSoftmax},
    {"", "MatMul", 1, &MakeMatMul},      {"", "Relu", 1, &MakeActivation},
    {"", "MaxPool", 1, &MakePool},
    {"", "Mod", 1, &MakeBinary},
    {"", "Mul", 1, &MakeBinary},
    {"", "Or", 1, &MakeBinary},
    {"", "PRelu", 1, &MakeBinary},
    {"", "Reshape", 5, &MakeReshape},    {"", "Shape", 1, &MakeShape},
    {"", "Sigmoid", 1, &MakeActivation}, {"", "Softplus", 1, &MakeActivation},
    {"", "Softmax", 1, &MakeSoftmax},
    {"", "Sub", 1, &MakeBinary},
    {"", "Tanh", 1, &MakeActivation},
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
