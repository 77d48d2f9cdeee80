// Task: one request on its way through a batch queue and a worker.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/base/clock.h"
#include "engine/tensor.h"

namespace baton::serving {

// Seconds a request spent in each phase, for metrics and statistics.
struct PhaseTimes {
  double queue = 0;       // Submit to taken by a worker
  double assemble = 0;    // gathering rows of the batch
  double compute = 0;     // the plan
  SteadyTime computed{};  // when that ended; 0 if it did not run
};

class InlineLane;

struct Task {
  // One view for each input in signature order, checked against the signature. The bytes are
  // borrowed and stay valid until `done` has returned.
  TensorViews inputs;
  int64_t rows = 1;  // size of the batch dimension; 1 where the model has none
  SteadyTime deadline = kNoDeadline;
  Duration timeout{0};  // how long it may wait; what happens then is the queue's; 0: as that says
  int priority = 0;     // 0: the model's default; 1 is the highest
  std::shared_ptr<std::atomic<bool>> cancelled;  // may be null; set by the caller at any time
  // May be null. Else the submitting thread's own: a model that costs less than a hop to another
  // thread is queued for it.
  InlineLane* lane = nullptr;

  // Called exactly once if Submit returned OK, on a worker or from the lane. `outputs`: one view
  // for each output in signature order, this task's rows only, valid during the call; empty on
  // error. Errors: kDeadlineExceeded (never executed), kCancelled, kUnavailable (the version closed
  // before it ran), kInvalidArgument (data an operator rejects), kInternal. Must not block.
  std::function<void(const absl::Status& status, absl::Span<const TensorView> outputs,
                     const PhaseTimes& times)>
      done;
};

}  // namespace baton::serving
