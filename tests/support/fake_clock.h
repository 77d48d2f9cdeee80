// FakeClock: time that only moves when a test says so. Thread-safe.
#pragma once

#include <atomic>

#include "engine/base/clock.h"

namespace baton::testing {

class FakeClock final : public Clock {
 public:
  SteadyTime Now() const override { return SteadyTime(Duration(now_.load())); }
  void Advance(Duration d) { now_ += d.count(); }

 private:
  std::atomic<Duration::rep> now_{Duration(std::chrono::hours(1)).count()};
};

}  // namespace baton::testing
