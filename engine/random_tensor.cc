#include "engine/random_tensor.h"

#include <type_traits>

#include "engine/tensor_types.h"

namespace baton {
namespace {

template <typename T>
T Draw(std::mt19937& random) {
  if constexpr (std::is_same_v<T, bool>) {
    return (random() >> 31) != 0;
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(random() >> (sizeof(T) <= 2 ? 32 - 8 * sizeof(T) : 31));
  } else {
    // Not std::uniform_real_distribution: its values differ between standard libraries.
    return ConvertElement<T>(static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f);
  }
}

}  // namespace

void FillRandom(Tensor& tensor, std::mt19937& random) {
  const auto fill = [&]<typename T>(TypeTag<T>) {
    for (T& value : tensor.mutable_values<T>()) value = Draw<T>(random);
    return absl::OkStatus();
  };
  DispatchType(tensor.type(), AllFixed(), fill).IgnoreError();  // the others stay
}

}  // namespace baton
