#include "server/serving/padded_copy.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace baton::serving {
namespace {

template <typename T>
void Fill(const void* value, size_t count, void* to) {
  T element;
  std::memcpy(&element, value, sizeof(T));
  std::fill_n(static_cast<T*>(to), count, element);
}

void FillElements(DataType type, const void* value, size_t count, void* to) {
  if (count == 0) return;
  if (type == DataType::kString) {
    std::fill_n(static_cast<std::string*>(to), count, *static_cast<const std::string*>(value));
    return;
  }
  switch (DataTypeSize(type)) {
    case 1:
      return Fill<uint8_t>(value, count, to);
    case 2:
      return Fill<uint16_t>(value, count, to);
    case 4:
      return Fill<uint32_t>(value, count, to);
    case 8:
      return Fill<uint64_t>(value, count, to);
    default:
      BATON_CHECK_MSG(false, "a type without a size");
  }
}

// One copy, axis by axis as far as the shapes differ, then whole blocks.
class PaddedCopy {
 public:
  PaddedCopy(const TensorView& from, absl::Span<const int64_t> to_shape, const void* pad)
      : type_(from.type),
        size_(DataTypeSize(from.type)),
        pad_(pad),
        from_shape_(from.shape),
        to_shape_(to_shape),
        from_block_(from.shape.size(), 1),
        to_block_(to_shape.size(), 1) {
    for (size_t axis = to_shape.size(); axis-- > 0;) {
      if (axis + 1 < to_shape.size()) {
        from_block_[axis] = from_block_[axis + 1] * from_shape_[axis + 1];
        to_block_[axis] = to_block_[axis + 1] * to_shape_[axis + 1];
      }
      if (last_ == 0 && from_shape_[axis] != to_shape_[axis]) last_ = axis;
    }
  }

  void Run(size_t axis, const char* from, char* to) const {
    const int64_t common = std::min(from_shape_[axis], to_shape_[axis]);
    const size_t from_bytes = static_cast<size_t>(from_block_[axis]) * size_;
    const size_t to_bytes = static_cast<size_t>(to_block_[axis]) * size_;
    if (axis == last_) {
      CopyElements(type_, from, static_cast<size_t>(common * to_block_[axis]), to);
    } else {
      for (int64_t i = 0; i < common; ++i) {
        Run(axis + 1, from + static_cast<size_t>(i) * from_bytes,
            to + static_cast<size_t>(i) * to_bytes);
      }
    }
    FillElements(type_, pad_, static_cast<size_t>((to_shape_[axis] - common) * to_block_[axis]),
                 to + static_cast<size_t>(common) * to_bytes);
  }

 private:
  const DataType type_;
  const size_t size_;  // of an element, in bytes
  const void* const pad_;
  const absl::Span<const int64_t> from_shape_, to_shape_;
  Shape from_block_, to_block_;  // elements behind one index of an axis
  size_t last_ = 0;              // the last axis whose sizes differ; behind it blocks are equal
};

}  // namespace

void CopyElements(DataType type, const void* from, size_t count, void* to) {
  if (type == DataType::kString) {
    const auto* values = static_cast<const std::string*>(from);
    std::copy(values, values + count, static_cast<std::string*>(to));
  } else if (count > 0) {
    std::memcpy(to, from, count * DataTypeSize(type));
  }
}

void CopyPadded(const TensorView& from, absl::Span<const int64_t> to_shape, const void* pad,
                void* to) {
  BATON_CHECK(!to_shape.empty() && to_shape.size() == from.shape.size());
  PaddedCopy(from, to_shape, pad)
      .Run(0, static_cast<const char*>(from.data), static_cast<char*>(to));
}

}  // namespace baton::serving
