// Random inputs for a model whose signature is all that is known.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/signature.h"
#include "engine/tensor_io.h"

namespace baton {

// A tensor for every input: real numbers uniform in [0, 1), integers 0 or 1 (valid also as indices
// and masks), strings of 8 letters. An input's shape is `shapes`' where given; else a first
// dimension of any size becomes `rows`. The same `seed` gives the same values. kInvalidArgument for
// another dimension of any size, for a shape that the input does not allow, for an unknown name in
// `shapes`, and for an unknown type.
absl::StatusOr<std::vector<NamedTensor>> RandomInputs(const Signature& signature, int64_t rows,
                                                      const std::map<std::string, Shape>& shapes,
                                                      uint64_t seed);

}  // namespace baton
