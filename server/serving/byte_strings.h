// Strings as Open Inference sends them in raw bytes, and as Triton's files of warm-up data hold
// them: each a 4-byte length, little endian, and its bytes.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor.h"

namespace baton::serving {

// The tensor of strings that `raw` holds. kInvalidArgument: says what is missing or left over.
// REQUIRES: a checked shape.
absl::StatusOr<Tensor> ParseByteStrings(absl::string_view raw, const Shape& shape);

}  // namespace baton::serving
