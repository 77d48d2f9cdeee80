// Dispatch from a run-time DataType to a C++ element type.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/tensor.h"

namespace baton {

// The type as a value, to be passed to a generic lambda: f(TypeTag<float>()).
template <typename T>
struct TypeTag {
  using type = T;
};

template <typename... Ts>
struct TypeList {};
using AllIntegers =
    TypeList<int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
using AllNumbers = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                            int64_t, uint64_t>;
using AllFixed = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                          int64_t, uint64_t, bool, Float16, Bfloat16>;
using Floats = TypeList<float, double>;

inline absl::Status UnsupportedType(DataType type) {
  return absl::UnimplementedError(
      absl::StrCat("element type ", DataTypeName(type), " is not supported"));
}

// f(TypeTag<T>()) for the T of the list that `type` is; its result must be made from a Status.
// UnsupportedType if the list has none.
template <typename F, typename T, typename... Ts>
auto DispatchType(DataType type, TypeList<T, Ts...>, const F& f) -> decltype(f(TypeTag<T>())) {
  if (type == DataTypeOf<T>()) return f(TypeTag<T>());
  if constexpr (sizeof...(Ts) > 0) {
    return DispatchType(type, TypeList<Ts...>(), f);
  } else {
    return UnsupportedType(type);
  }
}

template <typename T>
constexpr bool kIsHalf = std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>;

// One element of another type. A float that the integer type does not hold saturates, NaN is 0
// (C++ and ONNX leave both undefined).
template <typename To, typename From>
To ConvertElement(From x) {
  if constexpr (kIsHalf<From>) {
    return ConvertElement<To>(x.ToFloat());
  } else if constexpr (kIsHalf<To>) {
    return To::From(static_cast<float>(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From{0};
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if (std::isnan(x)) return 0;
    if (x <= static_cast<From>(std::numeric_limits<To>::lowest())) {
      return std::numeric_limits<To>::lowest();
    }
    if (x >= static_cast<From>(std::numeric_limits<To>::max()))
      return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace baton
