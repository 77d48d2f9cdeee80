#include "server/serving/cost_curve.h"

#include <algorithm>
#include <bit>

namespace baton::serving {
namespace {

constexpr double kNewWeight = 0.1;  // of an observation, against what was known
// An observation counts as at most so many times what was known: time during which another process
// had the core is no cost of the model.
constexpr double kMostAtOnce = 2;

}  // namespace

void CostCurve::Set(int64_t rows, double seconds) {
  const auto n = static_cast<uint64_t>(rows);
  if (rows < 1 || !std::has_single_bit(n)) return;
  const int i = std::countr_zero(n);
  if (i < kPoints) seconds_[i].store(seconds, std::memory_order_relaxed);
}

void CostCurve::Observe(int64_t rows, double seconds) {
  const auto n = static_cast<uint64_t>(rows);
  if (rows < 1 || !std::has_single_bit(n)) return;
  const int i = std::countr_zero(n);
  if (i >= kPoints) return;
  // Two workers may overwrite each other's observation; one lost observation does no harm.
  const double known = seconds_[i].load(std::memory_order_relaxed);
  const double counted = std::min(seconds, kMostAtOnce * known);
  const double next = known > 0 ? known + kNewWeight * (counted - known) : seconds;
  seconds_[i].store(next, std::memory_order_relaxed);
}

double CostCurve::Estimate(int64_t rows) const {
  double low_rows = 0, low = 0;
  for (int i = 0; i < kPoints; ++i) {
    const double seconds = seconds_[i].load(std::memory_order_relaxed);
    if (seconds <= 0) continue;
    const auto at = static_cast<double>(int64_t{1} << i);
    const auto wanted = static_cast<double>(rows);
    if (at == wanted) return seconds;
    if (at > wanted) {
      if (low_rows == 0) return seconds;  // fewer rows than ever measured: at most this
      return low + (seconds - low) * (wanted - low_rows) / (at - low_rows);
    }
    low_rows = at;
    low = seconds;
  }
  return low_rows == 0 ? 0 : low * static_cast<double>(rows) / low_rows;
}

}  // namespace baton::serving
