#include "client/random_inputs.h"

#include <random>

#include "engine/base/status.h"

namespace baton {
namespace {

// No message holds more.
constexpr int64_t kMaxBytes = int64_t{2} << 30;

absl::StatusOr<Shape> ShapeOf(const TensorInfo& input, int64_t rows,
                              const std::map<std::string, Shape>& shapes) {
  Shape shape = input.shape;
  if (const auto given = shapes.find(input.name); given != shapes.end()) {
    bool fits = given->second.size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) {
      fits = shape[i] < 0 || shape[i] == given->second[i];
    }
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat("shape ", ShapeToString(given->second),
                                                     " for input \"", input.name, "\", which is ",
                                                     TypeAndShape(input)));
    }
    return given->second;
  }
  if (!shape.empty() && shape[0] < 0) shape[0] = rows;
  for (const int64_t dim : shape) {
    if (dim >= 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("input \"", input.name, "\" is ", TypeAndShape(input),
                     "; give the sizes to send: --shape ", input.name, "=N,N,..."));
  }
  return shape;
}

template <typename T, typename Make>
Tensor Fill(DataType type, const Shape& shape, const Make& make) {
  Tensor tensor(type, shape);
  for (T& value : tensor.mutable_values<T>()) value = static_cast<T>(make());
  return tensor;
}

}  // namespace

absl::StatusOr<std::vector<NamedTensor>> RandomInputs(const Signature& signature, int64_t rows,
                                                      const std::map<std::string, Shape>& shapes,
                                                      uint64_t seed) {
  for (const auto& [name, shape] : shapes) RETURN_IF_ERROR(FindInput(signature, name).status());
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> unit(0, 1);
  const auto real = [&] { return unit(random); };
  const auto bit = [&] { return random() & 1; };
  std::vector<NamedTensor> inputs;
  for (const TensorInfo& input : signature.inputs) {
    ASSIGN_OR_RETURN(const Shape shape, ShapeOf(input, rows, shapes));
    ASSIGN_OR_RETURN(const int64_t elements, CheckedNumElements(shape));
    if (elements > kMaxBytes) {
      return absl::InvalidArgumentError(absl::StrCat("input \"", input.name, "\" of ",
                                                     TypeAndShape(input.type, shape),
                                                     " is larger than a message can be"));
    }
    Tensor tensor;
    switch (input.type) {
      case DataType::kFloat:
        tensor = Fill<float>(input.type, shape, real);
        break;
      case DataType::kDouble:
        tensor = Fill<double>(input.type, shape, real);
        break;
      case DataType::kFloat16:
        tensor = Fill<Float16>(input.type, shape, [&] { return Float16::From(real()); });
        break;
      case DataType::kBfloat16:
        tensor = Fill<Bfloat16>(input.type, shape, [&] { return Bfloat16::From(real()); });
        break;
      case DataType::kBool:
        tensor = Fill<bool>(input.type, shape, bit);
        break;
      case DataType::kInt8:
        tensor = Fill<int8_t>(input.type, shape, bit);
        break;
      case DataType::kUint8:
        tensor = Fill<uint8_t>(input.type, shape, bit);
        break;
      case DataType::kInt16:
        tensor = Fill<int16_t>(input.type, shape, bit);
        break;
      case DataType::kUint16:
        tensor = Fill<uint16_t>(input.type, shape, bit);
        break;
      case DataType::kInt32:
        tensor = Fill<int32_t>(input.type, shape, bit);
        break;
      case DataType::kUint32:
        tensor = Fill<uint32_t>(input.type, shape, bit);
        break;
      case DataType::kInt64:
        tensor = Fill<int64_t>(input.type, shape, bit);
        break;
      case DataType::kUint64:
        tensor = Fill<uint64_t>(input.type, shape, bit);
        break;
      case DataType::kString:
        tensor = Fill<std::string>(input.type, shape, [&] {
          std::string letters(8, 'a');
          for (char& c : letters) c = static_cast<char>('a' + random() % 26);
          return letters;
        });
        break;
      case DataType::kUndefined:
        return absl::InvalidArgumentError(
            absl::StrCat("input \"", input.name, "\" has a type that is not known here"));
    }
    inputs.push_back({input.name, std::move(tensor)});
  }
  return inputs;
}

}  // namespace baton
