// Where the time of a plan goes, step by step.
#pragma once

#include <ostream>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "engine/tensor.h"

namespace baton::model_tool {

// Runs `plan` for about `seconds` and prints a table of its steps and one of its operators, the
// largest share of time first.
absl::Status PrintProfile(const engine::Plan& plan, absl::Span<const TensorView> inputs,
                          double seconds, std::ostream& out);

}  // namespace baton::model_tool
