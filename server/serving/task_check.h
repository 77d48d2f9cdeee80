// The first thing that is asked of a task, whoever runs it.
#pragma once

#include "absl/status/status.h"
#include "server/serving/servable.h"
#include "server/serving/task.h"

namespace baton::serving {

// OK if the rows of `task` are what `servable` allows and its inputs agree on them; types and other
// dimensions are not looked at. kInvalidArgument: names the model, what was sent and what is
// expected.
absl::Status CheckTask(const Task& task, const Servable& servable);

}  // namespace baton::serving
