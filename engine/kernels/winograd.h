// Winograd: convolutions of 3×3 with stride 1 in fewer multiplications than they have terms. The
// input is cut into tiles that overlap by 2, every tile is transformed, channels are summed point
// by point of the transformed tiles (small matrix products), and the sums are transformed back.
// Tiles of 4×4 results take a quarter of the direct form's multiplications, tiles of 2×2 take 4/9.
// Lavin, Gray: "Fast Algorithms for Convolutional Neural Networks", 2015.
//
// Tensors of float, channels in blocks of 16 (nChw16c), the last filled with zeros. Errors are some
// 1e-6 of the largest result. AVX-512 or AVX2 are used where the processor has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "engine/base/mutex.h"
#include "engine/kernel.h"
#include "engine/kernels/simd.h"
#include "engine/tensor.h"

namespace baton::engine {

// x[batch, channels, height, width] to y[batch, outputs, out_height, out_width].
struct WinogradSpec {
  int64_t batch = 1, channels = 0, height = 0, width = 0;
  int64_t outputs = 0, out_height = 0, out_width = 0;
  int64_t pad_top = 0, pad_left = 0;  // what lies right and below is padded as far as y needs it
};

// Results of a tile in each direction: 2 or 4, whichever takes less time, or 0 where the direct
// form takes least.
int WinogradTile(const WinogradSpec& spec);

// One layer's weights as its products read them, transformed once for each size of tiles.
// Thread-safe.
class WinogradWeights {
 public:
  // Of float[outputs, channels, 3, 3], the same in each call. REQUIRES: `tile` is 2 or 4.
  std::shared_ptr<const float> Get(const Tensor& weights, int tile) const;
  size_t bytes() const;

 private:
  mutable Mutex mu_;
  mutable std::vector<std::pair<int, std::shared_ptr<const float>>> transformed_
      ABSL_GUARDED_BY(mu_);  // by tile
  mutable size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

struct WinogradPlan;  // in winograd.cc

// Immutable.
class Winograd {
 public:
  // How many of `post_ops`, from the first on, can be done as results of `outputs` channels are
  // written: where zeros fill the last block, those that leave zeros.
  static size_t PostOpsDone(absl::Span<const PostOp> post_ops, int64_t outputs);

  // REQUIRES: `tile` is 2 or 4, all of `post_ops` can be done, at most one of them is kAddInput,
  // threads > 0, and the processor has `isa`.
  Winograd(const WinogradSpec& spec, int tile, absl::Span<const PostOp> post_ops, int threads,
           Isa isa = BestIsa());
  Winograd(Winograd&&) noexcept;
  ~Winograd();

  struct Arrays {
    const float* x;
    const float* weights;   // of WinogradWeights::Get, for the same tile
    const float* bias;      // [outputs], or null
    const float* residual;  // what kAddInput adds, laid out as y; null where nothing is added
    float* y;               // may be `residual`; overlaps nothing else
    void* scratch;          // scratch_bytes() aligned to 64
  };
  void Run(const Arrays& arrays) const;
  size_t scratch_bytes() const;
  const char* implementation() const;

 private:
  std::unique_ptr<const WinogradPlan> plan_;
};

// The step of a plan. Its input 0 is x, its output y; `bias` and `residual` are numbers of inputs,
// -1 for none. `weights`: of WinogradWeights::Get.
std::unique_ptr<Step> MakeWinogradStep(Winograd winograd, std::shared_ptr<const float> weights,
                                       int bias, int residual, double flops);

}  // namespace baton::engine
