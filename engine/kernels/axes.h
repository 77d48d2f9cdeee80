// Axes as operators give them: from -rank to rank-1, in a tensor of integers.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/tensor.h"

namespace baton::engine {

// `axis` counted from the front. kInvalidArgument if it is out of range.
inline absl::StatusOr<size_t> NormalizeAxis(int64_t axis, size_t rank) {
  const int64_t r = static_cast<int64_t>(rank);
  if (axis < -r || axis >= r) {
    return absl::InvalidArgumentError(
        absl::StrCat("axis ", axis, " is out of range for rank ", rank));
  }
  return static_cast<size_t>(axis < 0 ? axis + r : axis);
}

// The values of an integer tensor (int32 or int64) of rank 0 or 1.
inline absl::StatusOr<std::vector<int64_t>> ToInts(const Tensor& tensor) {
  if (tensor.shape().size() <= 1 && tensor.type() == DataType::kInt64) {
    const auto values = tensor.values<int64_t>();
    return std::vector<int64_t>(values.begin(), values.end());
  }
  if (tensor.shape().size() <= 1 && tensor.type() == DataType::kInt32) {
    const auto values = tensor.values<int32_t>();
    return std::vector<int64_t>(values.begin(), values.end());
  }
  return absl::InvalidArgumentError(absl::StrCat("got ", DataTypeName(tensor.type()),
                                                 ShapeToString(tensor.shape()),
                                                 ", expected a list of int64 or int32"));
}

}  // namespace baton::engine
