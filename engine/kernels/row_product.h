// RowProduct: one row, or with AVX-512 some rows, times a small matrix. There oneDNN's call, which
// is made for larger ones, costs as much as the work. AVX-512 or AVX2 are used where the processor
// has them. Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/types/span.h"
#include "engine/graph.h"
#include "engine/kernels/vector_activation.h"
#include "engine/tensor.h"

namespace baton::engine {

class RowProduct {
 public:
  // What a dense layer's `post_ops` come to; nothing if they are another thing.
  static std::optional<VectorActivation> ActivationOf(absl::Span<const PostOp> post_ops);
  // Whether a matrix is small enough: it stays in the second-level cache.
  static bool IsSmall(int64_t k, int64_t n) { return k * n <= kMostElements; }

  // `weights` float[k, n], or [n, k] if `transposed`; k > 0. `bias` float[n], or empty. REQUIRES:
  // the processor has `isa`.
  RowProduct(const Tensor& weights, bool transposed, const Tensor& bias,
             const VectorActivation& activation, Isa isa = BestIsa());

  // The most rows of one thread for which this is no slower than oneDNN.
  int64_t most_rows() const { return isa_ == Isa::kAvx512 ? kMostRows : 1; }
  // y[rows, n] = activation(x[rows, k] · weights + bias). `y` does not overlap `x`. REQUIRES:
  // 1 <= rows <= most_rows().
  void Run(const float* x, float* y, int64_t rows) const { run_(*this, x, y, rows); }

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  size_t bytes() const { return values_ * sizeof(float); }
  const char* implementation() const;

 private:
  static constexpr int64_t kMostElements = 128 << 10;
  static constexpr int64_t kMostRows = 32;
  struct Loops;

  const int64_t k_, n_;
  const VectorActivation activation_;
  const Isa isa_;
  void (*const run_)(const RowProduct&, const float*, float*, int64_t rows);
  // Columns by groups of up to 64, each: its biases, then row after row. Padded to whole vectors.
  size_t values_ = 0;
  std::shared_ptr<float> packed_;
};

}  // namespace baton::engine
