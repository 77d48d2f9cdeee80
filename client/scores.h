// The classes with the highest scores, where a reply looks like a classifier's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/tensor_io.h"

namespace baton {

struct Score {
  int64_t label = 0;  // the index in the vector of scores
  double score = 0;
};

// For each row of the one output that is a vector of at least two floating-point scores, [n], or
// rows of them, [rows, n]: its `count` highest (fewer if it has fewer), highest first; of equal
// ones the lower label, NaN last. Empty if no output or more than one looks so.
std::vector<std::vector<Score>> TopScores(absl::Span<const NamedTensor> outputs, size_t count);

}  // namespace baton
