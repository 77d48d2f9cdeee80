// Which known word somebody meant who wrote another one, for error messages.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace baton {

// The word of `known` with the least edit distance to `word`, or "" if none is within a third of
// its length (at least `least_distance`). Words longer than 200 bytes are not looked at: that
// bounds the work that a hostile one can cause.
std::string NearestWord(absl::string_view word, const std::vector<std::string>& known,
                        size_t least_distance = 3);

}  // namespace baton
