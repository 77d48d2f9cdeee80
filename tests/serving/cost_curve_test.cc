#include "server/serving/cost_curve.h"

#include <gtest/gtest.h>

namespace baton::serving {
namespace {

TEST(CostCurve, KnowsNothingAtFirst) { EXPECT_EQ(CostCurve().Estimate(7), 0); }

TEST(CostCurve, InterpolatesBetweenFiguresAndIsProportionalBeyond) {
  CostCurve curve;
  curve.Set(2, 10);
  curve.Set(8, 16);
  EXPECT_DOUBLE_EQ(curve.Estimate(1), 10);
  EXPECT_DOUBLE_EQ(curve.Estimate(2), 10);
  EXPECT_DOUBLE_EQ(curve.Estimate(5), 13);
  EXPECT_DOUBLE_EQ(curve.Estimate(8), 16);
  EXPECT_DOUBLE_EQ(curve.Estimate(32), 64);
}

TEST(CostCurve, IgnoresSizesThatAreNoPowerOfTwo) {
  CostCurve curve;
  curve.Set(3, 10);
  curve.Observe(0, 10);
  EXPECT_EQ(curve.Estimate(3), 0);
}

TEST(CostCurve, TimeThatAnotherProcessHadIsNoCostOfTheModel) {
  CostCurve curve;
  curve.Set(1, 1);
  curve.Observe(1, 1000);
  EXPECT_NEAR(curve.Estimate(1), 1.1, 1e-9);
}

TEST(CostCurve, FollowsWhatItObserves) {
  CostCurve curve;
  curve.Observe(4, 1);
  EXPECT_DOUBLE_EQ(curve.Estimate(4), 1);
  for (int i = 0; i < 200; ++i) curve.Observe(4, 3);
  EXPECT_NEAR(curve.Estimate(4), 3, 1e-6);
}

}  // namespace
}  // namespace baton::serving
