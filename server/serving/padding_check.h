// Whether a model takes padded inputs: one that masks, or that does not mix the positions of a
// sequence, answers the same; one that takes a mean over all of them does not.
#pragma once

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "engine/golden.h"
#include "engine/model.h"
#include "server/serving/executor.h"
#include "server/serving/padding.h"
#include "server/serving/plan_set.h"

namespace baton::serving {

// OK if `model` gives padded inputs the answers that it gives them as they are, within `tolerance`:
// tried at two lengths, on the first of `samples`, else on a row that `make_inputs` makes up.
// kFailedPrecondition: what differs, or why it could not be tried.
absl::Status CheckPadding(const engine::Model& model, const Padding& padding,
                          const std::vector<engine::GoldenSample>& samples,
                          absl::FunctionRef<std::vector<Tensor>(const ShapeKey&)> make_inputs,
                          const engine::Tolerance& tolerance, Executor& executor);

}  // namespace baton::serving
