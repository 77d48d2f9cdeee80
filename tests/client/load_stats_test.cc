#include "client/load_stats.h"

#include <gtest/gtest.h>

#include "client/arrivals.h"

namespace baton {
namespace {

TEST(LoadStats, MergeAddsEverything) {
  LoadStats a, b;
  a.AddReply(1, 100, 0.5);
  a.AddError(absl::UnavailableError("first"), 100);
  b.AddReply(1, 300, 0.2);
  b.AddReply(2, 500, 0.9);
  b.AddError(absl::UnavailableError("second"), 900);
  b.AddError(absl::InternalError("other"), 5);
  b.AddStepBack(3, 2, 7);
  a.Merge(b);
  EXPECT_EQ(a.Replies(), 3);
  EXPECT_EQ(a.Failures(), 3);
  EXPECT_EQ(a.errors[absl::StatusCode::kUnavailable].count, 2);
  EXPECT_EQ(a.errors[absl::StatusCode::kUnavailable].example, "first");
  EXPECT_EQ(a.errors[absl::StatusCode::kUnavailable].latency.MaxNs(), 900);
  EXPECT_EQ(a.errors[absl::StatusCode::kInternal].example, "other");
  EXPECT_EQ(a.versions[1].replies, 2);
  EXPECT_EQ(a.versions[1].first_s, 0.2);
  EXPECT_EQ(a.versions[1].last_s, 0.5);
  EXPECT_EQ(a.versions[2].first_s, 0.9);
  EXPECT_EQ(a.steps_back, 1);
  EXPECT_EQ(a.step_back_example, "version 2 answered after version 3 on connection 7");
}

TEST(Arrivals, ConstantOnesDoNotDrift) {
  Arrivals arrivals(ArrivalKind::kConstant, 3, 0.5, 1);
  Duration last{};
  for (int i = 0; i < 3'000'000; ++i) last = arrivals.Next();
  EXPECT_NEAR(Seconds(last), (3'000'000 - 1 + 0.5) / 3, 1e-6);
}

TEST(Arrivals, PoissonOnesHaveTheRateAndItsSpread) {
  constexpr int kCount = 100'000;
  Arrivals arrivals(ArrivalKind::kPoisson, 1000, 0, 42);
  Duration last{};
  double squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const Duration next = arrivals.Next();
    ASSERT_GE(next, last);
    squares += Seconds(next - last) * Seconds(next - last);
    last = next;
  }
  EXPECT_NEAR(Seconds(last) * 1000 / kCount, 1, 0.02);
  EXPECT_NEAR(squares * 1e6 / kCount, 2, 0.1);  // E[gap^2] of the exponential distribution
}

}  // namespace
}  // namespace baton
