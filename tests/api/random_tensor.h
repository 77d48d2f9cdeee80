// Tensors of every type with seeded random elements, and an exact comparison.
#pragma once

#include <cstring>
#include <random>
#include <string>

#include "engine/tensor.h"

namespace baton::testing {

inline constexpr DataType kAllTypes[] = {
    DataType::kFloat, DataType::kDouble, DataType::kInt8,    DataType::kInt16,    DataType::kInt32,
    DataType::kInt64, DataType::kUint8,  DataType::kUint16,  DataType::kUint32,   DataType::kUint64,
    DataType::kBool,  DataType::kString, DataType::kFloat16, DataType::kBfloat16,
};

// Any bit pattern but for bools; strings of 0 to 40 bytes of any value.
inline Tensor RandomTensor(DataType type, Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  Tensor tensor(type, std::move(shape));
  if (type == DataType::kString) {
    for (std::string& element : tensor.mutable_values<std::string>()) {
      element.resize(random() % 41);
      for (char& c : element) c = static_cast<char>(random());
    }
    return tensor;
  }
  auto* bytes = static_cast<unsigned char*>(tensor.mutable_data());
  for (size_t i = 0; i < tensor.bytes(); ++i) {
    bytes[i] = static_cast<unsigned char>(type == DataType::kBool ? random() % 2 : random());
  }
  return tensor;
}

inline bool SameBits(const TensorView& a, const TensorView& b) {
  if (a.type != b.type || a.shape != b.shape) return false;
  if (a.type == DataType::kString) return a.values<std::string>() == b.values<std::string>();
  return std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace baton::testing
