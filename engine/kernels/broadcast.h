// Numpy broadcasting: shapes, and loops over two or three operands with their dimensions collapsed
// so that the inner loop is as long as it can be.
#pragma once

#include <array>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tensor.h"

namespace baton::engine {

// kInvalidArgument if the shapes do not broadcast, naming them.
absl::StatusOr<Shape> BroadcastShape(absl::Span<const int64_t> a, absl::Span<const int64_t> b);

// How N operands are read while one output of `shape` is written in order. Neighbouring dimensions
// that every operand walks alike are one. Strides are in elements, 0 where an operand repeats.
template <size_t N>
struct BroadcastLoop {
  std::vector<int64_t> dims;  // outermost first; at least one
  std::array<std::vector<int64_t>, N> strides;
};
template <size_t N>
BroadcastLoop<N> MakeBroadcastLoop(absl::Span<const int64_t> shape,
                                   const std::array<Shape, N>& operands) {
  BroadcastLoop<N> loop;
  const size_t rank = shape.size();
  std::array<std::vector<int64_t>, N> strides;
  for (size_t o = 0; o < N; ++o) {
    strides[o].assign(rank, 0);
    const Shape& own = operands[o];
    int64_t stride = 1;
    for (size_t i = 0; i < own.size(); ++i) {
      const size_t from_end = own.size() - 1 - i;
      if (own[from_end] != 1) strides[o][rank - 1 - i] = stride;
      stride *= own[from_end];
    }
  }
  for (size_t d = 0; d < rank; ++d) {
    if (shape[d] == 1) continue;
    bool joins = !loop.dims.empty();
    for (size_t o = 0; o < N && joins; ++o) {
      joins = loop.strides[o].back() == strides[o][d] * shape[d];
    }
    if (joins) {
      loop.dims.back() *= shape[d];
      for (size_t o = 0; o < N; ++o) loop.strides[o].back() = strides[o][d];
    } else {
      loop.dims.push_back(shape[d]);
      for (size_t o = 0; o < N; ++o) loop.strides[o].push_back(strides[o][d]);
    }
  }
  if (loop.dims.empty()) {
    loop.dims.push_back(1);
    for (size_t o = 0; o < N; ++o) loop.strides[o].push_back(0);
  }
  return loop;
}

// Calls row(output_index, operand_indexes, length) for the rows (runs along the innermost
// dimension) numbered [begin, end); there are Rows(loop) of them.
template <size_t N>
int64_t Rows(const BroadcastLoop<N>& loop) {
  return NumElements(absl::MakeConstSpan(loop.dims).first(loop.dims.size() - 1));
}
template <size_t N, typename F>
void ForEachRow(const BroadcastLoop<N>& loop, int64_t begin, int64_t end, const F& row) {
  const size_t outer = loop.dims.size() - 1;
  const int64_t length = loop.dims[outer];
  for (int64_t r = begin; r < end; ++r) {
    std::array<int64_t, N> index{};
    int64_t rest = r;
    for (size_t d = outer; d-- > 0;) {
      const int64_t at = rest % loop.dims[d];
      rest /= loop.dims[d];
      for (size_t o = 0; o < N; ++o) index[o] += at * loop.strides[o][d];
    }
    row(r * length, index, length);
  }
}

}  // namespace baton::engine
