#include "server/api/coalescing.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace baton::api {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class CoalescingTest : public ::testing::Test {
 protected:
  // For `duration`, runs of so many tasks, one run in each `period`, which cost the thread `cost`.
  void Run(Duration duration, int tasks, microseconds period, microseconds cost) {
    const SteadyTime end = clock_.Now() + duration;
    while (clock_.Now() < end) {
      clock_.Advance(period);
      cpu_time_ += cost;
      coalescing_.NoteRun(clock_.Now(), tasks, [this] { return cpu_time_; });
    }
  }

  testing::FakeClock clock_;
  Duration cpu_time_{};
  Coalescing coalescing_;
};

TEST_F(CoalescingTest, IsOffWhileTheThreadHasTime) {
  Run(seconds(2), 1, microseconds(150), microseconds(75));
  EXPECT_FALSE(coalescing_.on());
  EXPECT_EQ(coalescing_.PauseAfter(1), Duration(0));
}

TEST_F(CoalescingTest, IsOffForBursts) {
  Run(seconds(2), 2, microseconds(100), microseconds(99));
  EXPECT_FALSE(coalescing_.on());
}

TEST_F(CoalescingTest, IsOnWhereRequestsOneByOneTakeMostOfTheTime) {
  Run(milliseconds(60), 1, microseconds(100), microseconds(75));
  EXPECT_TRUE(coalescing_.on());
  EXPECT_GT(coalescing_.PauseAfter(1), Duration(0));
  EXPECT_EQ(coalescing_.PauseAfter(8), Duration(0));
  // As many come as before, for half of the work; and without pauses no more.
  int times_on = 0;
  for (int i = 0; i < 10000; ++i) {
    if (coalescing_.on()) {
      ++times_on;
      Run(milliseconds(1), 2, microseconds(200), microseconds(75));
    } else {
      Run(milliseconds(1), 1, microseconds(100), microseconds(75));
    }
  }
  EXPECT_GT(times_on, 9500);
  EXPECT_LT(times_on, 10000);
}

TEST_F(CoalescingTest, IsOffAgainWhenFewerCome) {
  Run(milliseconds(60), 1, microseconds(100), microseconds(75));
  ASSERT_TRUE(coalescing_.on());
  Run(milliseconds(190), 1, microseconds(250), microseconds(75));
  EXPECT_FALSE(coalescing_.on());
  // And no time is lost when they are back.
  Run(milliseconds(110), 1, microseconds(100), microseconds(75));
  EXPECT_TRUE(coalescing_.on());
}

TEST_F(CoalescingTest, IsOffAgainWhereTheyComeTogetherByThemselves) {
  Run(milliseconds(60), 1, microseconds(100), microseconds(75));
  ASSERT_TRUE(coalescing_.on());
  while (coalescing_.on()) Run(milliseconds(1), 2, microseconds(200), microseconds(75));
  Run(milliseconds(100), 2, microseconds(200), microseconds(75));  // without pauses now
  EXPECT_FALSE(coalescing_.on());
}

TEST_F(CoalescingTest, WhenAQueueFormsWithoutPausesTheyAreBackAtOnce) {
  Run(milliseconds(60), 1, microseconds(100), microseconds(75));
  ASSERT_TRUE(coalescing_.on());
  while (coalescing_.on()) Run(milliseconds(1), 2, microseconds(200), microseconds(75));
  Run(milliseconds(1), 1, microseconds(100), microseconds(75));
  EXPECT_FALSE(coalescing_.on());
  Run(microseconds(100), 8, microseconds(100), microseconds(75));
  EXPECT_TRUE(coalescing_.on());
}

TEST_F(CoalescingTest, TriesSeldomWherePausesOnlySlowTheClientsDown) {
  const SteadyTime began = clock_.Now();
  int times_on = 0;
  Duration on{};
  while (clock_.Now() < began + seconds(60)) {
    const SteadyTime before = clock_.Now();
    const bool was_on = coalescing_.on();
    // One client that asks again when it has its answer.
    Run(milliseconds(1), 1, was_on ? microseconds(200) : microseconds(100), microseconds(75));
    if (was_on) on += clock_.Now() - before;
    if (!was_on && coalescing_.on()) ++times_on;
  }
  EXPECT_GE(times_on, 4);
  EXPECT_LE(times_on, 6);  // after 1, 2, 4, 8 and 16 s more
  EXPECT_LT(on, milliseconds(700));
}

}  // namespace
}  // namespace baton::api
