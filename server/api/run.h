// Running a decoded request on its servable and answering its call: the part that Predict and
// ModelInfer have in common.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/base/clock.h"
#include "server/api/call_loop.h"
#include "server/api/input_check.h"
#include "server/serving/metrics.h"
#include "server/serving/model_server.h"
#include "server/serving/servable.h"

namespace baton::api {

// What a call keeps while its task is under way.
struct RunState {
  std::shared_ptr<serving::Servable> servable;
  std::vector<Tensor> copies;
  std::vector<size_t> outputs;  // positions in the signature, in the order of the reply
};

// Counts a request that ended before it reached a version. The name counts only where there is
// such a model.
void RecordUnserved(serving::ModelServer& server, const std::string& model, serving::Method method,
                    const absl::Status& status);

// Counts the request and answers it.
template <typename Call>
void Answer(Call& call, serving::Method method, const absl::Status& status) {
  const double seconds = Seconds(std::chrono::steady_clock::now() - call.arrived());
  call.state().servable->metrics().RecordRequest(method, status.code(), seconds);
  call.Finish(status);
}

// Submits `inputs` and answers `call`: with what `encode(call, outputs)` puts into its response, or
// with the error. REQUIRES: call.state() has servable and outputs; runs on the call's loop.
template <typename Call, typename Encode>
void Run(Call& call, serving::Method method, DecodedInputs inputs, SteadyTime deadline,
         int priority, Encode encode) {
  serving::Task task;
  task.inputs = std::move(inputs.views);
  task.rows = inputs.rows;
  task.deadline = deadline;
  task.priority = priority;
  task.cancelled = call.cancelled();
  task.executor = call.loop().executor();
  call.state().copies = std::move(inputs.copies);
  task.done = [&call, method, encode](const absl::Status& status,
                                      absl::Span<const TensorView> outputs,
                                      const serving::PhaseTimes&) {
    const SteadyTime computed = std::chrono::steady_clock::now();
    if (status.ok()) encode(call, outputs);
    // Answered, the call can be gone at any time.
    const std::shared_ptr<serving::Servable> servable = call.state().servable;
    Answer(call, method, status);
    servable->metrics().RecordReply(Seconds(std::chrono::steady_clock::now() - computed));
  };
  // Even if a worker answers at once, the call stays until this loop takes its last event.
  const absl::Status queued = call.state().servable->Submit(std::move(task));
  if (!queued.ok()) Answer(call, method, queued);
}

}  // namespace baton::api
