// Running a decoded request on its servable and handing out its answer: the part that all calls
// for compute have in common, whichever protocol they came by.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/clock.h"
#include "server/api/input_check.h"
#include "server/serving/metrics.h"
#include "server/serving/model_server.h"
#include "server/serving/servable.h"

namespace baton::api {

// What a request brings along besides its message.
struct CallTerms {
  serving::Method method = serving::Method::kPredict;  // what it is counted as
  SteadyTime arrived = std::chrono::steady_clock::now();
  SteadyTime deadline = kNoDeadline;
  int priority = 0;                              // as serving::Task::priority
  std::shared_ptr<std::atomic<bool>> cancelled;  // may be null
  serving::InlineLane* lane = nullptr;           // the calling thread's own, or null
  size_t max_tensor_bytes = size_t{64} << 20;    // bounds what a small message may blow up to
  Duration timeout{0};                           // as serving::Task::timeout
};

// Takes the outcome of a request: called exactly once, on any thread, perhaps inside the function
// that was given it. On OK the response is complete. Must not block.
using Done = std::function<void(const absl::Status&)>;

// Counts a request that ended before it reached a version. The name counts only where there is
// such a model.
void RecordUnserved(serving::ModelServer& server, const std::string& model, serving::Method method,
                    const absl::Status& status);

// The version to run on, as Registry::Acquire; an error has been counted.
absl::StatusOr<std::shared_ptr<serving::Servable>> AcquireCounted(
    serving::ModelServer& server, const std::string& model, const serving::VersionChoice& choice,
    serving::Method method);

// Counts a request that `servable` has answered with `status`.
void RecordAnswer(serving::Servable& servable, const CallTerms& terms, const absl::Status& status);

// Submits `inputs`. If they were queued, calls `finish(status, outputs, times)` once they have run,
// as serving::Task::done; else returns why not, and `finish` is not called. What `inputs` borrows
// from outlives that.
template <typename Finish>
absl::Status Submit(const std::shared_ptr<serving::Servable>& servable, const CallTerms& terms,
                    DecodedInputs inputs, Finish finish) {
  struct State {
    std::shared_ptr<serving::Servable> servable;  // held until `finish` has returned
    std::vector<Tensor> copies;
    Finish finish;
  };
  auto* state = new State{servable, std::move(inputs.copies), std::move(finish)};
  serving::Task task;
  task.inputs = std::move(inputs.views);
  task.rows = inputs.rows;
  task.deadline = terms.deadline;
  task.timeout = terms.timeout;
  task.priority = terms.priority;
  task.cancelled = terms.cancelled;
  task.lane = terms.lane;
  // A pointer alone, so that the function needs no memory of its own.
  task.done = [state](const absl::Status& status, absl::Span<const TensorView> outputs,
                      const serving::PhaseTimes& times) {
    const std::unique_ptr<State> owned(state);
    owned->finish(status, outputs, times);
  };
  absl::Status queued = servable->Submit(std::move(task));
  if (!queued.ok()) delete state;
  return queued;
}

// Runs `inputs`, makes the response with `encode(servable, outputs)`, which returns a Status,
// counts the request and calls `done`.
template <typename Encode>
void Run(const std::shared_ptr<serving::Servable>& servable, const CallTerms& terms,
         DecodedInputs inputs, Encode encode, const Done& done) {
  auto finish = [&by = *servable, method = terms.method, arrived = terms.arrived,
                 encode = std::move(encode),
                 done](const absl::Status& status, absl::Span<const TensorView> outputs,
                       const serving::PhaseTimes& times) {
    const absl::Status outcome = status.ok() ? encode(by, outputs) : status;
    by.metrics().RecordRequest(method, outcome.code(),
                               Seconds(std::chrono::steady_clock::now() - arrived));
    done(outcome);
    if (times.computed == SteadyTime{}) return;
    by.metrics().RecordReply(Seconds(std::chrono::steady_clock::now() - times.computed));
  };
  const absl::Status queued = Submit(servable, terms, std::move(inputs), std::move(finish));
  if (queued.ok()) return;
  RecordAnswer(*servable, terms, queued);
  done(queued);
}

}  // namespace baton::api
