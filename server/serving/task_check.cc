#include "server/serving/task_check.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace baton::serving {

absl::Status CheckTask(const Task& task, const Servable& servable) {
  const auto error = [&](const auto&... text) {
    return absl::InvalidArgumentError(absl::StrCat("model \"", servable.model(), "\": ", text...));
  };
  const int64_t most = servable.max_batch_size();  // 0: no batch dimension
  const auto& inputs = servable.signature().inputs;
  if (task.rows < 1 || (most == 0 && task.rows != 1)) {
    return error("a request of ", task.rows, " rows: send at least one row");
  }
  if (most > 0 && task.rows > most) {
    return error("the request has ", task.rows, " rows, at most ", most,
                 " are allowed (max_batch_size); send fewer rows in one request");
  }
  if (task.inputs.size() != inputs.size()) {
    return error(task.inputs.size(), " inputs were sent, it has ", inputs.size());
  }
  for (size_t i = 0; i < inputs.size() && most > 0; ++i) {
    const Shape& shape = task.inputs[i].shape;
    if (shape.empty() || shape[0] != task.rows) {
      return error("input \"", inputs[i].name, "\" has shape ", ShapeToString(shape),
                   ", the first dimension must be ", task.rows, " in all inputs of the request");
    }
  }
  return absl::OkStatus();
}

}  // namespace baton::serving
