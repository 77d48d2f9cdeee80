// Tensor, TensorView, Shape, DataType: the values that go in and out of a model. Row-major,
// native byte order. Data types have ONNX's numbers (onnx.proto, TensorProto.DataType).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/check.h"

namespace baton {

enum class DataType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBfloat16 = 16,
};

// Lower-case ONNX name ("float", "int64", "bool" …); "type <n>" for a number not listed above.
std::string DataTypeName(DataType type);

// Bytes of one element; sizeof(std::string) for kString; 0 for a type not listed above.
size_t DataTypeSize(DataType type);

// IEEE half and bfloat16 as 16 raw bits; conversions round to nearest even.
struct Float16 {
  uint16_t bits;
  static Float16 From(float value);
  float ToFloat() const;
};
struct Bfloat16 {
  uint16_t bits;
  static Bfloat16 From(float value);
  float ToFloat() const;
};

// The DataType of a C++ element type.
template <typename T>
constexpr DataType DataTypeOf() {
  if constexpr (std::is_same_v<T, float>)
    return DataType::kFloat;
  else if constexpr (std::is_same_v<T, double>)
    return DataType::kDouble;
  else if constexpr (std::is_same_v<T, bool>)
    return DataType::kBool;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return DataType::kUint8;
  else if constexpr (std::is_same_v<T, int8_t>)
    return DataType::kInt8;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return DataType::kUint16;
  else if constexpr (std::is_same_v<T, int16_t>)
    return DataType::kInt16;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return DataType::kUint32;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DataType::kInt32;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return DataType::kUint64;
  else if constexpr (std::is_same_v<T, int64_t>)
    return DataType::kInt64;
  else if constexpr (std::is_same_v<T, std::string>)
    return DataType::kString;
  else if constexpr (std::is_same_v<T, Float16>)
    return DataType::kFloat16;
  else if constexpr (std::is_same_v<T, Bfloat16>)
    return DataType::kBfloat16;
  else
    return DataType::kUndefined;
}

using Shape = absl::InlinedVector<int64_t, 6>;

// "[2,3]"; a negative dimension prints as "?".
std::string ShapeToString(absl::Span<const int64_t> shape);

// Product of the dimensions; 1 for a scalar. kInvalidArgument for a negative dimension or a
// product over 2^48.
absl::StatusOr<int64_t> CheckedNumElements(absl::Span<const int64_t> shape);

// As above. REQUIRES: a shape that has been checked.
inline int64_t NumElements(absl::Span<const int64_t> shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

// A borrowed tensor: does not own `data`.
struct TensorView {
  DataType type = DataType::kUndefined;
  Shape shape;
  const void* data = nullptr;

  int64_t size() const { return NumElements(shape); }
  size_t bytes() const { return static_cast<size_t>(size()) * DataTypeSize(type); }
  template <typename T>
  absl::Span<const T> values() const {
    BATON_CHECK(type == DataTypeOf<T>());
    return absl::Span<const T>(static_cast<const T*>(data), static_cast<size_t>(size()));
  }
};

// The inputs or outputs of a run; most have one or two.
using TensorViews = absl::InlinedVector<TensorView, 2>;

// A tensor that holds its buffer. Copies share the buffer: write only to a tensor that was not
// shared yet. The buffer is aligned to 64 bytes where Tensor allocated it.
class Tensor {
 public:
  Tensor() = default;
  // Allocates; numbers are zero, strings empty. REQUIRES: a checked shape and a known type.
  Tensor(DataType type, Shape shape);
  // Wraps memory that `owner` keeps alive.
  static Tensor Borrow(DataType type, Shape shape, const void* data,
                       std::shared_ptr<const void> owner);
  template <typename T>
  static Tensor From(Shape shape, absl::Span<const T> values) {
    Tensor t(DataTypeOf<T>(), std::move(shape));
    BATON_CHECK(static_cast<size_t>(t.size()) == values.size());
    std::copy(values.begin(), values.end(), t.mutable_values<T>().begin());
    return t;
  }
  template <typename T>
  static Tensor From(Shape shape, std::initializer_list<T> values) {
    return From<T>(std::move(shape), absl::Span<const T>(values.begin(), values.size()));
  }
  // A copy of what `view` shows.
  static Tensor Copy(const TensorView& view);

  DataType type() const { return type_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return NumElements(shape_); }
  size_t bytes() const { return static_cast<size_t>(size()) * DataTypeSize(type_); }
  const void* data() const { return data_; }
  void* mutable_data() { return const_cast<void*>(data_); }
  bool empty() const { return type_ == DataType::kUndefined; }

  template <typename T>
  absl::Span<const T> values() const {
    return view().values<T>();
  }
  template <typename T>
  absl::Span<T> mutable_values() {
    BATON_CHECK(type_ == DataTypeOf<T>());
    return absl::Span<T>(static_cast<T*>(mutable_data()), static_cast<size_t>(size()));
  }
  TensorView view() const { return {type_, shape_, data_}; }
  // The same elements under another shape. REQUIRES: the same number of elements.
  Tensor Reshaped(Shape shape) const;

 private:
  DataType type_ = DataType::kUndefined;
  Shape shape_;
  const void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

// How far `actual` is from `expected` (same type and shape).
struct TensorDifference {
  bool within = true;      // |actual-expected| <= atol + rtol*|expected| everywhere
  double max_abs = 0;      // infinity where one is NaN or infinite and the other not
  double max_rel = 0;      // |actual-expected| / |expected|, where expected is not 0
  int64_t first_bad = -1;  // flat index of the first element out of tolerance
};
// kInvalidArgument if types or shapes differ, saying both.
absl::StatusOr<TensorDifference> Compare(const TensorView& actual, const TensorView& expected,
                                         double rtol, double atol);

}  // namespace baton
