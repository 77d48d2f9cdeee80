// CostCurve: seconds that one execution of a version takes, by rows; measured at warm-up and kept
// true by what the workers see. Thread-safe; readers never wait.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace baton::serving {

class CostCurve {
 public:
  // Replaces the figure for `rows`. Only powers of two up to 2^19 are kept; others are ignored.
  void Set(int64_t rows, double seconds);
  // As Set, moving a figure that exists only part of the way.
  void Observe(int64_t rows, double seconds);

  // Expected seconds for `rows` in one execution: interpolated between figures, in proportion
  // beyond them; 0 while nothing is known. REQUIRES: rows >= 1.
  double Estimate(int64_t rows) const;

 private:
  static constexpr int kPoints = 20;
  std::array<std::atomic<double>, kPoints> seconds_{};  // [i]: 2^i rows; 0 is not known
};

}  // namespace baton::serving
