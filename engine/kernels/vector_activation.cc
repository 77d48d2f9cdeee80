#include "engine/kernels/vector_activation.h"

#include <cmath>
#include <utility>

#include "engine/base/check.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"

namespace baton::engine {
namespace {

using Kind = VectorActivation::Kind;

// A loop for each kind that is worth it, so that constants stay in registers.
template <typename T, Kind kKind>
struct ActivationLoop {
  BATON_INLINE static void Run(float alpha, float beta, const T* from, const T* added, T* to,
                               int64_t n) {
    const VectorActivation activation = {kKind, alpha, beta};
    for (int64_t i = 0; i < n; i += kLanes) {
      Vector x;
      LoadUpTo(from + i, n - i, 0, x);
      activation.Run(x);
      if (added != nullptr) {
        Vector y;
        LoadUpTo(added + i, n - i, 0, y);
        x = x + y;
      }
      StoreUpTo(x, n - i, to + i);
    }
  }
};

template <typename T>
auto FindLoop(Kind kind) {
  const Isa isa = BestIsa();
  switch (kind) {
    case Kind::kSigmoid:
      return CompiledFor<ActivationLoop<T, Kind::kSigmoid>>(isa);
    case Kind::kTanh:
      return CompiledFor<ActivationLoop<T, Kind::kTanh>>(isa);
    default:
      BATON_CHECK(kind == Kind::kSwish);
      return CompiledFor<ActivationLoop<T, Kind::kSwish>>(isa);
  }
}

template <typename T>
std::unique_ptr<Step> MakeLoopStep(const VectorActivation& activation, int64_t n, int from,
                                   int added, int threads) {
  const auto run = FindLoop<T>(activation.kind);
  return MakeStep([=, alpha = activation.alpha, beta = activation.beta](const RunContext& r) {
    T* const y = r.output<T>(0);
    const T* const x = from < 0 ? y : r.input<T>(static_cast<size_t>(from));
    const T* const z = added < 0 ? nullptr : r.input<T>(static_cast<size_t>(added));
    ParallelFor(threads, n, 1024, [&](int64_t begin, int64_t end) {
      run(alpha, beta, x + begin, z == nullptr ? nullptr : z + begin, y + begin, end - begin);
    });
    return absl::OkStatus();
  });
}

}  // namespace

std::optional<VectorActivation> ToVectorActivation(const PostOp& post_op) {
  if (post_op.kind != PostOp::Kind::kActivation) return std::nullopt;
  static constexpr std::pair<const char*, Kind> kKinds[] = {
      {"Relu", Kind::kRelu},          {"LeakyRelu", Kind::kLeakyRelu}, {"Clip", Kind::kClip},
      {"Sigmoid", Kind::kSigmoid},    {"Tanh", Kind::kTanh},           {"Swish", Kind::kSwish},
      {"HardSwish", Kind::kHardSwish}};
  for (const auto& [op, kind] : kKinds) {
    if (post_op.op != op) continue;
    VectorActivation activation = {kind, post_op.alpha, post_op.beta};
    if (kind == Kind::kSwish) activation.beta = kMostOfExp / std::abs(activation.alpha);
    return activation;
  }
  return std::nullopt;
}

bool IsFasterAsVector(const VectorActivation& activation, const Meta& x) {
  if (x.type != DataType::kFloat && x.type != DataType::kBfloat16) return false;
  if (BestIsa() == Isa::kPlain) return false;
  const bool padded = x.bytes() != Meta{x.type, x.shape, std::nullopt}.bytes();
  if (padded && !activation.LeavesZeros()) return false;
  return activation.kind == Kind::kSigmoid || activation.kind == Kind::kTanh ||
         activation.kind == Kind::kSwish;
}

std::unique_ptr<Step> MakeActivationStep(const VectorActivation& activation, const Meta& x,
                                         int from, int added, int threads) {
  BATON_CHECK(IsFasterAsVector(activation, x));
  const auto n = static_cast<int64_t>(x.bytes() / DataTypeSize(x.type));
  return x.type == DataType::kFloat ? MakeLoopStep<float>(activation, n, from, added, threads)
                                    : MakeLoopStep<Bfloat16>(activation, n, from, added, threads);
}

}  // namespace baton::engine
