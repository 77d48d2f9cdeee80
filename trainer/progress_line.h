// ProgressLine: shows training on a terminal as one line that is rewritten in place, elsewhere
// (a log) as a line every few seconds; both keep one line for each epoch. Not thread-safe.
#pragma once

#include <ostream>

#include "engine/base/clock.h"
#include "trainer/training.h"

namespace baton::trainer {

class ProgressLine final : public TrainingObserver {
 public:
  // Writes to `out`, which outlives it, as does `clock`.
  ProgressLine(std::ostream& out, bool terminal, const Clock& clock);
  // Ends a line that was left open.
  ~ProgressLine() override;

  void OnBatch(const Progress& progress) override;
  void OnEpoch(const Progress& progress) override;

 private:
  void Print(const Progress& progress, bool last_of_epoch);

  std::ostream& out_;
  const bool terminal_;
  const Clock& clock_;
  SteadyTime epoch_start_;
  SteadyTime last_print_;
  bool line_open_ = false;  // something stands on the terminal's line
};

}  // namespace baton::trainer
