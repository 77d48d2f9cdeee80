#include "server/serving/batch_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/serving/retry_after.h"
#include "tests/support/fake_clock.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeClock;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::shared_ptr<const PlanSet> AnyPlans() {
  return std::make_shared<const PlanSet>(std::vector<PlanSet::Entry>{{1, nullptr, nullptr}});
}

const ShapeKey kSmall = {1, 4};
const ShapeKey kLarge = {1, 8};

class BatchQueueTest : public ::testing::Test {
 protected:
  BatchQueueTest() { costs_.Set(1, 0.010); }

  // Made at first use, with limits_ as the test has set them.
  BatchQueue& queue() {
    if (queue_ == nullptr) {
      queue_ = std::make_unique<BatchQueue>("model \"m\" version 1", limits_, clock_, costs_,
                                            padding_.get());
      queue_->SetPlans(kSmall, AnyPlans());
    }
    return *queue_;
  }
  absl::StatusOr<bool> Submit(Task task, const ShapeKey& key = kSmall) {
    return queue().Submit(task, key);
  }
  static Task TaskOf(int64_t rows, int priority = 0) {
    Task task;
    task.rows = rows;
    task.priority = priority;
    return task;
  }
  Task TaskFor(Duration left) {
    Task task;
    task.deadline = clock_.Now() + left;
    return task;
  }
  std::vector<int64_t> TakeRows(int idle_workers = 0) {
    std::vector<int64_t> rows;
    for (const PendingTask& pending : queue().Take(idle_workers).tasks) {
      rows.push_back(pending.task.rows);
    }
    return rows;
  }

  QueueLimits limits_;
  FakeClock clock_;
  CostCurve costs_;
  std::shared_ptr<const Padding> padding_;
  std::unique_ptr<BatchQueue> queue_;
};

TEST_F(BatchQueueTest, TakesWholeTasksInOrderUpToTheBestBatch) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  for (const int64_t rows : {3, 4, 2, 1}) ASSERT_TRUE(Submit(TaskOf(rows)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(3, 4));
  EXPECT_THAT(TakeRows(), ElementsAre(2, 1));
  EXPECT_THAT(TakeRows(), IsEmpty());
}

TEST_F(BatchQueueTest, GivesATaskLargerThanABatchAlone) {
  limits_.max_batch_rows = limits_.best_rows = 4;
  for (const int64_t rows : {1, 100, 1}) ASSERT_TRUE(Submit(TaskOf(rows)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(1));
  EXPECT_THAT(TakeRows(), ElementsAre(100));
  EXPECT_THAT(TakeRows(), ElementsAre(1));
}

TEST_F(BatchQueueTest, BatchesOnlyEqualShapesOldestFirst) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  queue().SetPlans(kLarge, AnyPlans());
  ASSERT_TRUE(Submit(TaskOf(1), kLarge).ok());
  ASSERT_TRUE(Submit(TaskOf(2), kSmall).ok());
  ASSERT_TRUE(Submit(TaskOf(3), kLarge).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(1, 3));
  EXPECT_THAT(TakeRows(), ElementsAre(2));
}

TEST_F(BatchQueueTest, IgnoresPrioritiesWhereTheModelHasNone) {
  ASSERT_TRUE(Submit(TaskOf(1, 2)).ok());
  ASSERT_TRUE(Submit(TaskOf(2, 1)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(1));
}

TEST_F(BatchQueueTest, MoreUrgentTasksGoFirst) {
  limits_.priority_levels = 2;
  limits_.default_priority = 2;
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  ASSERT_TRUE(Submit(TaskOf(2, 1)).ok());
  ASSERT_TRUE(Submit(TaskOf(3, 1)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(2));
  EXPECT_THAT(TakeRows(), ElementsAre(3));
  EXPECT_THAT(TakeRows(), ElementsAre(1));
}

TEST_F(BatchQueueTest, RefusesAtOnceWhenItHoldsTooManyTasks) {
  limits_.max_tasks = 2;
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  const absl::Status full = Submit(TaskOf(1)).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("2 requests"));
  queue().Take(0);
  EXPECT_TRUE(Submit(TaskOf(1)).ok());
}

TEST_F(BatchQueueTest, RefusesAtOnceWhenTooMuchWorkWaits) {
  limits_.max_seconds = 0.05;  // a row is 10 ms
  ASSERT_TRUE(Submit(TaskOf(4)).ok());
  EXPECT_EQ(Submit(TaskOf(2)).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Submit(TaskOf(1)).ok());
}

TEST_F(BatchQueueTest, TellsWhoIsRefusedWhenHalfOfTheQueueIsDone) {
  limits_.max_tasks = 6;
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  const absl::Status full = Submit(TaskOf(1)).status();
  EXPECT_EQ(RetryAfter(full), milliseconds(30)) << "six rows take 60 ms";
}

TEST_F(BatchQueueTest, SeveralWorkersEmptyItSooner) {
  limits_.max_tasks = 6;
  limits_.workers = 3;
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(RetryAfter(Submit(TaskOf(1)).status()), milliseconds(10));
}

TEST_F(BatchQueueTest, RefusesAtOnceWhereHalfOfTheTimeLeftWouldPassWaiting) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());  // 40 ms
  const absl::Status full = Submit(TaskFor(milliseconds(79))).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("the deadline is in 79 ms"));
  EXPECT_EQ(RetryAfter(full), milliseconds(20));
  EXPECT_TRUE(Submit(TaskFor(milliseconds(81))).ok());
}

TEST_F(BatchQueueTest, OnlyWhatIsAsUrgentIsWaitedFor) {
  limits_.priority_levels = limits_.default_priority = 2;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Submit(TaskOf(1, 2)).ok());
  Task urgent = TaskFor(milliseconds(60));
  urgent.priority = 1;
  EXPECT_TRUE(Submit(std::move(urgent)).ok());
  EXPECT_FALSE(Submit(TaskFor(milliseconds(60))).ok());
}

TEST_F(BatchQueueTest, HowFastItEmptiesIsMeasured) {
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  for (int i = 0; i < 4; ++i) {  // another model has most of the machine: 100 ms a row, not 10
    EXPECT_EQ(TakeRows().size(), 1U);
    clock_.Advance(milliseconds(100));
  }
  EXPECT_EQ(TakeRows().size(), 1U);  // 3 are left
  EXPECT_FALSE(Submit(TaskFor(milliseconds(590))).ok());
  EXPECT_TRUE(Submit(TaskFor(milliseconds(610))).ok());
  clock_.Advance(seconds(60));  // long ago
  EXPECT_TRUE(Submit(TaskFor(milliseconds(90))).ok());
}

TEST(RetryAfterTest, IsAtLeastAMillisecondAndOnlyWhereItWasSaid) {
  const absl::Status full = absl::ResourceExhaustedError("full");
  EXPECT_EQ(RetryAfter(WithRetryAfter(full, 0)), milliseconds(1));
  EXPECT_EQ(RetryAfter(WithRetryAfter(full, 1e9)), seconds(3600));
  EXPECT_EQ(RetryAfter(full), std::nullopt);
  EXPECT_EQ(RetryAfter(absl::OkStatus()), std::nullopt);
}

TEST_F(BatchQueueTest, TakesOneTaskHoweverLargeWhenEmpty) {
  limits_.max_seconds = 0.05;
  EXPECT_TRUE(Submit(TaskOf(1000)).ok());
}

TEST_F(BatchQueueTest, LeavesARefusedTaskUntouched) {
  limits_.max_tasks = 1;
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  Task task = TaskOf(1);
  task.inputs.resize(3);
  EXPECT_FALSE(queue().Submit(task, kSmall).ok());
  EXPECT_EQ(task.inputs.size(), 3U);
}

TEST_F(BatchQueueTest, RefusesATaskWhoseDeadlineCannotBeMet) {
  EXPECT_EQ(Submit(TaskFor(seconds(0))).status().code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(Submit(TaskFor(milliseconds(2))).status().code(),
            absl::StatusCode::kDeadlineExceeded);  // a row takes 10 ms
  EXPECT_TRUE(Submit(TaskFor(milliseconds(21))).ok());
}

TEST_F(BatchQueueTest, RunsATaskThatLooksHopelessWhenNothingElseWaits) {
  EXPECT_TRUE(Submit(TaskFor(milliseconds(2))).ok());
  EXPECT_EQ(TakeRows().size(), 1U);
}

TEST_F(BatchQueueTest, DoesNotJudgeByEstimatesThatMeanLittle) {
  limits_.refuse_hopeless = false;
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_TRUE(Submit(TaskFor(milliseconds(2))).ok());
}

TEST_F(BatchQueueTest, DropsWhatExpiredOrWasCancelledWhileItWaited) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  Task cancelled = TaskOf(2);
  cancelled.cancelled = std::make_shared<std::atomic<bool>>(false);
  const auto flag = cancelled.cancelled;
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  ASSERT_TRUE(Submit(std::move(cancelled)).ok());
  ASSERT_TRUE(Submit(TaskFor(milliseconds(70))).ok());
  ASSERT_TRUE(Submit(TaskOf(4)).ok());
  *flag = true;
  clock_.Advance(milliseconds(71));
  Batch batch = queue().Take(0);
  EXPECT_EQ(batch.rows, 5);
  ASSERT_EQ(batch.dropped.size(), 2U);
  EXPECT_EQ(batch.dropped[0].second.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(batch.dropped[1].second.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(queue().depth(), 0);
}

TEST_F(BatchQueueTest, GivesTasksWithoutADeadlineTheDefaultTimeout) {
  limits_.level.default_timeout = milliseconds(100);
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  clock_.Advance(milliseconds(101));
  const Batch batch = queue().Take(0);
  EXPECT_THAT(batch.tasks, IsEmpty());
  ASSERT_EQ(batch.dropped.size(), 1U);
  EXPECT_EQ(batch.dropped[0].second.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(BatchQueueTest, ATaskOwnTimeoutIsADeadline) {
  Task task = TaskOf(1);
  task.timeout = milliseconds(50);
  ASSERT_TRUE(Submit(std::move(task)).ok());
  clock_.Advance(milliseconds(51));
  EXPECT_EQ(queue().Take(0).dropped.size(), 1U);
}

TEST_F(BatchQueueTest, ATimeoutOfItsOwnCountsWhereThatIsAllowedAndItIsShorter) {
  limits_.level.default_timeout = milliseconds(100);
  limits_.levels[1] = {.default_timeout = milliseconds(100), .own_timeouts = false};
  limits_.priority_levels = limits_.default_priority = 2;
  Task task = TaskOf(1);
  task.timeout = milliseconds(50);
  ASSERT_TRUE(Submit(task).ok());
  task.priority = 1;
  ASSERT_TRUE(Submit(task).ok());
  clock_.Advance(milliseconds(51));
  const Batch shorter = queue().Take(0);
  ASSERT_EQ(shorter.tasks.size(), 1U);
  EXPECT_EQ(shorter.tasks[0].task.priority, 1);
  ASSERT_EQ(shorter.dropped.size(), 1U);
  EXPECT_EQ(shorter.dropped[0].first.priority, 2);

  task.priority = 2;
  task.timeout = milliseconds(500);
  ASSERT_TRUE(Submit(task).ok());
  clock_.Advance(milliseconds(101));
  EXPECT_EQ(queue().Take(0).dropped.size(), 1U) << "it may not be longer";
}

TEST_F(BatchQueueTest, DelaysWhatHasTimedOutBehindWhatHasNot) {
  limits_.level = {.default_timeout = milliseconds(100), .delay = true};
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  ASSERT_TRUE(Submit(TaskOf(2)).ok());
  clock_.Advance(milliseconds(60));
  ASSERT_TRUE(Submit(TaskOf(3)).ok());
  clock_.Advance(milliseconds(60));
  ASSERT_TRUE(Submit(TaskOf(4)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(3));
  EXPECT_THAT(TakeRows(), ElementsAre(4));
  EXPECT_THAT(TakeRows(), ElementsAre(1));
  EXPECT_THAT(TakeRows(), ElementsAre(2));
  EXPECT_EQ(queue().depth(), 0);
}

TEST_F(BatchQueueTest, ADelayedTaskKeepsItsPriorityAndItsDeadline) {
  limits_.level = {.default_timeout = milliseconds(100), .delay = true};
  limits_.priority_levels = limits_.default_priority = 2;
  ASSERT_TRUE(Submit(TaskOf(1, 1)).ok());
  ASSERT_TRUE(Submit(TaskOf(2, 2)).ok());
  Task with_deadline = TaskFor(milliseconds(150));
  with_deadline.rows = 3;
  ASSERT_TRUE(Submit(std::move(with_deadline)).ok());
  clock_.Advance(milliseconds(101));
  ASSERT_TRUE(Submit(TaskOf(4, 2)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(1));
  EXPECT_THAT(TakeRows(), ElementsAre(4));
  clock_.Advance(milliseconds(50));
  const Batch last = queue().Take(0);
  EXPECT_EQ(last.rows, 2);
  ASSERT_EQ(last.dropped.size(), 1U) << "its client has stopped waiting";
  EXPECT_EQ(last.dropped[0].first.rows, 3);
}

TEST_F(BatchQueueTest, DelayedTasksOfAllShapesWaitForTheOthers) {
  limits_.level = {.default_timeout = milliseconds(100), .delay = true};
  queue().SetPlans(kLarge, AnyPlans());
  ASSERT_TRUE(Submit(TaskOf(1), kSmall).ok());
  clock_.Advance(milliseconds(101));
  ASSERT_TRUE(Submit(TaskOf(2), kLarge).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(2));
  EXPECT_THAT(TakeRows(), ElementsAre(1));
}

TEST_F(BatchQueueTest, BoundsEachPriorityByItself) {
  limits_.priority_levels = limits_.default_priority = 3;
  limits_.level.max_tasks = 2;
  limits_.levels[1].max_tasks = 1;
  ASSERT_TRUE(Submit(TaskOf(1, 1)).ok());
  const absl::Status full = Submit(TaskOf(1, 1)).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("1 requests of priority 1 wait"));
  EXPECT_NE(RetryAfter(full), std::nullopt);
  for (const int priority : {2, 2, 3, 3}) ASSERT_TRUE(Submit(TaskOf(1, priority)).ok());
  EXPECT_FALSE(Submit(TaskOf(1, 3)).ok());
  TakeRows();
  EXPECT_TRUE(Submit(TaskOf(1, 1)).ok()) << "the most urgent has left";
}

TEST_F(BatchQueueTest, ALatencyTargetKeepsBatchesSmall) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  costs_.Set(8, 0.080);  // 10 ms a row
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows().size(), 8U);
  queue_ = nullptr;
  limits_.latency_target = milliseconds(90);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows().size(), 4U) << "half of the target is for the batch that was missed";
  EXPECT_EQ(TakeRows().size(), 4U);
}

TEST_F(BatchQueueTest, ALatencyTargetThatNothingMeetsLeavesOneRow) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  limits_.latency_target = milliseconds(1);
  costs_.Set(8, 0.080);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows().size(), 1U);
}

TEST_F(BatchQueueTest, BatchesAreWholeAgainWhereTheTargetIsMissedAnyway) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  limits_.latency_target = milliseconds(90);
  costs_.Set(8, 0.080);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  clock_.Advance(milliseconds(91));
  EXPECT_EQ(TakeRows().size(), 8U);
}

TEST_F(BatchQueueTest, WithADelayABatchThatIsAsLargeAsTheTargetAllowsGoesAtOnce) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  limits_.max_delay = milliseconds(5);
  limits_.latency_target = milliseconds(90);
  costs_.Set(8, 0.080);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_THAT(TakeRows(), IsEmpty());
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows().size(), 4U);
}

// x: float[batch,a,b] → y: float[batch]
std::shared_ptr<const Padding> PaddingToTheLongest() {
  repository::LengthOptions options;
  options.mode = repository::LengthOptions::Mode::kLongest;
  engine::ValueInfo x{"x", DataType::kFloat, true, {{-1, "batch"}, {-1, "a"}, {-1, "b"}}};
  engine::ValueInfo y{"y", DataType::kFloat, true, {{-1, "batch"}}};
  auto padding = Padding::Make(options, {{x}, {y}});
  return padding.ok() ? *padding : nullptr;
}

TEST_F(BatchQueueTest, JoinsLengthsInOrderUpToTheBestBatch) {
  padding_ = PaddingToTheLongest();
  limits_.max_batch_rows = limits_.best_rows = 8;
  const ShapeKey shorter = {2, 3, 5}, longer = {2, 7, 5}, other = {2, 4, 5};
  const auto plans = AnyPlans();
  queue().SetPlans(shorter, AnyPlans());
  queue().SetPlans(longer, plans);
  ASSERT_TRUE(Submit(TaskOf(1), shorter).ok());
  ASSERT_TRUE(Submit(TaskOf(2), longer).ok());
  ASSERT_TRUE(Submit(TaskOf(3), shorter).ok());
  ASSERT_TRUE(Submit(TaskOf(4), other).ok()) << "parked: it has no plans";
  ASSERT_TRUE(Submit(TaskOf(5), shorter).ok());
  const Batch batch = queue().Take(0);
  EXPECT_EQ(batch.rows, 6);
  EXPECT_EQ(batch.tasks.size(), 3U);
  EXPECT_EQ(batch.key, longer);
  EXPECT_EQ(batch.plans, plans);
  const Batch next = queue().Take(0);
  EXPECT_EQ(next.rows, 5);
  EXPECT_EQ(next.key, shorter);
}

TEST_F(BatchQueueTest, JoinsNothingWithoutPlansForTheShapeThatHoldsBoth) {
  padding_ = PaddingToTheLongest();
  limits_.max_batch_rows = limits_.best_rows = 8;
  const ShapeKey wide = {2, 3, 8}, high = {2, 8, 3}, both = {2, 8, 8};
  for (const ShapeKey& key : {wide, high}) queue().SetPlans(key, AnyPlans());
  ASSERT_TRUE(Submit(TaskOf(1), wide).ok());
  ASSERT_TRUE(Submit(TaskOf(2), high).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(1));
  EXPECT_THAT(TakeRows(), ElementsAre(2));
  queue().SetPlans(both, AnyPlans());
  ASSERT_TRUE(Submit(TaskOf(1), wide).ok());
  ASSERT_TRUE(Submit(TaskOf(2), high).ok());
  const Batch batch = queue().Take(0);
  EXPECT_EQ(batch.rows, 3);
  EXPECT_EQ(batch.key, both);
}

TEST_F(BatchQueueTest, GivesNoMoreBatchesAtOnceThanAllowed) {
  limits_.max_running = 1;
  limits_.max_batch_rows = 1;
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  ASSERT_TRUE(Submit(TaskOf(2)).ok());
  EXPECT_EQ(queue().Take(1).tasks.size(), 1U);
  const Batch none = queue().Take(1);
  EXPECT_THAT(none.tasks, IsEmpty());
  EXPECT_EQ(none.ready_at, kNoDeadline);
  EXPECT_TRUE(queue().Done());
  EXPECT_EQ(queue().Take(1).tasks.size(), 1U);
  EXPECT_FALSE(queue().Done());
}

TEST_F(BatchQueueTest, ALookThatFindsNothingReadyTakesNoTurn) {
  limits_.max_running = 1;
  limits_.max_batch_rows = 8;
  limits_.max_delay = milliseconds(5);
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_THAT(queue().Take(1).tasks, IsEmpty());
  EXPECT_NE(queue().Take(1).ready_at, kNoDeadline);  // somebody comes back in time
  clock_.Advance(milliseconds(5));
  EXPECT_EQ(queue().Take(1).tasks.size(), 1U);
}

TEST_F(BatchQueueTest, WithADelayWaitsForCompanyUntilItsTime) {
  limits_.max_batch_rows = 8;
  limits_.max_delay = milliseconds(5);
  const SteadyTime start = clock_.Now();
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  Batch batch = queue().Take(0);
  EXPECT_THAT(batch.tasks, IsEmpty());
  EXPECT_EQ(batch.ready_at, start + milliseconds(5));
  clock_.Advance(milliseconds(4));
  ASSERT_TRUE(Submit(TaskOf(2)).ok());
  EXPECT_THAT(TakeRows(), IsEmpty());
  clock_.Advance(milliseconds(1));
  EXPECT_THAT(TakeRows(), ElementsAre(1, 2));
}

TEST_F(BatchQueueTest, WithADelayGoesAtOnceWhenFullPreferredOrClosed) {
  limits_.max_batch_rows = 8;
  limits_.max_delay = milliseconds(5);
  limits_.preferred_rows = {4};
  ASSERT_TRUE(Submit(TaskOf(3)).ok());
  EXPECT_THAT(TakeRows(), IsEmpty());
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(3, 1));
  ASSERT_TRUE(Submit(TaskOf(2)).ok());
  EXPECT_THAT(TakeRows(), IsEmpty());
  queue().Close();
  EXPECT_THAT(TakeRows(), ElementsAre(2));
}

TEST_F(BatchQueueTest, WithADelayABatchGoesWhole) {
  limits_.max_batch_rows = 8;
  limits_.max_delay = milliseconds(5);
  limits_.preferred_rows = {4};
  costs_.Set(8, 0.080);  // two workers would be faster
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows(1).size(), 4U);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  clock_.Advance(milliseconds(5));
  EXPECT_EQ(TakeRows(1).size(), 2U);
}

TEST_F(BatchQueueTest, SharesABatchWithIdleWorkersWhereThatIsFaster) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  costs_.Set(8, 0.080);  // as dear as eight single rows
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows(1).size(), 4U);
  EXPECT_EQ(TakeRows(0).size(), 4U);
}

TEST_F(BatchQueueTest, KeepsABatchWholeWhereRowsAreNearlyFree) {
  limits_.max_batch_rows = limits_.best_rows = 8;
  costs_.Set(8, 0.011);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(TaskOf(1)).ok());
  EXPECT_EQ(TakeRows(1).size(), 8U);
}

TEST_F(BatchQueueTest, ParksAShapeUntilItsPlansAreThereAndHoldsUpNobodyElse) {
  EXPECT_TRUE(*Submit(TaskOf(1), kLarge));   // the first asks for plans
  EXPECT_FALSE(*Submit(TaskOf(2), kLarge));  // the second does not
  EXPECT_FALSE(*Submit(TaskOf(3), kSmall));
  EXPECT_THAT(TakeRows(), ElementsAre(3));
  EXPECT_THAT(TakeRows(), IsEmpty());
  EXPECT_EQ(queue().depth(), 2);
  EXPECT_TRUE(queue().SetPlans(kLarge, AnyPlans()));
  EXPECT_THAT(TakeRows(), ElementsAre(1));
}

TEST_F(BatchQueueTest, GivesBackTheTasksOfAShapeThatCannotRunAndRefusesMore) {
  EXPECT_TRUE(*Submit(TaskOf(1), kLarge));
  EXPECT_EQ(queue().Reject(kLarge, absl::InvalidArgumentError("no such shape")).size(), 1U);
  EXPECT_EQ(queue().depth(), 0);
  EXPECT_EQ(Submit(TaskOf(1), kLarge).status().message(), "no such shape");
}

TEST_F(BatchQueueTest, TakesATaskThatItGaveBackThoughItIsFullAndClosed) {
  limits_.max_tasks = 1;
  ASSERT_TRUE(Submit(TaskOf(1), kLarge).ok());
  std::vector<Task> back = queue().Reject(kLarge, absl::InvalidArgumentError("no such shape"));
  ASSERT_EQ(back.size(), 1U);
  ASSERT_TRUE(Submit(TaskOf(2)).ok());
  queue().Close();
  EXPECT_FALSE(queue().Submit(back[0], kSmall).ok());
  EXPECT_TRUE(queue().Submit(back[0], kSmall, /*again=*/true).ok());
  EXPECT_THAT(TakeRows(), ElementsAre(2));
  EXPECT_THAT(TakeRows(), ElementsAre(1));
  queue().Abort();
  EXPECT_EQ(queue().Submit(back[0], kSmall, /*again=*/true).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(BatchQueueTest, AsksAgainForAShapeThatFailedForAnotherReason) {
  EXPECT_TRUE(*Submit(TaskOf(1), kLarge));
  EXPECT_EQ(queue().Reject(kLarge, absl::ResourceExhaustedError("memory")).size(), 1U);
  EXPECT_TRUE(*Submit(TaskOf(1), kLarge));
}

TEST_F(BatchQueueTest, RemembersABoundedNumberOfShapes) {
  for (int64_t columns = 0; columns < 500; ++columns) {
    const ShapeKey key = {1, 1000 + columns};
    ASSERT_TRUE(Submit(TaskOf(1), key).ok());
    queue().SetPlans(key, AnyPlans());
    ASSERT_EQ(TakeRows().size(), 1U);
  }
  EXPECT_LE(queue().Sizes().size(), BatchQueue::kMaxGroups);
  EXPECT_EQ(queue().TakeForgotten().size(), 500 + 1 - BatchQueue::kMaxGroups);
  EXPECT_EQ(queue().FindPlans({1, 1000}), nullptr);
  EXPECT_NE(queue().FindPlans({1, 1499}), nullptr);
}

TEST_F(BatchQueueTest, AcceptsNothingOnceClosedAndFinishesWhatItHas) {
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  queue().Close();
  EXPECT_EQ(Submit(TaskOf(1)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(TakeRows().size(), 1U);
}

TEST_F(BatchQueueTest, AbortGivesBackEverything) {
  ASSERT_TRUE(Submit(TaskOf(1)).ok());
  ASSERT_TRUE(Submit(TaskOf(1), kLarge).ok());
  EXPECT_EQ(queue().Abort().size(), 2U);
  EXPECT_EQ(queue().depth(), 0);
  EXPECT_EQ(Submit(TaskOf(1)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace baton::serving
