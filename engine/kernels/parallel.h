// ParallelFor: a loop over blocks on OpenMP's threads, for kernels written by hand.
#pragma once

#include <algorithm>
#include <cstdint>

namespace baton::engine {

// Calls f(begin, end) for `threads` near-equal parts of [0, n), multiples of `grain` but for the
// last. One thread: f(0, n), on the caller, without opening a parallel region.
template <typename F>
void ParallelFor(int threads, int64_t n, int64_t grain, const F& f) {
  if (threads <= 1 || n <= grain) {
    f(int64_t{0}, n);
    return;
  }
  const int64_t blocks = (n + grain - 1) / grain;
  const int64_t part = (blocks + threads - 1) / threads * grain;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; ++t) {
    const int64_t begin = t * part, end = std::min(n, begin + part);
    if (begin < end) f(begin, end);
  }
}

}  // namespace baton::engine
