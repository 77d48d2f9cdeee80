// Copies between row-major tensors of one type and rank whose sizes differ.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "engine/tensor.h"

namespace baton::serving {

// Copies `count` elements; no more than the bytes of `from` need be aligned.
void CopyElements(DataType type, const void* from, size_t count, void* to);

// Copies what `from` and a tensor of `to_shape` have in common, the elements of equal indices, to
// `to`; elements that `from` does not have become the one at `pad` (which is not read where there
// are none). Indices begin at 0 in both, so this pads at the end of a dimension, or cuts there.
// REQUIRES: equal ranks, of at least 1; `to` is aligned for its elements.
void CopyPadded(const TensorView& from, absl::Span<const int64_t> to_shape, const void* pad,
                void* to);

}  // namespace baton::serving
