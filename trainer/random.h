// Random: numbers that are the same for the same seed on every platform (the standard library's
// distributions are not). Not thread-safe; not for secrets.
#pragma once

#include <cstdint>
#include <random>
#include <utility>

#include "absl/types/span.h"

namespace baton::trainer {

class Random {
 public:
  // Different `stream`s of one seed give unrelated numbers.
  explicit Random(uint64_t seed, uint64_t stream = 0)
      : engine_(seed * 0x9E3779B97F4A7C15u + stream + 1) {}

  // Uniform in [0, 1).
  double Uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  // Uniform in [-limit, limit).
  double Symmetric(double limit) { return (2 * Uniform() - 1) * limit; }
  // Uniform in [0, bound). REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>(Uniform() * static_cast<double>(bound));
  }

  template <typename T>
  void Shuffle(absl::Span<T> values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace baton::trainer
