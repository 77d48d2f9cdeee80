#include "engine/kernels/strided.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/kernels/parallel.h"

namespace baton::engine {
namespace {

// Dimensions of size 1 gone, neighbours that are walked as one joined.
struct Walk {
  std::vector<int64_t> dims, strides;
};

Walk Collapse(const Shape& shape, absl::Span<const int64_t> strides) {
  Walk walk;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    if (!walk.dims.empty() && walk.strides.back() == strides[d] * shape[d]) {
      walk.dims.back() *= shape[d];
      walk.strides.back() = strides[d];
    } else {
      walk.dims.push_back(shape[d]);
      walk.strides.push_back(strides[d]);
    }
  }
  if (walk.dims.empty()) {
    walk.dims.push_back(1);
    walk.strides.push_back(1);
  }
  return walk;
}

template <typename T>
void CopyRow(const T* from, int64_t stride, T* to, int64_t n) {
  if (stride == 1) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
  } else if (stride == 0) {
    std::fill_n(to, n, *from);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

// The two innermost dimensions, when the outer one is the dense one in the input (a transpose): in
// tiles, so that both sides stay in cache lines.
template <typename T>
void CopyTransposed(const T* from, int64_t stride, T* to, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 16;
  for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (int64_t c0 = 0; c0 < columns; c0 += kTile) {
      const int64_t r1 = std::min(rows, r0 + kTile), c1 = std::min(columns, c0 + kTile);
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) to[r * columns + c] = from[r + c * stride];
      }
    }
  }
}

}  // namespace

Shape DenseStrides(absl::Span<const int64_t> shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::unique_ptr<Step> MakeStridedCopy(DataType type, const Shape& shape,
                                      absl::Span<const int64_t> strides, int64_t offset,
                                      int threads) {
  BATON_CHECK(type != DataType::kString);
  if (NumElements(shape) == 0) {
    return MakeStep([](const RunContext&) { return absl::OkStatus(); });
  }
  const Walk walk = Collapse(shape, strides);
  const size_t rank = walk.dims.size();
  const bool transposes = rank >= 2 && walk.strides[rank - 2] == 1 && walk.strides[rank - 1] > 1;
  const size_t inner = transposes ? 2 : 1;
  return DispatchWidth(type, [&](auto unit) -> std::unique_ptr<Step> {
    using T = decltype(unit);
    return MakeStep([walk, offset, threads, rank, inner](const RunContext& r) {
      const T* from = r.input<T>(0) + offset;
      T* to = r.output<T>(0);
      const size_t outer = rank - inner;
      int64_t blocks = 1, block = 1;
      for (size_t d = 0; d < outer; ++d) blocks *= walk.dims[d];
      for (size_t d = outer; d < rank; ++d) block *= walk.dims[d];
      const int64_t grain = std::max<int64_t>(1, 4096 / block);
      ParallelFor(threads, blocks, grain, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          int64_t at = 0, rest = b;
          for (size_t d = outer; d-- > 0;) {
            at += rest % walk.dims[d] * walk.strides[d];
            rest /= walk.dims[d];
          }
          if (inner == 2) {
            CopyTransposed(from + at, walk.strides[rank - 1], to + b * block, walk.dims[rank - 2],
                           walk.dims[rank - 1]);
          } else {
            CopyRow(from + at, walk.strides[rank - 1], to + b * block, block);
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

}  // namespace baton::engine
