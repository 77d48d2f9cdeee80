// Running one batch: gather rows, run plans, hand every task its rows of the outputs.
#pragma once

#include "absl/functional/function_ref.h"
#include "engine/base/clock.h"
#include "server/serving/batch_queue.h"
#include "server/serving/executor.h"

namespace baton::serving {

struct BatchRun {
  absl::Status status;
  double assemble_seconds = 0;
  double compute_seconds = 0;
};

// Runs the tasks of `batch` on `executor` and calls `done` of each with `times` filled in; not
// those of the dropped. A single task's inputs are read where they are. Where no plan has exactly
// the batch's rows, it runs in pieces whose outputs are put together. If a batch of several tasks
// fails, each runs again alone, so that one task's bad data is no other's error.
// `parallel`: plans of all cores are used where there are some. `record` is called before each
// `done`, since a task's bytes and its metrics may be gone after that.
// Returns what the batch as a whole took; its status is that of the first run.
BatchRun RunBatch(Batch& batch, bool parallel, Executor& executor, const Clock& clock,
                  absl::FunctionRef<void(const PhaseTimes&)> record);

}  // namespace baton::serving
