#include "client/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/base/check.h"

namespace baton {
namespace {

// Values below 2 * kSteps have a bucket each; above, every power of two is cut into kSteps buckets.
constexpr int kBits = 7;
constexpr int64_t kSteps = int64_t{1} << kBits;
constexpr size_t kBuckets = (64 - kBits) * kSteps;

size_t BucketOf(int64_t value) {
  const auto v = static_cast<uint64_t>(value);
  const int shift = std::max(0, static_cast<int>(std::bit_width(v)) - (kBits + 1));
  return static_cast<size_t>(shift) * kSteps + (v >> shift);
}

// The largest value that falls into bucket `i`.
int64_t BucketEnd(size_t i) {
  if (i < 2 * kSteps) return static_cast<int64_t>(i);
  const size_t shift = i / kSteps - 1;
  const uint64_t mantissa = i - shift * kSteps;
  return static_cast<int64_t>(((mantissa + 1) << shift) - 1);
}

}  // namespace

LatencyHistogram::LatencyHistogram() : buckets_(kBuckets) {}

void LatencyHistogram::Record(int64_t ns) {
  ns = std::max<int64_t>(ns, 0);
  ++buckets_[BucketOf(ns)];
  ++count_;
  sum_ += static_cast<double>(ns);
  min_ = std::min(min_, ns);
  max_ = std::max(max_, ns);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

int64_t LatencyHistogram::PercentileNs(double percent) const {
  BATON_CHECK(percent >= 0 && percent <= 100);
  if (count_ == 0) return 0;
  const auto rank = std::clamp<int64_t>(
      static_cast<int64_t>(std::ceil(percent / 100 * static_cast<double>(count_))), 1, count_);
  int64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::min(BucketEnd(i), max_);
  }
  return max_;
}

}  // namespace baton
