// DrainRate: how fast a queue empties, in seconds of real time for a row: whatever the number of
// workers that take from it, and whatever else they are at. Not thread-safe.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"

namespace baton::serving {

class DrainRate {
 public:
  // A batch of `rows` has been taken. `more`: others were ready to be taken, too, so that the time
  // until the next one is taken tells how fast the queue empties.
  void NoteTaken(int64_t rows, bool more, SteadyTime now);

  // Seconds for a row. `modelled`: where nothing was measured; what was measured long ago counts
  // little against it.
  double SecondsPerRow(double modelled, SteadyTime now) const;

 private:
  double measured_ = 0;  // 0: never
  SteadyTime measured_at_{};
  // The last batch, if more was ready then; else 0 rows.
  int64_t rows_ = 0;
  SteadyTime taken_{};
};

}  // namespace baton::serving
