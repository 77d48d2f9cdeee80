#include "engine/tensor.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace baton {

std::string DataTypeName(DataType type) {
  switch (type) {
    case DataType::kUndefined:
      return "undefined";
    case DataType::kFloat:
      return "float";
    case DataType::kUint8:
      return "uint8";
    case DataType::kInt8:
      return "int8";
    case DataType::kUint16:
      return "uint16";
    case DataType::kInt16:
      return "int16";
    case DataType::kInt32:
      return "int32";
    case DataType::kInt64:
      return "int64";
    case DataType::kString:
      return "string";
    case DataType::kBool:
      return "bool";
    case DataType::kFloat16:
      return "float16";
    case DataType::kDouble:
      return "double";
    case DataType::kUint32:
      return "uint32";
    case DataType::kUint64:
      return "uint64";
    case DataType::kBfloat16:
      return "bfloat16";
  }
  return absl::StrCat("type ", static_cast<int>(type));
}

size_t DataTypeSize(DataType type) {
  switch (type) {
    case DataType::kUint8:
    case DataType::kInt8:
    case DataType::kBool:
      return 1;
    case DataType::kUint16:
    case DataType::kInt16:
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return 2;
    case DataType::kFloat:
    case DataType::kInt32:
    case DataType::kUint32:
      return 4;
    case DataType::kInt64:
    case DataType::kUint64:
    case DataType::kDouble:
      return 8;
    case DataType::kString:
      return sizeof(std::string);
    case DataType::kUndefined:
      break;
  }
  return 0;
}

Float16 Float16::From(float value) {
  const uint32_t x = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (x >> 16) & 0x8000;
  const uint32_t magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return {static_cast<uint16_t>(sign | 0x7e00)};   // NaN
  if (magnitude >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};  // overflow
  if (magnitude < 0x38800000) {                                                // subnormal
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    return {static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(scaled)))};
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13))};
}

float Float16::ToFloat() const {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f, mantissa = bits & 0x3ff;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide = exponent == 31 ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

Bfloat16 Bfloat16::From(float value) {
  const uint32_t x = std::bit_cast<uint32_t>(value);
  if ((x & 0x7fffffff) > 0x7f800000) return {static_cast<uint16_t>((x >> 16) | 0x40)};
  return {static_cast<uint16_t>((x + 0x7fff + ((x >> 16) & 1)) >> 16)};
}

float Bfloat16::ToFloat() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

std::string ShapeToString(absl::Span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ',';
    if (shape[i] < 0) {
      text += '?';
    } else {
      absl::StrAppend(&text, shape[i]);
    }
  }
  return text + "]";
}

absl::StatusOr<int64_t> CheckedNumElements(absl::Span<const int64_t> shape) {
  constexpr int64_t kMax = int64_t{1} << 48;
  int64_t n = 1;
  bool zero = false;
  for (const int64_t d : shape) {
    if (d < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeToString(shape), " has a negative dimension"));
    }
    zero = zero || d == 0;
    if (d > kMax || (d > 0 && n > kMax / d)) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeToString(shape), " has more than 2^48 elements"));
    }
    if (d > 0) n *= d;
  }
  return zero ? 0 : n;
}

Tensor::Tensor(DataType type, Shape shape) : type_(type), shape_(std::move(shape)) {
  BATON_CHECK(DataTypeSize(type) > 0);
  const size_t n = static_cast<size_t>(size());
  if (type == DataType::kString) {
    auto strings = std::make_shared<std::vector<std::string>>(n);
    data_ = strings->data();
    owner_ = std::move(strings);
    return;
  }
  // Large memory from calloc is zero without being written.
  constexpr size_t kAlignment = 64;
  const size_t rounded = (n * DataTypeSize(type) + kAlignment) / kAlignment * kAlignment;
  void* const memory = std::calloc(rounded + kAlignment, 1);
  BATON_CHECK(memory != nullptr);
  void* aligned = memory;
  size_t space = rounded + kAlignment;
  data_ = std::align(kAlignment, rounded, aligned, space);
  owner_ = std::shared_ptr<const void>(data_, [memory](const void*) { std::free(memory); });
}

Tensor Tensor::Borrow(DataType type, Shape shape, const void* data,
                      std::shared_ptr<const void> owner) {
  Tensor t;
  t.type_ = type;
  t.shape_ = std::move(shape);
  t.data_ = data;
  t.owner_ = std::move(owner);
  return t;
}

Tensor Tensor::Copy(const TensorView& view) {
  Tensor t(view.type, view.shape);
  if (view.type == DataType::kString) {
    const auto strings = view.values<std::string>();
    std::copy(strings.begin(), strings.end(), t.mutable_values<std::string>().begin());
  } else if (view.bytes() > 0) {
    std::memcpy(t.mutable_data(), view.data, view.bytes());
  }
  return t;
}

Tensor Tensor::Reshaped(Shape shape) const {
  BATON_CHECK(NumElements(shape) == size());
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

namespace {

template <typename T>
double ToDouble(const T& value) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
    return value.ToFloat();
  } else {
    return static_cast<double>(value);
  }
}

template <typename T>
TensorDifference CompareNumbers(const TensorView& actual, const TensorView& expected, double rtol,
                                double atol) {
  TensorDifference difference;
  const auto a = actual.values<T>();
  const auto e = expected.values<T>();
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = ToDouble(a[i]), y = ToDouble(e[i]);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const bool comparable = std::isfinite(x - y);  // else nothing is near, whatever the tolerance
    const double abs = comparable ? std::abs(x - y) : kInfinity;
    const double rel = comparable ? abs / std::abs(y) : kInfinity;
    difference.max_abs = std::max(difference.max_abs, abs);
    if (y != 0) difference.max_rel = std::max(difference.max_rel, rel);
    if (!comparable || abs > atol + rtol * std::abs(y)) {
      if (difference.within) difference.first_bad = static_cast<int64_t>(i);
      difference.within = false;
    }
  }
  return difference;
}

TensorDifference CompareStrings(const TensorView& actual, const TensorView& expected) {
  TensorDifference difference;
  const auto a = actual.values<std::string>();
  const auto e = expected.values<std::string>();
  for (size_t i = 0; i < a.size() && difference.within; ++i) {
    if (a[i] == e[i]) continue;
    difference = {false, std::numeric_limits<double>::infinity(),
                  std::numeric_limits<double>::infinity(), static_cast<int64_t>(i)};
  }
  return difference;
}

}  // namespace

absl::StatusOr<TensorDifference> Compare(const TensorView& actual, const TensorView& expected,
                                         double rtol, double atol) {
  if (actual.type != expected.type || actual.shape != expected.shape) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", DataTypeName(actual.type), ShapeToString(actual.shape), ", expected ",
                     DataTypeName(expected.type), ShapeToString(expected.shape)));
  }
  switch (actual.type) {
    case DataType::kFloat:
      return CompareNumbers<float>(actual, expected, rtol, atol);
    case DataType::kDouble:
      return CompareNumbers<double>(actual, expected, rtol, atol);
    case DataType::kFloat16:
      return CompareNumbers<Float16>(actual, expected, rtol, atol);
    case DataType::kBfloat16:
      return CompareNumbers<Bfloat16>(actual, expected, rtol, atol);
    case DataType::kUint8:
      return CompareNumbers<uint8_t>(actual, expected, rtol, atol);
    case DataType::kInt8:
      return CompareNumbers<int8_t>(actual, expected, rtol, atol);
    case DataType::kUint16:
      return CompareNumbers<uint16_t>(actual, expected, rtol, atol);
    case DataType::kInt16:
      return CompareNumbers<int16_t>(actual, expected, rtol, atol);
    case DataType::kUint32:
      return CompareNumbers<uint32_t>(actual, expected, rtol, atol);
    case DataType::kInt32:
      return CompareNumbers<int32_t>(actual, expected, rtol, atol);
    case DataType::kUint64:
      return CompareNumbers<uint64_t>(actual, expected, rtol, atol);
    case DataType::kInt64:
      return CompareNumbers<int64_t>(actual, expected, rtol, atol);
    case DataType::kBool:
      return CompareNumbers<bool>(actual, expected, rtol, atol);
    case DataType::kString:
      return CompareStrings(actual, expected);
    case DataType::kUndefined:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tensors of ", DataTypeName(actual.type), " cannot be compared"));
}

}  // namespace baton
