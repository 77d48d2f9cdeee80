// Copies between a strided view of the input and a dense output, for elements of 1, 2, 4 or 8
// bytes: transposes, slices, expansions, reversals.
#pragma once

#include <memory>

#include "engine/kernel.h"
#include "engine/tensor.h"

namespace baton::engine {

// output[i…] = input[offset + Σ i_d · strides[d]] over `shape`; strides in elements, may be 0 or
// negative. For every element type but strings.
std::unique_ptr<Step> MakeStridedCopy(DataType type, const Shape& shape,
                                      absl::Span<const int64_t> strides, int64_t offset,
                                      int threads);

// Strides of a dense row-major tensor, in elements.
Shape DenseStrides(absl::Span<const int64_t> shape);

// f(x) with x of an unsigned type as wide as one element of `type`; for moving data of any type.
// REQUIRES: not a string.
template <typename F>
auto DispatchWidth(DataType type, const F& f) {
  switch (DataTypeSize(type)) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

}  // namespace baton::engine
