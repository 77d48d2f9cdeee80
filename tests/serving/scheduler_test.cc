#include "server/serving/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <thread>

#include "tests/serving/fake_engine.h"
#include "tests/support/fake_clock.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeClock;
using ::baton::testing::FakeExecutor;
using std::chrono::milliseconds;
using ::testing::ElementsAre;

// A source of batches that hold nothing but their number.
class FakeSource final : public WorkSource {
 public:
  explicit FakeSource(std::function<void(bool alone)> on_run) : on_run_(std::move(on_run)) {}

  double estimate = 0;                    // seconds of each batch
  std::function<void(Executor&)> during;  // called while a batch runs; may be null

  void Add(int batches, SteadyTime ready_at = {}) {
    MutexLock lock(mu_);
    for (int i = 0; i < batches; ++i) ready_at_.push_back(ready_at);
  }
  void set_clock(const Clock* clock) { clock_ = clock; }

  Batch Take(int idle_workers) override {
    MutexLock lock(mu_);
    idle_seen_ = idle_workers;
    Batch batch;
    const SteadyTime now = clock_ == nullptr ? SteadyTime::max() : clock_->Now();
    if (!ready_at_.empty() && ready_at_.front() <= now) {
      ready_at_.pop_front();
      batch.tasks.resize(1);
      batch.taken = now;
      batch.estimated_seconds = estimate;
    }
    if (!ready_at_.empty()) batch.ready_at = ready_at_.front();
    return batch;
  }
  void Run(Batch, bool alone, Executor& executor) override {
    on_run_(alone);
    if (during) during(executor);
  }

 private:
  const std::function<void(bool)> on_run_;
  const Clock* clock_ = nullptr;
  Mutex mu_;
  std::deque<SteadyTime> ready_at_ ABSL_GUARDED_BY(mu_);
  int idle_seen_ ABSL_GUARDED_BY(mu_) = 0;
};

std::unique_ptr<Executor> NewFakeExecutor() { return std::make_unique<FakeExecutor>(); }

class SchedulerTest : public ::testing::Test {
 protected:
  // A source whose batches take `cost` each.
  std::shared_ptr<FakeSource> Source(char name, Duration cost) {
    auto source = std::make_shared<FakeSource>([this, name, cost](bool alone) {
      ran_.push_back(name);
      alone_.push_back(alone);
      clock_.Advance(cost);
    });
    source->set_clock(&clock_);
    return source;
  }

  FakeClock clock_;
  FakeExecutor executor_;
  Scheduler scheduler_{0, NewFakeExecutor, clock_};
  std::string ran_;
  std::vector<bool> alone_;
};

TEST_F(SchedulerTest, RunsEverythingAndThenLetsGo) {
  auto source = Source('a', milliseconds(1));
  source->Add(3);
  scheduler_.Wake(source);
  while (scheduler_.RunOne(executor_)) {
  }
  EXPECT_EQ(ran_, "aaa");
  EXPECT_EQ(source.use_count(), 1);
}

TEST_F(SchedulerTest, SharesTimeBetweenSourcesWhateverTheirBatchesCost) {
  auto slow = Source('S', milliseconds(30));
  auto fast = Source('f', milliseconds(10));
  slow->Add(100);
  fast->Add(100);
  scheduler_.Wake(slow);
  scheduler_.Wake(fast);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_NEAR(static_cast<double>(std::count(ran_.begin(), ran_.end(), 'f')), 30, 2);
}

TEST_F(SchedulerTest, GivesNoCreditForTimeSpentIdle) {
  auto old = Source('o', milliseconds(10));
  auto newcomer = Source('n', milliseconds(10));
  old->Add(100);
  scheduler_.Wake(old);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(scheduler_.RunOne(executor_));
  ran_.clear();
  newcomer->Add(100);
  scheduler_.Wake(newcomer);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_NEAR(static_cast<double>(std::count(ran_.begin(), ran_.end(), 'n')), 5, 1);
}

TEST_F(SchedulerTest, ABatchIsAloneOnlyWhenNothingElseWaits) {
  auto source = Source('a', milliseconds(1));
  source->Add(2);
  scheduler_.Wake(source);
  ASSERT_TRUE(scheduler_.RunOne(executor_));
  ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_THAT(alone_, ElementsAre(false, true));
}

TEST_F(SchedulerTest, ABatchIsNotAloneWhereMostOfLateHadCompany) {
  auto source = Source('a', milliseconds(1));
  const auto run = [&](int batches) {
    alone_.clear();
    source->Add(batches);
    scheduler_.Wake(source);
    while (scheduler_.RunOne(executor_)) {
    }
    return alone_.back();
  };
  // One after the other, however quickly, they are.
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(run(1));
  for (int i = 0; i < 20; ++i) run(4);
  EXPECT_FALSE(run(1));
  clock_.Advance(std::chrono::seconds(10));
  EXPECT_TRUE(run(1));
}

TEST_F(SchedulerTest, RunsALessServedSourceBetweenTheStepsOfABatch) {
  auto slow = Source('S', milliseconds(30));
  auto quick = Source('q', milliseconds(1));
  slow->estimate = 0.03;
  slow->during = [&](Executor& executor) {
    executor.Pause();  // nothing else to do yet
    EXPECT_EQ(ran_, "S");
    quick->Add(1);
    scheduler_.Wake(quick);
    executor.Pause();
    EXPECT_EQ(ran_, "Sq");
    EXPECT_NEAR(executor.paused_seconds(), 0.001, 1e-9);
    executor.Pause();
  };
  slow->Add(1);
  scheduler_.Wake(slow);
  ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_EQ(ran_, "Sq");
  EXPECT_THAT(alone_, ElementsAre(true, false));
  EXPECT_FALSE(scheduler_.RunOne(executor_));
}

TEST_F(SchedulerTest, ABatchIsPausedNoLongerThanItsShareOfTheTime) {
  auto slow = Source('S', milliseconds(30));
  auto flood = Source('f', milliseconds(10));
  slow->estimate = 0.025;
  flood->estimate = 0.01;
  slow->during = [&](Executor& executor) {
    flood->Add(100);
    scheduler_.Wake(flood);
    for (int step = 0; step < 50; ++step) executor.Pause();
  };
  slow->Add(2);
  scheduler_.Wake(slow);
  ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_EQ(ran_, "Sfff");
  // The pause is not charged to the batch that was paused: both have had 30 ms.
  ran_.clear();
  slow->during = nullptr;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_EQ(std::count(ran_.begin(), ran_.end(), 'S'), 1);
}

TEST_F(SchedulerTest, ABatchIsNotPausedForItsOwnSource) {
  auto source = Source('a', milliseconds(1));
  source->estimate = 0.03;
  std::promise<void> may_end, began;
  std::atomic<int> runs{0};
  std::thread other_worker;
  source->during = [&](Executor& executor) {
    if (++runs == 1) {
      began.set_value();
      may_end.get_future().wait();
      return;
    }
    // The first batch ends, and was cheaper than thought: the source has had less than when the
    // second was taken.
    may_end.set_value();
    other_worker.join();
    executor.Pause();
    EXPECT_EQ(ran_, "aa");
  };
  source->Add(3);
  scheduler_.Wake(source);
  FakeExecutor other_executor;
  other_worker = std::thread([&] { scheduler_.RunOne(other_executor); });
  began.get_future().wait();
  ASSERT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_EQ(ran_, "aa");
}

TEST_F(SchedulerTest, ABatchIsNotPausedWhileAnotherWorkerIsFree) {
  Scheduler two(2, NewFakeExecutor, clock_);
  auto slow = Source('S', milliseconds(30));
  auto quick = Source('q', milliseconds(1));
  slow->estimate = 0.03;
  slow->during = [&](Executor& executor) {
    quick->Add(1);
    two.Wake(quick);
    executor.Pause();
  };
  slow->Add(1);
  two.Wake(slow);
  ASSERT_TRUE(two.RunOne(executor_));
  EXPECT_EQ(ran_, "S");
  EXPECT_DOUBLE_EQ(executor_.paused_seconds(), 0);
}

TEST_F(SchedulerTest, ComesBackToADelayedSourceWhenItsTimeHasCome) {
  auto delayed = Source('d', milliseconds(1));
  auto other = Source('o', milliseconds(1));
  delayed->Add(1, clock_.Now() + milliseconds(10));
  scheduler_.Wake(delayed);
  EXPECT_FALSE(scheduler_.RunOne(executor_));
  other->Add(1);
  scheduler_.Wake(other);
  EXPECT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_FALSE(scheduler_.RunOne(executor_));
  clock_.Advance(milliseconds(10));
  EXPECT_TRUE(scheduler_.RunOne(executor_));
  EXPECT_EQ(ran_, "od");
}

TEST(SchedulerThreads, RunEveryBatchOnceAndStopWhenAllIsDone) {
  constexpr int kSources = 5, kSubmitters = 4, kRounds = 500;
  std::atomic<int> ran{0};
  std::vector<std::shared_ptr<FakeSource>> sources;
  for (int i = 0; i < kSources; ++i) {
    sources.push_back(std::make_shared<FakeSource>([&](bool) { ++ran; }));
  }
  Scheduler scheduler(3, NewFakeExecutor, RealClock::Get());
  scheduler.Start();
  std::vector<std::thread> submitters;
  for (int t = 0; t < kSubmitters; ++t) {
    submitters.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        auto& source = sources[static_cast<size_t>(i % kSources)];
        source->Add(1);
        scheduler.Wake(source);
      }
    });
  }
  for (std::thread& submitter : submitters) submitter.join();
  scheduler.Stop();
  EXPECT_EQ(ran, kSubmitters * kRounds);
  for (const auto& source : sources) EXPECT_EQ(source.use_count(), 1);
}

TEST(SchedulerThreads, ALongBatchDoesNotHoldUpTheOtherWorkers) {
  Mutex mu;
  CondVar changed;
  int quick_done = 0;
  auto slow = std::make_shared<FakeSource>([&](bool) {
    MutexLock lock(mu);
    while (quick_done < 10) changed.Wait(mu);  // for ever, if the quick ones had to wait
  });
  auto quick = std::make_shared<FakeSource>([&](bool) {
    MutexLock lock(mu);
    ++quick_done;
    changed.SignalAll();
  });
  Scheduler scheduler(2, NewFakeExecutor, RealClock::Get());
  scheduler.Start();
  slow->Add(1);
  scheduler.Wake(slow);
  quick->Add(10);
  scheduler.Wake(quick);
  scheduler.Stop();
  EXPECT_EQ(quick_done, 10);
}

}  // namespace
}  // namespace baton::serving
