#include "client/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace baton {
namespace {

TEST(LatencyHistogram, IsZeroWhileEmpty) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0);
  EXPECT_EQ(histogram.PercentileNs(99), 0);
  EXPECT_EQ(histogram.MinNs(), 0);
  EXPECT_EQ(histogram.MaxNs(), 0);
  EXPECT_EQ(histogram.MeanNs(), 0);
}

TEST(LatencyHistogram, IsExactForSmallValues) {
  LatencyHistogram histogram;
  for (int v = 1; v <= 200; ++v) histogram.Record(v);
  EXPECT_EQ(histogram.PercentileNs(0), 1);
  EXPECT_EQ(histogram.PercentileNs(50), 100);
  EXPECT_EQ(histogram.PercentileNs(90), 180);
  EXPECT_EQ(histogram.PercentileNs(100), 200);
}

TEST(LatencyHistogram, CountsNegativeAsZeroAndHoldsTheLargestValue) {
  LatencyHistogram histogram;
  histogram.Record(-5);
  histogram.Record(INT64_MAX);
  EXPECT_EQ(histogram.PercentileNs(50), 0);
  EXPECT_EQ(histogram.PercentileNs(100), INT64_MAX);
}

TEST(LatencyHistogram, AgreesWithSortedValues) {
  std::mt19937_64 random(7);
  for (const double spread : {0.1, 1.0, 4.0}) {
    std::lognormal_distribution<double> distribution(std::log(500'000), spread);
    LatencyHistogram histogram;
    std::vector<int64_t> values;
    for (int i = 0; i < 20'000; ++i) {
      values.push_back(static_cast<int64_t>(distribution(random)));
      histogram.Record(values.back());
    }
    std::sort(values.begin(), values.end());
    double sum = 0;
    for (const int64_t v : values) sum += static_cast<double>(v);
    EXPECT_NEAR(histogram.MeanNs(), sum / 20'000, sum / 20'000 * 1e-9);
    EXPECT_EQ(histogram.MinNs(), values.front());
    EXPECT_EQ(histogram.MaxNs(), values.back());
    for (const double percent : {0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
      const auto rank = std::max<int64_t>(1, std::ceil(percent / 100 * 20'000));
      const int64_t exact = values[static_cast<size_t>(rank - 1)];
      const int64_t found = histogram.PercentileNs(percent);
      EXPECT_GE(found, exact) << percent;
      EXPECT_LE(static_cast<double>(found), static_cast<double>(exact) * (1 + 1.0 / 128))
          << percent;
    }
  }
}

TEST(LatencyHistogram, MergeGivesWhatOneWouldHaveGiven) {
  LatencyHistogram a, b, both;
  for (int64_t i = 1; i < 2000; ++i) {
    (i % 3 == 0 ? a : b).Record(i * i * 37);
    both.Record(i * i * 37);
  }
  a.Merge(b);
  EXPECT_EQ(a.count(), both.count());
  EXPECT_EQ(a.MinNs(), both.MinNs());
  EXPECT_EQ(a.MaxNs(), both.MaxNs());
  for (const double percent : {10.0, 50.0, 99.0}) {
    EXPECT_EQ(a.PercentileNs(percent), both.PercentileNs(percent));
  }
  a.Merge(LatencyHistogram());
  EXPECT_EQ(a.MinNs(), both.MinNs());
}

}  // namespace
}  // namespace baton
