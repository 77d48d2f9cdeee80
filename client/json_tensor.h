// Tensors from and to JSON: nested lists, as in TensorFlow Serving's REST API.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/signature.h"
#include "engine/tensor.h"

namespace baton {

// `{"name": value, …}`, or one value alone for a model with one input; a value is a number, a
// string, true or false, or nested lists of these. Types come from `signature`: numbers must be
// representable in the input's type. Text of any content is safe to parse. kInvalidArgument says
// where the text or which input is wrong.
absl::StatusOr<std::vector<std::pair<std::string, Tensor>>> TensorsFromJson(
    absl::string_view text, const Signature& signature);

// One value for `input`, with the shape of its nesting.
absl::StatusOr<Tensor> TensorFromJson(const nlohmann::json& value, const TensorInfo& input);

// Nested lists; one value for a scalar. Numbers that JSON has no notation for become the strings
// "NaN", "Infinity" and "-Infinity".
nlohmann::json TensorToJson(const TensorView& tensor);

}  // namespace baton
