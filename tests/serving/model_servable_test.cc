#include "server/serving/model_servable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <thread>

#include "server/serving/inline_lane.h"
#include "tests/serving/fake_engine.h"
#include "tests/support/fake_clock.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeClock;
using ::baton::testing::FakeExecutor;
using ::baton::testing::FakeModel;
using ::baton::testing::FakeModelOptions;
using ::baton::testing::FakePlan;
using ::baton::testing::ViewOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Mode = repository::LengthOptions::Mode;

// What became of one task.
struct Answer {
  int done = 0;
  absl::Status status;
  std::vector<float> values;
  std::thread::id thread;
};

// Everything on the test's own thread: the pool has no workers, and the compiler is stopped, so
// that what is posted to it runs at once.
class ModelServableTest : public ::testing::Test {
 protected:
  ModelServableTest() {
    compiler_.Stop();
    executor_.on_run = [this](const FakePlan&) { clock_.Advance(std::chrono::microseconds(100)); };
  }

  void Make(const FakeModelOptions& model = {.scale = 2, .offset = 1}) {
    WarmUpOptions options{.max_batch_rows = limits_.max_batch_rows,
                          .parallel_threads = parallel_threads_};
    fake_ = std::make_shared<const FakeModel>(model);
    if (lengths_.mode) {
      auto padding = Padding::Make(lengths_, fake_->signature());
      ASSERT_TRUE(padding.ok()) << padding.status();
      options.padding = *padding;
    }
    auto warm = WarmUp(*fake_, {}, options, executor_, clock_);
    ASSERT_TRUE(warm.ok()) << warm.status();
    warm->measured.costs = {{1, cost_seconds_}};
    warm->measured.best_rows = warm->batched ? limits_.max_batch_rows : 1;
    executor_.calls.clear();
    servable_ = std::make_shared<ModelServable>("m", 1, fake_, *std::move(warm), limits_, options_,
                                                context_);
  }

  absl::Status Submit(const std::vector<float>& values, int64_t columns = 4,
                      InlineLane* lane = nullptr) {
    Answer& answer = answers_.emplace_back();
    Task task;
    const auto& kept = inputs_.emplace_back(values);
    task.inputs = {ViewOf(kept, columns)};
    task.rows = servable_->max_batch_size() > 0 ? task.inputs[0].shape[0] : 1;
    task.lane = lane;
    task.done = [&answer](const absl::Status& status, absl::Span<const TensorView> outputs,
                          const PhaseTimes&) {
      ++answer.done;
      answer.status = status;
      answer.thread = std::this_thread::get_id();
      for (const TensorView& output : outputs) {
        for (const float value : output.values<float>()) answer.values.push_back(value);
      }
    };
    return servable_->Submit(std::move(task));
  }
  void RunAll() {
    while (scheduler_.RunOne(executor_)) {
    }
  }
  std::vector<int64_t> RowsRun() const {
    std::vector<int64_t> rows;
    for (const FakeExecutor::Call& call : executor_.calls) rows.push_back(call.rows);
    return rows;
  }

  FakeClock clock_;
  Registry registry_;
  Metrics metrics_{registry_};
  Scheduler scheduler_{0, [] { return std::make_unique<FakeExecutor>(); }, clock_};
  BackgroundThread compiler_{"compiler", 0};
  const ServableContext context_{scheduler_, compiler_, metrics_, clock_};
  QueueLimits limits_{.max_batch_rows = 8};
  ServableOptions options_{.max_request_rows = 16};
  repository::LengthOptions lengths_;
  double cost_seconds_ = 1e-3;
  int parallel_threads_ = 1;
  FakeExecutor executor_;
  FakeExecutor& own_ = *new FakeExecutor;  // the lane's
  InlineLane lane_{std::unique_ptr<Executor>(&own_)};
  std::shared_ptr<const FakeModel> fake_;
  std::shared_ptr<ModelServable> servable_;
  std::deque<std::vector<float>> inputs_;
  std::deque<Answer> answers_;
};

TEST_F(ModelServableTest, ARequestThatIsAloneGetsAllCoresWhereThatIsFaster) {
  std::chrono::milliseconds with_all{1};
  executor_.on_run = [&](const FakePlan& plan) {
    clock_.Advance(plan.threads() > 1 ? with_all : std::chrono::milliseconds(2));
  };
  parallel_threads_ = 2;
  cost_seconds_ = 2e-3;
  Make();
  const auto threads_of_runs = [this](int runs) {
    executor_.calls.clear();
    for (int i = 0; i < runs; ++i) {
      EXPECT_TRUE(Submit({1, 2, 3, 4}).ok());
      RunAll();
    }
    std::vector<int> threads;
    for (const FakeExecutor::Call& call : executor_.calls) threads.push_back(call.threads);
    return threads;
  };
  EXPECT_THAT(threads_of_runs(3), ElementsAre(2, 2, 2));
  EXPECT_EQ(servable_->measured().parallel_seconds, 1e-3);

  with_all = std::chrono::milliseconds(4);  // something else has the other cores now
  threads_of_runs(20);
  EXPECT_GT(servable_->measured().parallel_seconds, 2e-3);
  const std::vector<int> one = threads_of_runs(300);
  EXPECT_LE(std::count(one.begin(), one.end(), 2), 6);  // trials
  EXPECT_GE(std::count(one.begin(), one.end(), 2), 1);

  with_all = std::chrono::milliseconds(1);
  EXPECT_EQ(threads_of_runs(300).back(), 2);
  EXPECT_THAT(threads_of_runs(3), ElementsAre(2, 2, 2));
}

TEST_F(ModelServableTest, BatchesRequestsAndGivesEachItsRows) {
  Make();
  ASSERT_TRUE(Submit({1, 2, 3, 4}).ok());
  ASSERT_TRUE(Submit({5, 6, 7, 8}).ok());
  EXPECT_EQ(answers_[0].done, 0);
  RunAll();
  EXPECT_THAT(answers_[0].values, ElementsAre(3, 5, 7, 9));
  EXPECT_THAT(answers_[1].values, ElementsAre(11, 13, 15, 17));
  EXPECT_EQ(RowsRun(), std::vector<int64_t>{2});
}

TEST_F(ModelServableTest, RunsASizeInPiecesOnceAndThenWithItsOwnPlan) {
  Make();
  const int plans = fake_->plans_made();
  ASSERT_TRUE(Submit(std::vector<float>(12, 1)).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(2, 1));
  ASSERT_TRUE(Submit(std::vector<float>(12, 1)).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(2, 1, 3));
  EXPECT_EQ(fake_->plans_made(), plans + 1);
}

TEST_F(ModelServableTest, RunsRequestsLargerThanABatchInPieces) {
  Make();
  ASSERT_TRUE(Submit(std::vector<float>(64, 1)).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(8, 8));
  EXPECT_EQ(answers_[0].values.size(), 64U);
}

TEST_F(ModelServableTest, RefusesMoreRowsThanAllowedAndNamesTheLimit) {
  Make();
  const absl::Status status = Submit(std::vector<float>(17 * 4, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("17 rows, at most 16"));
  EXPECT_EQ(Submit({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(answers_[0].done + answers_[1].done, 0);
}

TEST_F(ModelServableTest, CompilesANewShapeOffTheRequestPathAndThenRunsIt) {
  Make({.scale = 2, .offset = 1, .free_columns = true});
  const int plans = fake_->plans_made();
  ASSERT_TRUE(Submit({1, 2, 3}, 3).ok());
  RunAll();
  EXPECT_THAT(answers_[0].values, ElementsAre(3, 5, 7));
  EXPECT_EQ(fake_->plans_made(), plans + 1);
  ASSERT_TRUE(Submit({1, 2, 3}, 3).ok());
  EXPECT_EQ(fake_->plans_made(), plans + 1);
}

TEST_F(ModelServableTest, AnswersAShapeThatCannotBeCompiled) {
  Make({.free_columns = true, .reject_columns = 5});
  ASSERT_TRUE(Submit({1, 2, 3, 4, 5}, 5).ok());
  EXPECT_EQ(answers_[0].done, 1);
  EXPECT_EQ(answers_[0].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Submit({1, 2, 3, 4, 5}, 5).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelServableTest, RequestsOfABucketShareABatch) {
  lengths_.mode = Mode::kBuckets;
  lengths_.buckets = {4, 8};
  Make({.scale = 2, .offset = 1, .free_columns = true});
  EXPECT_EQ(servable_->note(), "");
  const int plans = fake_->plans_made();
  ASSERT_TRUE(Submit({1, 2, 3}, 3).ok());
  ASSERT_TRUE(Submit({1, 2}, 2).ok());
  ASSERT_TRUE(Submit({1, 2, 3, 4, 5}, 5).ok());
  ASSERT_TRUE(Submit({5, 6, 7, 8}, 4).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(2, 1, 1)) << "three rows of one bucket, in pieces, and one";
  EXPECT_THAT(answers_[0].values, ElementsAre(3, 5, 7));
  EXPECT_THAT(answers_[1].values, ElementsAre(3, 5));
  EXPECT_THAT(answers_[2].values, ElementsAre(3, 5, 7, 9, 11));
  EXPECT_THAT(answers_[3].values, ElementsAre(11, 13, 15, 17));
  EXPECT_EQ(fake_->plans_made(), plans + 1) << "that of three rows; the buckets were compiled";
}

TEST_F(ModelServableTest, ALengthBeyondTheBucketsRunsAsItIs) {
  lengths_.mode = Mode::kBuckets;
  lengths_.buckets = {4};
  Make({.scale = 2, .offset = 1, .free_columns = true});
  ASSERT_TRUE(Submit({1, 2, 3, 4, 5}, 5).ok());
  ASSERT_TRUE(Submit({1, 2, 3, 4, 5, 6}, 6).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(1, 1));
  EXPECT_THAT(answers_[0].values, ElementsAre(3, 5, 7, 9, 11));
  EXPECT_EQ(answers_[1].values.size(), 6U);
}

TEST_F(ModelServableTest, ALengthWhoseBucketTheModelDoesNotRunRunsAsItIs) {
  lengths_.mode = Mode::kPowersOfTwo;
  Make({.scale = 2, .offset = 1, .free_columns = true, .reject_columns = 8});
  for (int i = 0; i < 2; ++i) {  // when the bucket is tried, and when it is known
    ASSERT_TRUE(Submit({1, 2, 3, 4, 5}, 5).ok());
    RunAll();
    EXPECT_TRUE(answers_.back().status.ok()) << answers_.back().status;
    EXPECT_THAT(answers_.back().values, ElementsAre(3, 5, 7, 9, 11));
    EXPECT_EQ(answers_.back().done, 1);
  }
  EXPECT_THAT(metrics_.Render(), HasSubstr("baton_queue_depth{model=\"m\",version=\"1\"} 0"));
}

TEST_F(ModelServableTest, PadsToTheLongestOfTheBatch) {
  lengths_.mode = Mode::kLongest;
  Make({.scale = 2, .offset = 1, .free_columns = true});
  ASSERT_TRUE(Submit({1, 2, 3}, 3).ok());
  ASSERT_TRUE(Submit({1, 2, 3, 4, 5}, 5).ok());
  RunAll();
  EXPECT_THAT(answers_[0].values, ElementsAre(3, 5, 7));
  EXPECT_THAT(answers_[1].values, ElementsAre(3, 5, 7, 9, 11));
  ASSERT_TRUE(Submit({1, 2, 3}, 3).ok());
  ASSERT_TRUE(Submit({1, 2, 3, 4, 5}, 5).ok());
  executor_.calls.clear();
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(2)) << "by now the longer has a plan of two rows";
  EXPECT_THAT(answers_[2].values, ElementsAre(3, 5, 7));
}

TEST_F(ModelServableTest, DoesNotMixLengthsWhereThatWouldChangeAnswersAndSaysSo) {
  lengths_.mode = Mode::kBuckets;
  lengths_.buckets = {4};
  Make({.scale = 1, .mixes_columns = true, .free_columns = true});
  EXPECT_THAT(servable_->note(), HasSubstr("requests of different lengths do not share batches"));
  ASSERT_TRUE(Submit({1, 1, 1}, 3).ok());
  ASSERT_TRUE(Submit({1, 1, 1, 1}, 4).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(1, 1));
  EXPECT_THAT(answers_[0].values, ElementsAre(2, 2, 2));
}

TEST_F(ModelServableTest, RunsCheapRequestsOnTheSubmittersThreadWhatWaitsTogether) {
  options_.max_inline_seconds = 20e-6;
  cost_seconds_ = 5e-6;
  Make();
  ASSERT_TRUE(Submit({1, 2, 3, 4}, 4, &lane_).ok());
  EXPECT_EQ(lane_.tasks(), 1);
  EXPECT_EQ(answers_[0].done, 0);
  lane_.Run();
  EXPECT_EQ(lane_.tasks(), 0);
  EXPECT_THAT(answers_[0].values, ElementsAre(3, 5, 7, 9));
  for (const float x : {1.0f, 2.0f}) ASSERT_TRUE(Submit({x, x, x, x}, 4, &lane_).ok());
  lane_.Run();
  EXPECT_THAT(answers_[1].values, ElementsAre(3, 3, 3, 3));
  EXPECT_THAT(answers_[2].values, ElementsAre(5, 5, 5, 5));
  ASSERT_EQ(own_.calls.size(), 2U);
  EXPECT_EQ(own_.calls[1].rows, 2);
  EXPECT_FALSE(scheduler_.RunOne(executor_)) << "no worker was asked";
  ASSERT_TRUE(Submit(std::vector<float>(8 * 4, 1), 4, &lane_).ok());  // 8 rows: 40 µs
  EXPECT_EQ(lane_.tasks(), 0);
  RunAll();
  EXPECT_EQ(answers_[3].done, 1);
}

TEST_F(ModelServableTest, RunsDearRequestsOnWorkersOnly) {
  options_.max_inline_seconds = 20e-6;
  cost_seconds_ = 50e-6;
  Make();
  ASSERT_TRUE(Submit({1, 2, 3, 4}, 4, &lane_).ok());
  EXPECT_EQ(lane_.tasks(), 0);
  RunAll();
  EXPECT_EQ(answers_[0].done, 1);
}

TEST_F(ModelServableTest, RunsNoMoreAtOnceThanTheConfigSays) {
  limits_.max_running = 1;
  limits_.max_batch_rows = 1;
  cost_seconds_ = 1e-9;
  options_.max_inline_seconds = 1;
  Make();
  ASSERT_TRUE(Submit({1, 2, 3, 4}, 4, &lane_).ok());  // it is cheap, but has to take its turn
  ASSERT_TRUE(Submit({5, 6, 7, 8}).ok());
  EXPECT_EQ(lane_.tasks(), 0);
  Batch first = servable_->Take(1);
  ASSERT_EQ(first.tasks.size(), 1U);
  EXPECT_TRUE(servable_->Take(1).tasks.empty());
  servable_->Run(std::move(first), false, executor_);
  EXPECT_EQ(answers_[0].done, 1);
  RunAll();  // the end of the first has called for the second
  EXPECT_EQ(answers_[1].done, 1);
}

TEST_F(ModelServableTest, TakesShapesAsTheyAreWhereRowsAreNotIndependent) {
  Make({.mixes_rows = true});
  EXPECT_EQ(servable_->max_batch_size(), 0);
  ASSERT_TRUE(Submit(std::vector<float>(8, 1)).ok());
  ASSERT_TRUE(Submit(std::vector<float>(8, 2)).ok());
  RunAll();
  EXPECT_THAT(RowsRun(), ElementsAre(2, 2));
  EXPECT_THAT(answers_[0].values, ElementsAre(2, 2, 2, 2, 2, 2, 2, 2));
}

TEST_F(ModelServableTest, AcceptsRequestsUntilTheLastHolderLetsGo) {
  Make();
  std::shared_ptr<Servable> registry_holds = servable_->Handle();
  std::shared_ptr<Servable> request_holds = registry_holds;
  registry_holds.reset();
  EXPECT_TRUE(Submit({1, 2, 3, 4}).ok());
  request_holds.reset();
  EXPECT_EQ(Submit({1, 2, 3, 4}).code(), absl::StatusCode::kUnavailable);
  RunAll();
  EXPECT_EQ(answers_[0].done, 1);
  EXPECT_TRUE(answers_[0].status.ok());
}

TEST_F(ModelServableTest, OutlivesAHandleThatItsOwnAnswerLetsGoOf) {
  options_.max_inline_seconds = 20e-6;
  cost_seconds_ = 5e-6;
  Make();
  std::shared_ptr<Servable> handle = servable_->Handle();
  servable_.reset();
  const std::vector<float> values(4);
  bool freed_too_early = false;
  Task task;
  task.inputs = {ViewOf(values)};
  task.lane = &lane_;
  task.done = [&](const absl::Status&, absl::Span<const TensorView>, const PhaseTimes&) {
    handle.reset();
    freed_too_early = fake_.use_count() == 1;
  };
  Servable* servable = handle.get();
  EXPECT_TRUE(servable->Submit(std::move(task)).ok());
  lane_.Run();
  EXPECT_FALSE(freed_too_early);
  RunAll();
  EXPECT_EQ(fake_.use_count(), 1);  // but freed it is
}

TEST_F(ModelServableTest, AbortAnswersWhatWaits) {
  Make();
  ASSERT_TRUE(Submit({1, 2, 3, 4}).ok());
  servable_->Abort();
  EXPECT_EQ(answers_[0].status.code(), absl::StatusCode::kUnavailable);
  RunAll();
  EXPECT_EQ(answers_[0].done, 1);
}

TEST_F(ModelServableTest, CountsItsQueue) {
  Make();
  ASSERT_TRUE(Submit({1, 2, 3, 4}).ok());
  EXPECT_THAT(metrics_.Render(), HasSubstr("baton_queue_depth{model=\"m\",version=\"1\"} 1"));
  RunAll();
  EXPECT_THAT(metrics_.Render(), HasSubstr("baton_queue_depth{model=\"m\",version=\"1\"} 0"));
}

}  // namespace
}  // namespace baton::serving
