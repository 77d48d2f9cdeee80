// Running one batch: gather rows, run plans, hand every task its rows of the outputs.
#pragma once

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "server/serving/batch_queue.h"
#include "server/serving/executor.h"
#include "server/serving/padding.h"

namespace baton::serving {

struct BatchRun {
  absl::Status status;
  double assemble_seconds = 0;
  double compute_seconds = 0;
  double output_seconds = 0;  // calling `done` of all tasks
};

// Told of what is run.
class BatchRecorder {
 public:
  // A batch has run without an error; none of its tasks is done yet.
  virtual void RecordExecution(int64_t rows, const BatchRun& run) = 0;
  // A task has run. Before its `done`, since its bytes and metrics may be gone after that.
  virtual void RecordTask(const absl::Status& status, const PhaseTimes& times) = 0;

 protected:
  ~BatchRecorder() = default;
};

// Runs the tasks of `batch` on `executor` and calls `done` of each with `times` filled in; not
// those of the dropped. A single task's inputs are read where they are. Where no plan has exactly
// the batch's rows, it runs in pieces whose outputs are put together. If a batch of several tasks
// fails, each runs again alone, so that one task's bad data is no other's error.
// `parallel`: plans of all cores are used where there are some.
// `padding`: null if all inputs have the shapes of the plans. Else those that are shorter are
// padded as they are gathered, and the outputs of their tasks are cut back. Returns what the batch
// as a whole took; its status is that of the first run.
BatchRun RunBatch(Batch& batch, bool parallel, Executor& executor, const Clock& clock,
                  BatchRecorder& recorder, const Padding* padding = nullptr);

}  // namespace baton::serving
