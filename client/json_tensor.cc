#include "client/json_tensor.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "engine/base/status.h"
#include "engine/tensor_types.h"

namespace baton {
namespace {

using nlohmann::json;

constexpr size_t kMaxRank = 16;

// The shape of nested lists, from the first element of each level.
absl::StatusOr<Shape> NestingOf(const json& value) {
  Shape shape;
  for (const json* level = &value; level->is_array(); level = &level->front()) {
    if (shape.size() == kMaxRank) {
      return absl::InvalidArgumentError(absl::StrCat("lists nested more than ", kMaxRank, " deep"));
    }
    shape.push_back(static_cast<int64_t>(level->size()));
    if (level->empty()) break;
  }
  return shape;
}

template <typename T>
absl::StatusOr<T> Scalar(const json& value, DataType type) {
  const auto wrong = [&] {
    std::string text =
        value.is_array() ? "a list" : value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    return absl::InvalidArgumentError(absl::StrCat(text, " is not of type ", DataTypeName(type)));
  };
  if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) return wrong();
    return value.get<std::string>();
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) return wrong();
    return value.get<bool>();
  } else if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
    if (!value.is_number()) return wrong();
    return T::From(static_cast<float>(value.get<double>()));
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!value.is_number()) return wrong();
    return static_cast<T>(value.get<double>());
  } else {
    if (value.is_number_unsigned()) {
      const auto number = value.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<T>::max())) return wrong();
      return static_cast<T>(number);
    }
    if (!value.is_number_integer()) return wrong();
    const auto number = value.get<int64_t>();  // negative
    if (std::is_unsigned_v<T> || number < static_cast<int64_t>(std::numeric_limits<T>::min())) {
      return wrong();
    }
    return static_cast<T>(number);
  }
}

// Checked before anything of that size is allocated.
absl::Status CheckRegular(const json& value, absl::Span<const int64_t> shape) {
  const bool regular = shape.empty()
                           ? !value.is_array()
                           : value.is_array() && static_cast<int64_t>(value.size()) == shape[0];
  if (!regular) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the lists are ragged: ",
        value.is_array() ? absl::StrCat("a list of ", value.size()) : std::string("a value"),
        " where the first element of the level above has ",
        shape.empty() ? std::string("a value") : absl::StrCat("a list of ", shape[0])));
  }
  if (shape.empty()) return absl::OkStatus();
  for (const json& element : value) RETURN_IF_ERROR(CheckRegular(element, shape.subspan(1)));
  return absl::OkStatus();
}

template <typename T>
absl::Status Fill(const json& value, DataType type, T*& out) {
  if (!value.is_array()) {
    ASSIGN_OR_RETURN(*out++, Scalar<T>(value, type));
    return absl::OkStatus();
  }
  for (const json& element : value) RETURN_IF_ERROR(Fill<T>(element, type, out));
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<Tensor> Make(const json& value, DataType type) {
  ASSIGN_OR_RETURN(const Shape shape, NestingOf(value));
  RETURN_IF_ERROR(CheckRegular(value, shape));
  Tensor tensor(type, shape);
  T* out = tensor.mutable_values<T>().data();
  RETURN_IF_ERROR(Fill<T>(value, type, out));
  return tensor;
}

template <typename T>
json ToJson(const T& value) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, Bfloat16>) {
    return ToJson(value.ToFloat());
  } else if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    if constexpr (std::is_same_v<T, float>) {
      // The double with the fewest digits that reads as this float: 0.1f prints as 0.1.
      char text[32] = {};
      std::to_chars(text, text + sizeof text - 1, value);
      return std::strtod(text, nullptr);
    }
    return value;
  } else {
    return value;
  }
}

template <typename T>
json Nest(const T*& in, absl::Span<const int64_t> shape) {
  if (shape.empty()) return ToJson(*in++);
  json list = json::array();
  for (int64_t i = 0; i < shape[0]; ++i) list.push_back(Nest(in, shape.subspan(1)));
  return list;
}

// What JSON can tell.
using JsonTypes = TypeList<float, double, Float16, Bfloat16, bool, std::string, uint8_t, int8_t,
                           uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t>;

}  // namespace

absl::StatusOr<Tensor> TensorFromJson(const json& value, const TensorInfo& input) {
  const absl::StatusOr<Tensor> tensor =
      DispatchType(input.type, JsonTypes(), [&](auto tag) -> absl::StatusOr<Tensor> {
        return Make<typename decltype(tag)::type>(value, input.type);
      });
  if (!tensor.ok()) {
    return Annotate(tensor.status(),
                    absl::StrCat("input \"", input.name, "\" of ", TypeAndShape(input)));
  }
  return tensor;
}

absl::StatusOr<std::vector<std::pair<std::string, Tensor>>> TensorsFromJson(
    absl::string_view text, const Signature& signature) {
  json parsed;
  try {
    parsed = json::parse(text.begin(), text.end());
  } catch (const json::exception& error) {
    std::string message = error.what();
    if (const size_t end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", message));
  }
  std::vector<std::pair<std::string, Tensor>> tensors;
  if (!parsed.is_object()) {
    ASSIGN_OR_RETURN(const TensorInfo input, FindInput(signature, ""));
    ASSIGN_OR_RETURN(Tensor tensor, TensorFromJson(parsed, input));
    tensors.emplace_back(input.name, std::move(tensor));
    return tensors;
  }
  for (const auto& [name, value] : parsed.items()) {
    if (name.empty()) return absl::InvalidArgumentError("an input with an empty name");
    ASSIGN_OR_RETURN(const TensorInfo input, FindInput(signature, name));
    ASSIGN_OR_RETURN(Tensor tensor, TensorFromJson(value, input));
    tensors.emplace_back(input.name, std::move(tensor));
  }
  return tensors;
}

json TensorToJson(const TensorView& tensor) {
  json value;
  DispatchType(tensor.type, JsonTypes(), [&](auto tag) {
    const auto* in = static_cast<const typename decltype(tag)::type*>(tensor.data);
    value = Nest(in, tensor.shape);
    return absl::OkStatus();
  }).IgnoreError();  // what JSON cannot tell is null
  return value;
}

}  // namespace baton
