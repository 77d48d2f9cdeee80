#include "engine/kernel_table.h"

#include "engine/kernels/kernels.h"

namespace baton::engine {
namespace {

// Older forms are rewritten by the importer (onnx_normalize.h), so most rows say 1. Sorted.
constexpr KernelEntry kKernels[] = {
    {"", "Conv", 1, &MakeConv},          {"", "ConvTranspose", 1, &MakeConvTranspose},
    {"", "Elu", 1, &MakeActivation},     {"", "Flatten", 1, &MakeFlatten},
    {"", "Gemm", 1, &MakeGemm},          {"", "LeakyRelu", 1, &MakeActivation},
    {"", "MatMul", 1, &MakeMatMul},      {"", "Relu", 1, &MakeActivation},
    {"", "Reshape", 5, &MakeReshape},    {"", "Shape", 1, &MakeShape},
    {"", "Sigmoid", 1, &MakeActivation}, {"", "Softplus", 1, &MakeActivation},
    {"", "Tanh", 1, &MakeActivation},
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
