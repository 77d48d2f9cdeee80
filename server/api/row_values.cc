#include "server/api/row_values.h"

#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "engine/tensor_types.h"
#include "server/api/element_copy.h"
#include "server/api/tfs_codec.h"

namespace baton::api {
namespace {

using tensorflow::Feature;

template <typename T>
constexpr bool kIsFloat = std::is_floating_point_v<T> || kIsHalf<T>;

// One element; false if `To` cannot hold the value.
template <typename To, typename From>
bool PutElement(const From& from, To& to) {
  if constexpr (kIsFloat<To>) {
    to = ConvertElement<To>(from);
    return true;
  } else if constexpr (std::is_same_v<To, bool>) {
    to = from != 0;
    return from == 0 || from == 1;
  } else {
    return CopyElement(from, to);
  }
}

// `values` are one for each of `count` elements or, if `fills`, one for all.
template <typename To, typename Values>
absl::Status PutValues(const Values& values, bool fills, Tensor& to, int64_t at, int64_t count) {
  const auto sent = static_cast<int64_t>(values.size());
  if (sent != count && !(fills && sent == 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", sent, sent == 1 ? " value" : " values", ", expected ", count));
  }
  To* out = static_cast<To*>(to.mutable_data()) + at;
  int64_t i = 0;
  for (const auto& value : values) {
    if constexpr (std::is_same_v<To, std::string>) {
      out[i] = value;
    } else if (!PutElement(value, out[i])) {
      return absl::InvalidArgumentError(absl::StrCat("has the value ", value, " at ", i, ", which ",
                                                     TfTypeName(to.type()), " cannot hold"));
    }
    ++i;
  }
  for (; i < count; ++i) out[i] = out[0];
  return absl::OkStatus();
}

// Numbers into a tensor of numbers; `From` is int64_t, float or double.
template <typename From, typename Values>
absl::Status PutNumbers(const Values& values, bool fills, Tensor& to, int64_t at, int64_t count,
                        absl::string_view found) {
  const auto mismatch = [&](absl::string_view expected) {
    return absl::InvalidArgumentError(absl::StrCat("is ", found, ", expected ", expected));
  };
  if (to.type() == DataType::kString) return mismatch("a bytes_list");
  return DispatchType(to.type(), AllFixed(), [&](auto tag) -> absl::Status {
    using To = typename decltype(tag)::type;
    if constexpr (kIsFloat<To> || std::is_integral_v<From>) {
      return PutValues<To>(values, fills, to, at, count);
    } else {
      return mismatch("an int64_list");
    }
  });
}

// One bytes value that holds the elements as they are.
absl::Status PutRaw(const tensorflow::BytesList& list, Tensor& to, int64_t at, int64_t count) {
  const size_t element = DataTypeSize(to.type());
  const size_t needed = static_cast<size_t>(count) * element;
  if (list.value_size() != 1 || list.value(0).size() != needed) {
    const std::string sent = list.value_size() == 1
                                 ? absl::StrCat("one value of ", list.value(0).size(), " bytes")
                                 : absl::StrCat(list.value_size(), " values");
    return absl::InvalidArgumentError(absl::StrCat("is a bytes_list of ", sent,
                                                   ", expected numbers, or one value of the ",
                                                   needed, " bytes of ", count, " raw elements"));
  }
  const std::string& bytes = list.value(0);
  if (to.type() == DataType::kBool) {
    for (const char byte : bytes) {
      if (byte == 0 || byte == 1) continue;
      return absl::InvalidArgumentError("has a byte that is neither 0 nor 1, which DT_BOOL needs");
    }
  }
  std::memcpy(static_cast<char*>(to.mutable_data()) + static_cast<size_t>(at) * element,
              bytes.data(), bytes.size());
  return absl::OkStatus();
}

}  // namespace

absl::Status PutFeature(const Feature& feature, Tensor& to, int64_t at, int64_t count) {
  switch (feature.kind_case()) {
    case Feature::kFloatList:
      return PutNumbers<float>(feature.float_list().value(), false, to, at, count, "a float_list");
    case Feature::kInt64List:
      return PutNumbers<int64_t>(feature.int64_list().value(), false, to, at, count,
                                 "an int64_list");
    case Feature::kBytesList:
      if (to.type() != DataType::kString) return PutRaw(feature.bytes_list(), to, at, count);
      return PutValues<std::string>(feature.bytes_list().value(), false, to, at, count);
    case Feature::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("is empty");
}

absl::Status PutDefault(const repository::DefaultValues& values, Tensor& to, int64_t at,
                        int64_t count) {
  if (const auto* strings = std::get_if<std::vector<std::string>>(&values)) {
    if (to.type() != DataType::kString) {
      return absl::InvalidArgumentError("has a default of strings, expected numbers");
    }
    return PutValues<std::string>(*strings, true, to, at, count);
  }
  if (const auto* whole = std::get_if<std::vector<int64_t>>(&values)) {
    return PutNumbers<int64_t>(*whole, true, to, at, count, "whole numbers");
  }
  return PutNumbers<double>(std::get<std::vector<double>>(values), true, to, at, count,
                            "numbers that are not whole");
}

int64_t FeatureSize(const Feature& feature, DataType type) {
  switch (feature.kind_case()) {
    case Feature::kFloatList:
      return feature.float_list().value_size();
    case Feature::kInt64List:
      return feature.int64_list().value_size();
    case Feature::kBytesList: {
      const tensorflow::BytesList& list = feature.bytes_list();
      if (type == DataType::kString || list.value_size() != 1) return list.value_size();
      return static_cast<int64_t>(list.value(0).size() / DataTypeSize(type));
    }
    case Feature::KIND_NOT_SET:
      break;
  }
  return 0;
}

}  // namespace baton::api
