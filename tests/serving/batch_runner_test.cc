#include "server/serving/batch_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "tests/serving/fake_engine.h"
#include "tests/support/fake_clock.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeClock;
using ::baton::testing::FakeExecutor;
using ::baton::testing::FakeModelOptions;
using ::baton::testing::FakePlan;
using ::baton::testing::ViewOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class BatchRunnerTest : public ::testing::Test {
 protected:
  std::shared_ptr<const PlanSet> Plans(const std::vector<int64_t>& sizes, bool parallel = false) {
    std::vector<PlanSet::Entry> entries;
    for (const int64_t rows : sizes) {
      const std::vector<Shape> shapes = {{rows, 4}};
      entries.push_back({rows, std::make_shared<FakePlan>(model_, shapes, 1),
                         parallel ? std::make_shared<FakePlan>(model_, shapes, 2) : nullptr});
    }
    return std::make_shared<const PlanSet>(std::move(entries));
  }

  // Inputs of fewer than 4 columns are padded to these.
  void PadColumns(const std::string& pad) {
    repository::LengthOptions options;
    options.mode = repository::LengthOptions::Mode::kBuckets;
    options.buckets = {4};
    options.pad_values = {{"x", pad}};
    const engine::ValueInfo x{"x", DataType::kFloat, true, {{-1, "batch"}, {-1, "columns"}}};
    const engine::ValueInfo y{"y", DataType::kFloat, true, {{-1, "batch"}, {-1, "columns"}}};
    auto padding = Padding::Make(options, {{x}, {y}});
    ASSERT_TRUE(padding.ok()) << padding.status();
    padding_ = *padding;
  }

  // Adds a task of `rows` rows; the first value of row r is first + r.
  void Add(float first, int64_t rows) {
    const size_t index = answers_.size();
    answers_.emplace_back();
    statuses_.emplace_back(absl::UnknownError("not done"));
    auto& data = inputs_.emplace_back();
    for (int64_t row = 0; row < rows; ++row) {
      data.insert(data.end(), {first + static_cast<float>(row), 0, 0, 0});
    }
    PendingTask pending;
    pending.task.rows = rows;
    pending.task.inputs = {ViewOf(data)};
    pending.submitted = clock_.Now();
    pending.task.done = [this, index](const absl::Status& status,
                                      absl::Span<const TensorView> outputs, const PhaseTimes&) {
      ++done_;
      statuses_[index] = status;
      if (outputs.empty()) return;
      for (int64_t row = 0; row < outputs[0].shape[0]; ++row) {
        answers_[index].push_back(outputs[0].values<float>()[static_cast<size_t>(row * 4)]);
      }
    };
    batch_.rows += rows;
    batch_.tasks.push_back(std::move(pending));
  }

  BatchRun Run(bool parallel = false) {
    batch_.taken = clock_.Now();
    return RunBatch(batch_, parallel, executor_, clock_, recorder_, padding_.get());
  }
  std::vector<int64_t> RowsRun() const {
    std::vector<int64_t> rows;
    for (const FakeExecutor::Call& call : executor_.calls) rows.push_back(call.rows);
    return rows;
  }

  FakeModelOptions model_{.scale = 10, .offset = 1};
  FakeClock clock_;
  FakeExecutor executor_;
  std::shared_ptr<const Padding> padding_;
  Batch batch_;
  std::deque<std::vector<float>> inputs_;
  std::deque<std::vector<float>> answers_;
  std::deque<absl::Status> statuses_;
  int done_ = 0;

  class Recorder final : public BatchRecorder {
   public:
    explicit Recorder(const int& done) : done_(done) {}
    void RecordExecution(int64_t rows, const BatchRun& run) override {
      EXPECT_TRUE(run.status.ok());
      executions.push_back(rows);
      if (done_ == 0) ++early_executions;
    }
    void RecordTask(const absl::Status& status, const PhaseTimes&) override {
      status.ok() ? ++tasks : ++failed_tasks;
    }
    std::vector<int64_t> executions;  // their rows
    int early_executions = 0;         // before any task was done
    int tasks = 0;
    int failed_tasks = 0;

   private:
    const int& done_;
  };
  Recorder recorder_{done_};
};

TEST_F(BatchRunnerTest, ReadsASingleTaskWhereItIs) {
  batch_.plans = Plans({1, 2});
  Add(3, 2);
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(answers_[0], ElementsAre(31, 41));
  ASSERT_EQ(executor_.calls.size(), 1U);
  EXPECT_EQ(executor_.calls[0].input, inputs_[0].data());
}

TEST_F(BatchRunnerTest, GathersWhatIsNotAligned) {
  batch_.plans = Plans({1});
  Add(3, 1);
  std::vector<char> bytes(17);
  std::memcpy(bytes.data() + 1, inputs_[0].data(), 16);
  batch_.tasks[0].task.inputs[0].data = bytes.data() + 1;
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(answers_[0], ElementsAre(31));
}

TEST_F(BatchRunnerTest, GivesEveryTaskItsOwnRows) {
  batch_.plans = Plans({1, 6});
  Add(0, 1);
  Add(100, 3);
  Add(200, 2);
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(answers_[0], ElementsAre(1));
  EXPECT_THAT(answers_[1], ElementsAre(1001, 1011, 1021));
  EXPECT_THAT(answers_[2], ElementsAre(2001, 2011));
  EXPECT_THAT(RowsRun(), ElementsAre(6));
  EXPECT_EQ(done_, 3);
  EXPECT_EQ(recorder_.tasks, 3);
  EXPECT_THAT(recorder_.executions, ElementsAre(6));
  EXPECT_EQ(recorder_.early_executions, 1);
}

TEST_F(BatchRunnerTest, RunsInPiecesWhereNoPlanHasTheSize) {
  batch_.plans = Plans({1, 2, 4});
  Add(0, 3);
  Add(100, 4);
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(RowsRun(), ElementsAre(4, 2, 1));
  EXPECT_THAT(answers_[0], ElementsAre(1, 11, 21));
  EXPECT_THAT(answers_[1], ElementsAre(1001, 1011, 1021, 1031));
}

TEST_F(BatchRunnerTest, PutsTheRowsOfALargeTaskTogether) {
  batch_.plans = Plans({1, 4});
  Add(0, 9);
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(RowsRun(), ElementsAre(4, 4, 1));
  EXPECT_THAT(answers_[0], ElementsAre(1, 11, 21, 31, 41, 51, 61, 71, 81));
}

TEST_F(BatchRunnerTest, OneTasksBadDataIsNoOtherTasksError) {
  model_.reject_value = 100;
  batch_.plans = Plans({1, 3});
  Add(0, 1);
  Add(100, 1);
  Add(200, 1);
  EXPECT_FALSE(Run().status.ok());
  EXPECT_TRUE(statuses_[0].ok());
  EXPECT_EQ(statuses_[1].code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(statuses_[2].ok());
  EXPECT_THAT(answers_[0], ElementsAre(1));
  EXPECT_THAT(answers_[1], IsEmpty());
  EXPECT_THAT(answers_[2], ElementsAre(2001));
  EXPECT_EQ(done_, 3);
  EXPECT_THAT(recorder_.executions, ElementsAre(1, 1)) << "those that ran without an error";
  EXPECT_EQ(recorder_.tasks, 2);
  EXPECT_EQ(recorder_.failed_tasks, 1);
}

TEST_F(BatchRunnerTest, APauseIsNoPartOfWhatABatchCosts) {
  Add(1, 1);
  batch_.plans = Plans({1});
  executor_.SetPause([this] {
    clock_.Advance(std::chrono::milliseconds(5));
    return 0.005;
  });
  executor_.on_run = [this](const FakePlan&) {
    clock_.Advance(std::chrono::milliseconds(1));
    executor_.Pause();
  };
  EXPECT_NEAR(Run().compute_seconds, 0.001, 1e-9);
}

class PaddedBatchTest : public BatchRunnerTest {
 protected:
  // Adds a task of these rows; all values of its answer are kept.
  void AddRows(int64_t columns, std::vector<float> values) {
    const size_t index = answers_.size();
    answers_.emplace_back();
    statuses_.emplace_back(absl::UnknownError("not done"));
    PendingTask pending;
    pending.task.inputs = {ViewOf(inputs_.emplace_back(std::move(values)), columns)};
    pending.task.rows = pending.task.inputs[0].shape[0];
    pending.task.done = [this, index, columns](const absl::Status& status,
                                               absl::Span<const TensorView> outputs,
                                               const PhaseTimes&) {
      ++done_;
      statuses_[index] = status;
      if (outputs.empty()) return;
      EXPECT_EQ(outputs[0].shape[1], columns);
      const auto got = outputs[0].values<float>();
      answers_[index].assign(got.begin(), got.end());
    };
    batch_.rows += pending.task.rows;
    batch_.tasks.push_back(std::move(pending));
  }
};

TEST_F(PaddedBatchTest, PadsWhileItGathersAndCutsTheAnswersBack) {
  PadColumns("-1");
  model_.mixes_columns = true;  // so that answers tell what a row was padded with
  model_.scale = 1;
  model_.offset = 0;
  batch_.plans = Plans({1, 4});
  AddRows(4, {2, 2, 2, 2});
  AddRows(2, {1, 1, 4, 4});
  AddRows(3, {3, 3, 3});
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(RowsRun(), ElementsAre(4));
  EXPECT_THAT(answers_[0], ElementsAre(4, 4, 4, 4));
  EXPECT_THAT(answers_[1], ElementsAre(1, 1, 5.5f, 5.5f)) << "means of 1,1,-1,-1 and 4,4,-1,-1";
  EXPECT_THAT(answers_[2], ElementsAre(5, 5, 5)) << "mean of 3,3,3,-1";
  EXPECT_EQ(recorder_.tasks, 3);
}

TEST_F(PaddedBatchTest, ReadsASingleTaskWhereItIsUnlessItIsPadded) {
  PadColumns("0");
  batch_.plans = Plans({1});
  AddRows(4, {1, 2, 3, 4});
  Run();
  EXPECT_EQ(executor_.calls[0].input, inputs_[0].data());
  EXPECT_THAT(answers_[0], ElementsAre(11, 21, 31, 41));
  batch_.tasks.clear();
  batch_.rows = 0;
  AddRows(2, {1, 2});
  Run();
  EXPECT_NE(executor_.calls[1].input, inputs_[1].data());
  EXPECT_THAT(answers_[1], ElementsAre(11, 21));
}

TEST_F(PaddedBatchTest, PadsPiecesOfABatch) {
  PadColumns("0");
  batch_.plans = Plans({1, 2});
  AddRows(2, {1, 2, 3, 4, 5, 6});
  AddRows(3, {7, 8, 9, 10, 11, 12});
  EXPECT_TRUE(Run().status.ok());
  EXPECT_THAT(RowsRun(), ElementsAre(2, 2, 1));
  EXPECT_THAT(answers_[0], ElementsAre(11, 21, 31, 41, 51, 61));
  EXPECT_THAT(answers_[1], ElementsAre(71, 81, 91, 101, 111, 121));
}

TEST_F(PaddedBatchTest, TasksOfAFailedBatchRunAlonePadded) {
  PadColumns("0");
  model_.reject_value = 100;
  batch_.plans = Plans({1, 2});
  AddRows(2, {1, 2});
  AddRows(3, {100, 0, 0});
  EXPECT_FALSE(Run().status.ok());
  EXPECT_THAT(answers_[0], ElementsAre(11, 21));
  EXPECT_EQ(statuses_[1].code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(done_, 2);
}

TEST_F(BatchRunnerTest, UsesAllCoresOnlyWhenTold) {
  batch_.plans = Plans({1}, /*parallel=*/true);
  Add(0, 1);
  Run();
  Run(/*parallel=*/true);
  ASSERT_EQ(executor_.calls.size(), 2U);
  EXPECT_EQ(executor_.calls[0].threads, 1);
  EXPECT_EQ(executor_.calls[1].threads, 2);
}

}  // namespace
}  // namespace baton::serving
