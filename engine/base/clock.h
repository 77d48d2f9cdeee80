// Clock: the one source of time for code whose tests must drive time step by step. Steady
// (monotonic) time; wall-clock time is only for logs and manifests.
#pragma once

#include <chrono>

namespace baton {

using SteadyTime = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime Now() const = 0;
};

class RealClock final : public Clock {
 public:
  SteadyTime Now() const override { return std::chrono::steady_clock::now(); }
  static RealClock& Get() {
    static RealClock clock;
    return clock;
  }
};

inline constexpr SteadyTime kNoDeadline = SteadyTime::max();

inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace baton
