#include "server/serving/drain_rate.h"

#include <cmath>

namespace baton::serving {
namespace {

constexpr double kNewWeight = 0.2;  // of a measurement, against what was known
constexpr double kHalfLife = 1;     // of what was measured, in seconds

}  // namespace

void DrainRate::NoteTaken(int64_t rows, bool more, SteadyTime now) {
  if (rows_ > 0) {
    const double seconds = Seconds(now - taken_) / static_cast<double>(rows_);
    measured_ = measured_ > 0 ? measured_ + kNewWeight * (seconds - measured_) : seconds;
    measured_at_ = now;
  }
  rows_ = more ? rows : 0;
  taken_ = now;
}

double DrainRate::SecondsPerRow(double modelled, SteadyTime now) const {
  if (measured_ <= 0) return modelled;
  const double weight = std::exp2(-Seconds(now - measured_at_) / kHalfLife);
  return modelled + (measured_ - modelled) * weight;
}

}  // namespace baton::serving
