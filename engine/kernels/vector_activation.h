// Activations by our own vectors of floats: inside of loops that make numbers, or over a tensor.
// oneDNN's are generated code as well, but those with an exponential function take twice as long.
#pragma once

#include <memory>
#include <optional>

#include "engine/graph.h"
#include "engine/kernel.h"
#include "engine/kernels/simd.h"

namespace baton::engine {

struct VectorActivation {
  enum class Kind { kNone, kRelu, kLeakyRelu, kClip, kSigmoid, kTanh, kSwish, kHardSwish };
  Kind kind = Kind::kNone;
  float alpha = 0, beta = 0;  // of Swish, `beta` is kMostOfExp / |alpha|

  bool LeavesZeros() const {
    if (kind == Kind::kClip) return alpha <= 0 && beta >= 0;
    return kind != Kind::kSigmoid;
  }
  BATON_INLINE void Run(Vector& x) const {
    Vector y;
    switch (kind) {
      case Kind::kNone:
        return;
      case Kind::kRelu:
        x = x < 0.0f ? Vector{} : x;  // NaN stays
        return;
      case Kind::kLeakyRelu:
        x = x < 0.0f ? alpha * x : x;
        return;
      case Kind::kClip:
        x = x < alpha ? Vector{} + alpha : x;
        x = x > beta ? Vector{} + beta : x;
        return;
      case Kind::kSigmoid:
        return Sigmoid(x);
      case Kind::kTanh:
        return Tanh(x);
      case Kind::kSwish:
        y = x;
        OnePlusExp(alpha, beta, y);
        x = x / y;
        return;
      case Kind::kHardSwish:
        y = x * (1.0f / 6.0f) + 0.5f;
        y = y < 0.0f ? Vector{} : y;
        y = y > 1.0f ? Vector{} + 1.0f : y;
        x = x * y;
        return;
    }
  }
};

// Nullopt: not an activation, or none of these.
std::optional<VectorActivation> ToVectorActivation(const PostOp& post_op);

// Whether MakeActivationStep can do it on `x`, and is faster than oneDNN.
bool IsFasterAsVector(const VectorActivation& activation, const Meta& x);
// output 0 = activation(output 0, or input `from` where that is not -1) + input `added`, if not -1.
// All are as `x`, which may be in a oneDNN layout. REQUIRES: IsFasterAsVector.
std::unique_ptr<Step> MakeActivationStep(const VectorActivation& activation, const Meta& x,
                                         int from, int added, int threads);

}  // namespace baton::engine
