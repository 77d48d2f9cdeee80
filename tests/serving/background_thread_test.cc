#include "server/serving/background_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>
#include <vector>

namespace baton::serving {
namespace {

TEST(BackgroundThread, RunsJobsInOrderAndAllOfThemBeforeItStops) {
  std::vector<int> order;
  {
    BackgroundThread thread("test", 0);
    for (int i = 0; i < 100; ++i) {
      thread.Post([&, i] {
        order.push_back(i);
        if (i == 99) thread.Post([&] { order.push_back(100); });
      });
    }
  }
  ASSERT_EQ(order.size(), 101U);
  for (int i = 0; i <= 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(BackgroundThread, RunsAJobAtOnceWhenItHasStopped) {
  BackgroundThread thread("test", 0);
  thread.Stop();
  std::thread::id ran_on;
  thread.Post([&] { ran_on = std::this_thread::get_id(); });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST(BackgroundThread, HasItsOwnPriority) {
  const int own = getpriority(PRIO_PROCESS, 0);
  std::atomic<int> seen{-100};
  {
    BackgroundThread thread("test", own + 3);
    thread.Post([&] { seen = getpriority(PRIO_PROCESS, 0); });
  }
  EXPECT_EQ(seen, own + 3);
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), own);
}

}  // namespace
}  // namespace baton::serving
