// From the elements of a message to those of a tensor; shared by the codecs.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"
#include "server/api/input_check.h"

namespace baton::api {

// to = from. False if `To` is a narrower integer that cannot hold the value.
template <typename From, typename To>
bool CopyElement(const From& from, To& to) {
  if constexpr (std::is_integral_v<From> && std::is_integral_v<To> && !std::is_same_v<To, bool>) {
    if (!std::in_range<To>(from)) return false;
  }
  to = static_cast<To>(from);
  return true;
}

template <typename T>
std::string PrintElement(const T& value) {
  return absl::StrCat(value);
}

// Makes `view` (type and shape are set) show `bytes`, which are as many as it needs: in place
// where they are aligned for the type, else a copy in `out.copies`. kInvalidArgument for a bool
// that is neither 0 nor 1. REQUIRES: not a string.
absl::Status ViewOfBytes(absl::string_view bytes, size_t index, const InputCheck& check,
                         TensorView& view, DecodedInputs& out);

}  // namespace baton::api
