// Arrivals: when an open-loop load sends, independent of how fast the server answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

#include "engine/base/clock.h"

namespace baton {

enum class ArrivalKind { kConstant, kPoisson };

class Arrivals {
 public:
  // `rate` per second. The k-th constant arrival is at (k + phase) / rate, so that streams of
  // different phase interleave and rounding never adds up. REQUIRES: rate > 0, 0 <= phase < 1.
  Arrivals(ArrivalKind kind, double rate, double phase, uint64_t seed)
      : kind_(kind), rate_(rate), phase_(phase), random_(seed), gap_(rate) {}

  // The next arrival, as the time since the start; never less than the one before.
  Duration Next() {
    if (kind_ == ArrivalKind::kConstant) {
      seconds_ = (static_cast<double>(count_++) + phase_) / rate_;
    } else {
      seconds_ += gap_(random_);
    }
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds_));
  }

 private:
  const ArrivalKind kind_;
  const double rate_;
  const double phase_;
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_;
  int64_t count_ = 0;
  double seconds_ = 0;
};

}  // namespace baton
