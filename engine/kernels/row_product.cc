#include "engine/kernels/row_product.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/kernels/simd.h"

namespace baton::engine {
namespace {

constexpr int kGroup = 4;   // vectors of columns that are summed at once
constexpr int kChains = 8;  // sums at once: the next need not wait for the last
constexpr int kBlock = 6;   // rows at once: their sums of a group just fit into AVX-512's registers

int64_t VectorsOf(int64_t n) { return (n + kLanes - 1) / kLanes; }

}  // namespace

struct RowProduct::Loops {
  // One group of V vectors of columns, from `w`, which is moved behind it.
  template <int V>
  BATON_INLINE static void GroupOfOneRow(const RowProduct& p, const float* x, const float*& w,
                                         float* y, int64_t columns) {
    constexpr int kUnroll = kChains / V;
    Vector sums[kUnroll][V] = {};
    for (int v = 0; v < V; ++v) Load(w + v * kLanes, sums[0][v]);
    w += V * kLanes;
    int64_t i = 0;
    for (; i + kUnroll <= p.k_; i += kUnroll) {
      for (int u = 0; u < kUnroll; ++u) {
        for (int v = 0; v < V; ++v) {
          Vector weights;
          Load(w + (u * V + v) * kLanes, weights);
          sums[u][v] = sums[u][v] + x[i + u] * weights;
        }
      }
      w += kUnroll * V * kLanes;
    }
    for (; i < p.k_; ++i, w += V * kLanes) {
      for (int v = 0; v < V; ++v) {
        Vector weights;
        Load(w + v * kLanes, weights);
        sums[0][v] = sums[0][v] + x[i] * weights;
      }
    }
    for (int v = 0; v < V; ++v) {
      Vector sum = sums[0][v];
      for (int u = 1; u < kUnroll; ++u) sum = sum + sums[u][v];
      p.activation_.Run(sum);
      StoreUpTo(sum, columns - v * kLanes, y + v * kLanes);
    }
  }

  // The same for R rows.
  template <int V, int R>
  BATON_INLINE static void GroupOfRows(const RowProduct& p, const float* x, const float*& w,
                                       float* y, int64_t columns) {
    Vector sums[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) Load(w + v * kLanes, sums[r][v]);
    }
    w += V * kLanes;
    for (int64_t i = 0; i < p.k_; ++i, w += V * kLanes) {
      Vector weights[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) Load(w + v * kLanes, weights[v]);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const float value = x[r * p.k_ + i];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sums[r][v] = sums[r][v] + value * weights[v];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        p.activation_.Run(sums[r][v]);
        StoreUpTo(sums[r][v], columns - v * kLanes, y + r * p.n_ + v * kLanes);
      }
    }
  }

  template <int V, int R>
  BATON_INLINE static void Group(const RowProduct& p, const float* x, const float*& w, float* y,
                                 int64_t columns) {
    if constexpr (R == 1) {
      GroupOfOneRow<V>(p, x, w, y, columns);
    } else {
      GroupOfRows<V, R>(p, x, w, y, columns);
    }
  }

  // All columns of R rows.
  template <int R>
  BATON_INLINE static void Rows(const RowProduct& p, const float* x, float* y) {
    const float* w = p.packed_.get();
    for (int64_t left = p.n_; left > 0; left -= kGroup * kLanes, y += kGroup * kLanes) {
      switch (std::min<int64_t>(VectorsOf(left), kGroup)) {
        case 1:
          Group<1, R>(p, x, w, y, left);
          break;
        case 2:
          Group<2, R>(p, x, w, y, left);
          break;
        case 3:
          Group<3, R>(p, x, w, y, left);
          break;
        default:
          Group<4, R>(p, x, w, y, left);
      }
    }
  }

  static void Plain(const RowProduct& p, const float* x, float* y, int64_t) { Rows<1>(p, x, y); }
#if defined(__x86_64__)
  [[gnu::target("avx2,fma")]] static void Avx2(const RowProduct& p, const float* x, float* y,
                                               int64_t) {
    Rows<1>(p, x, y);
  }
  template <int R>
  [[gnu::target("avx512f")]] static void Block(const RowProduct& p, const float* x, float* y) {
    Rows<R>(p, x, y);
  }
  [[gnu::target("avx512f")]] static void Avx512(const RowProduct& p, const float* x, float* y,
                                                int64_t rows) {
    static constexpr void (*kBlocks[kBlock])(const RowProduct&, const float*, float*) = {
        &Block<1>, &Block<2>, &Block<3>, &Block<4>, &Block<5>, &Block<6>};
    // Blocks of nearly the same size.
    for (int64_t blocks = (rows + kBlock - 1) / kBlock; blocks > 0; --blocks) {
      const int64_t block = (rows + blocks - 1) / blocks;
      kBlocks[block - 1](p, x, y);
      x += block * p.k_;
      y += block * p.n_;
      rows -= block;
    }
  }
#endif

  static auto For(Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::kAvx512) return &Avx512;
    if (isa == Isa::kAvx2) return &Avx2;
#endif
    BATON_CHECK(isa == Isa::kPlain);
    return &Plain;
  }
};

std::optional<VectorActivation> RowProduct::ActivationOf(absl::Span<const PostOp> post_ops) {
  if (post_ops.empty()) return VectorActivation{};
  return post_ops.size() > 1 ? std::nullopt : ToVectorActivation(post_ops[0]);
}

RowProduct::RowProduct(const Tensor& weights, bool transposed, const Tensor& bias,
                       const VectorActivation& activation, Isa isa)
    : k_(weights.shape()[transposed ? 1 : 0]),
      n_(weights.shape()[transposed ? 0 : 1]),
      activation_(activation),
      isa_(isa),
      run_(Loops::For(isa)),
      values_(static_cast<size_t>(VectorsOf(n_) * kLanes * (k_ + 1))),
      packed_(std::static_pointer_cast<float>(AllocateAligned(values_ * sizeof(float)))) {
  const float* from = weights.values<float>().data();
  const int64_t row = transposed ? 1 : n_, column = transposed ? k_ : 1;
  float* to = packed_.get();
  for (int64_t first = 0; first < n_; first += kGroup * kLanes) {
    const int64_t width = std::min<int64_t>(VectorsOf(n_ - first), kGroup) * kLanes;
    for (int64_t i = -1; i < k_; ++i) {  // -1: the biases
      for (int64_t j = first; j < first + width; ++j) {
        if (j >= n_ || (i < 0 && bias.empty())) {
          *to++ = 0;
        } else {
          *to++ = i < 0 ? bias.values<float>()[static_cast<size_t>(j)] : from[i * row + j * column];
        }
      }
    }
  }
}

const char* RowProduct::implementation() const {
  switch (isa_) {
    case Isa::kAvx512:
      return "baton:row_avx512";
    case Isa::kAvx2:
      return "baton:row_avx2";
    case Isa::kPlain:
      break;
  }
  return "baton:row";
}

}  // namespace baton::engine
