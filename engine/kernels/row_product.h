// RowProduct: one row times a small matrix. There oneDNN's call, which is made for matrices, costs
// as much as the work. AVX-512 or AVX2 are used where the processor has them. Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/types/span.h"
#include "engine/graph.h"
#include "engine/tensor.h"

namespace baton::engine {

class RowProduct {
 public:
  enum class Activation { kNone, kRelu, kSigmoid, kTanh };
  enum class Isa { kPlain, kAvx2, kAvx512 };

  // What this processor has, at best.
  static Isa BestIsa();
  // What a dense layer's `post_ops` come to; nothing if they are another thing.
  static std::optional<Activation> ActivationOf(absl::Span<const PostOp> post_ops);
  // Whether a matrix is small enough: it stays in the second-level cache.
  static bool IsSmall(int64_t k, int64_t n) { return k * n <= kMostElements; }

  // `weights` float[k, n], or [n, k] if `transposed`; k > 0. `bias` float[n], or empty. REQUIRES:
  // the processor has `isa`.
  RowProduct(const Tensor& weights, bool transposed, const Tensor& bias, Activation activation,
             Isa isa = BestIsa());

  // y[n] = activation(x[k] · weights + bias). `y` does not overlap `x`.
  void Run(const float* x, float* y) const { run_(*this, x, y); }

  size_t bytes() const { return values_ * sizeof(float); }
  const char* implementation() const;

 private:
  static constexpr int64_t kMostElements = 128 << 10;
  struct Loops;

  const int64_t k_, n_;
  const Activation activation_;
  const Isa isa_;
  void (*const run_)(const RowProduct&, const float*, float*);
  // Columns by groups of up to 64, each: its biases, then row after row. Padded to whole vectors.
  size_t values_ = 0;
  std::shared_ptr<float> packed_;
};

}  // namespace baton::engine
