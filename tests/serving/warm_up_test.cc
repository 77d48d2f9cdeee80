#include "server/serving/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/serving/fake_engine.h"
#include "tests/support/fake_clock.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeClock;
using ::baton::testing::FakeExecutor;
using ::baton::testing::FakeModel;
using ::baton::testing::FakeModelOptions;
using ::baton::testing::FakePlan;
using std::chrono::microseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Mode = repository::LengthOptions::Mode;

const ShapeKey kRow = {1, 4};

class WarmUpTest : public ::testing::Test {
 protected:
  // Seconds of a run: fixed plus per row, divided among the plan's threads.
  void SetCost(microseconds fixed, microseconds per_row) {
    executor_.on_run = [=, this](const FakePlan& plan) {
      clock_.Advance((fixed + per_row * plan.input_shapes()[0][0]) / plan.threads());
    };
  }
  WarmUpResult Run(const FakeModel& model) {
    auto result = WarmUp(model, samples_, options_, executor_, clock_);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : WarmUpResult{};
  }
  static std::vector<int64_t> Sizes(const WarmUpResult& result, const ShapeKey& key) {
    std::vector<int64_t> sizes;
    const auto found = result.plans.find(key);
    if (found == result.plans.end()) return sizes;
    for (const PlanSet::Entry& entry : found->second->entries()) sizes.push_back(entry.rows);
    return sizes;
  }

  // Sets the options' padding, for a model of free columns.
  void Pad(repository::LengthOptions::Mode mode, std::vector<int64_t> buckets = {}) {
    repository::LengthOptions lengths;
    lengths.mode = mode;
    lengths.buckets = std::move(buckets);
    auto padding = Padding::Make(lengths, FakeModel({.free_columns = true}).signature());
    ASSERT_TRUE(padding.ok()) << padding.status();
    options_.padding = *padding;
  }

  WarmUpOptions options_{.max_batch_rows = 16};
  std::vector<engine::GoldenSample> samples_;
  FakeClock clock_;
  FakeExecutor executor_;
};

TEST_F(WarmUpTest, CompilesPowersOfTwoWhileRowsGetCheaper) {
  SetCost(microseconds(100), microseconds(1));
  const WarmUpResult result = Run(FakeModel());
  EXPECT_TRUE(result.batched);
  EXPECT_THAT(Sizes(result, kRow), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_EQ(result.measured.best_rows, 16);
  EXPECT_EQ(result.measured.largest_rows, 16);
  EXPECT_THAT(result.measured.costs, Contains(std::pair<int64_t, double>(8, 108e-6)));
}

TEST_F(WarmUpTest, StopsWhereALargerBatchBringsNothing) {
  SetCost(microseconds(0), microseconds(1000));
  const WarmUpResult result = Run(FakeModel());
  EXPECT_TRUE(result.batched);
  EXPECT_EQ(result.measured.best_rows, 1);
  EXPECT_THAT(Sizes(result, kRow), ElementsAre(1, 2, 4));
}

TEST_F(WarmUpTest, MeasuresLongRunsLessOften) {
  const auto runs_of_one_row = [this](microseconds took) {
    SetCost(microseconds(0), took);
    executor_.calls.clear();
    Run(FakeModel());
    return std::count_if(executor_.calls.begin(), executor_.calls.end(),
                         [](const FakeExecutor::Call& call) { return call.rows == 1; });
  };
  // Two are for finding out whether rows may be batched.
  EXPECT_EQ(runs_of_one_row(microseconds(1'000)), 2 + 4);
  EXPECT_EQ(runs_of_one_row(microseconds(50'000)), 2 + 2);
  EXPECT_EQ(runs_of_one_row(microseconds(1'500'000)), 2 + 1);
}

TEST_F(WarmUpTest, DoesNotBatchAModelWhoseRowsDependOnEachOther) {
  const WarmUpResult result = Run(FakeModel({.mixes_rows = true}));
  EXPECT_FALSE(result.batched);
  EXPECT_EQ(result.measured.best_rows, 1);
  EXPECT_THAT(Sizes(result, {2, 1, 4}), ElementsAre(1));  // the whole shape [1,4] as it is
  EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("requests are not batched: output \"y\"")));
}

TEST_F(WarmUpTest, DoesNotBatchAFixedFirstDimension) {
  const WarmUpResult result = Run(FakeModel({.fixed_batch = true}));
  EXPECT_FALSE(result.batched);
  EXPECT_THAT(Sizes(result, {2, 1, 4}), ElementsAre(1));
}

TEST_F(WarmUpTest, DoesNotBatchWhenToldNotTo) {
  options_.batching = false;
  EXPECT_FALSE(Run(FakeModel()).batched);
}

TEST_F(WarmUpTest, KeepsParallelPlansOnlyWhereTheyAreFaster) {
  options_.parallel_threads = 2;
  SetCost(microseconds(100), microseconds(100));
  const WarmUpResult faster = Run(FakeModel());
  EXPECT_EQ(faster.measured.parallel_seconds, 100e-6);
  EXPECT_NE(faster.plans.at(kRow)->Find(1)->parallel, nullptr);

  executor_.on_run = [this](const FakePlan&) { clock_.Advance(microseconds(100)); };
  const WarmUpResult no_faster = Run(FakeModel());
  EXPECT_EQ(no_faster.measured.parallel_seconds, 0);
  EXPECT_EQ(no_faster.plans.at(kRow)->Find(1)->parallel, nullptr);

  // What takes long is judged in service: who knows what else the cores do now.
  executor_.on_run = [this](const FakePlan&) { clock_.Advance(microseconds(1000)); };
  const WarmUpResult unsure = Run(FakeModel());
  EXPECT_EQ(unsure.measured.parallel_seconds, 1000e-6);
  EXPECT_NE(unsure.plans.at(kRow)->Find(1)->parallel, nullptr);
}

TEST_F(WarmUpTest, HasPlansForWhatTheVersionBeforeRuns) {
  SetCost(microseconds(0), microseconds(1000));
  options_.sizes = {{kRow, {1, 7}}, {{3, 1, 1, 1}, {1}}};  // the second does not fit any more
  const WarmUpResult result = Run(FakeModel());
  EXPECT_THAT(Sizes(result, kRow), ElementsAre(1, 2, 4, 7));
  EXPECT_THAT(Sizes(result, {3, 1, 1, 1}), IsEmpty());
}

TEST_F(WarmUpTest, DoesNotMeasureAgainWhatTheVersionBeforeMeasured) {
  options_.parallel_threads = 2;
  SetCost(microseconds(100), microseconds(1));
  options_.before = Run(FakeModel({.scale = 1})).measured;
  ASSERT_GT(options_.before->parallel_seconds, 0);
  executor_.calls.clear();
  SetCost(microseconds(0), microseconds(1000));
  const WarmUpResult result = Run(FakeModel({.scale = 2}));
  EXPECT_THAT(Sizes(result, kRow), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_NE(result.plans.at(kRow)->Find(16)->parallel, nullptr);
  EXPECT_EQ(result.measured.best_rows, 16);
  EXPECT_EQ(result.measured.largest_rows, 16);
  EXPECT_EQ(result.measured.costs, options_.before->costs);
  bool parallel_ran = false;
  for (const FakeExecutor::Call& call : executor_.calls) {
    EXPECT_LE(call.rows, 2);  // two rows must still give what each gives alone
    parallel_ran = parallel_ran || call.threads == 2;
  }
  EXPECT_TRUE(parallel_ran);
}

TEST_F(WarmUpTest, MeasuresAgainWhereTheVersionBeforeWasAnother) {
  SetCost(microseconds(100), microseconds(1));
  const Measured before = Run(FakeModel()).measured;
  ASSERT_EQ(before.best_rows, 16);
  SetCost(microseconds(0), microseconds(1000));
  const auto best_rows = [&](const Measured& known, const FakeModelOptions& model) {
    options_.before = known;
    return Run(FakeModel(model)).measured.best_rows;
  };
  EXPECT_EQ(best_rows(before, {}), 16);
  EXPECT_EQ(best_rows(before, {.structure = 2}), 1);
  EXPECT_EQ(best_rows(before, {.fixed_batch = true}), 1);
  Measured other = before;
  other.max_batch_rows = 8;
  EXPECT_EQ(best_rows(other, {}), 1);
  other = before;
  other.parallel_threads = 2;
  EXPECT_EQ(best_rows(other, {}), 1);
  other = before;
  other.costs.clear();  // as of one whose shapes were not known
  EXPECT_EQ(best_rows(other, {}), 1);
}

TEST_F(WarmUpTest, TakesShapesFromSamplesWhereTheModelLeavesThemOpen) {
  samples_.push_back({"a", {Tensor(DataType::kFloat, {1, 9})}, {}});
  const WarmUpResult result = Run(FakeModel({.free_columns = true}));
  EXPECT_TRUE(result.batched);
  EXPECT_THAT(Sizes(result, {1, 9}), Contains(1));
}

TEST_F(WarmUpTest, FindsOutAboutRowsEvenWithoutKnowingAnyShape) {
  const WarmUpResult independent = Run(FakeModel({.free_columns = true, .reject_columns = 16}));
  EXPECT_TRUE(independent.batched);
  EXPECT_THAT(independent.plans, IsEmpty());
  EXPECT_FALSE(Run(FakeModel({.mixes_rows = true, .free_columns = true})).batched);
}

TEST_F(WarmUpTest, TakesPaddingWhereAnswersStayTheSame) {
  for (const Mode mode : {Mode::kPowersOfTwo, Mode::kLongest}) {
    Pad(mode);
    const WarmUpResult result = Run(FakeModel({.free_columns = true}));
    EXPECT_EQ(result.padding, options_.padding);
    EXPECT_TRUE(result.padding_refused.ok()) << result.padding_refused;
  }
}

TEST_F(WarmUpTest, RefusesPaddingThatChangesAnswers) {
  Pad(Mode::kBuckets, {4, 8});
  const WarmUpResult result = Run(FakeModel({.mixes_columns = true, .free_columns = true}));
  EXPECT_TRUE(result.batched);
  EXPECT_EQ(result.padding, nullptr);
  EXPECT_TRUE(absl::IsFailedPrecondition(result.padding_refused));
  EXPECT_THAT(std::string(result.padding_refused.message()),
              HasSubstr("output \"y\" is another for padded inputs"));
  EXPECT_THAT(result.plans, IsEmpty());
}

TEST_F(WarmUpTest, RefusesPaddingWithTheFirstElementThatChangesAnswers) {
  repository::LengthOptions lengths;
  lengths.mode = Mode::kLongest;
  lengths.pad_with_first_element = true;
  options_.padding = *Padding::Make(lengths, FakeModel({.free_columns = true}).signature());
  EXPECT_EQ(Run(FakeModel({.mixes_columns = true, .free_columns = true})).padding, nullptr);
  EXPECT_NE(Run(FakeModel({.free_columns = true})).padding, nullptr);
}

TEST_F(WarmUpTest, RefusesPaddingWhereRequestsAreNotBatchedOrNothingCouldBeTried) {
  Pad(Mode::kBuckets, {4});
  const auto refused = [this](const baton::testing::FakeModelOptions& model) {
    const WarmUpResult result = Run(FakeModel(model));
    EXPECT_EQ(result.padding, nullptr);
    return std::string(result.padding_refused.message());
  };
  EXPECT_THAT(refused({.mixes_rows = true, .free_columns = true}), HasSubstr("not batched"));
  EXPECT_THAT(refused({.free_columns = true, .reject_columns = 4}),
              HasSubstr("could not be tried"));
}

TEST_F(WarmUpTest, CompilesTheBucketsAhead) {
  SetCost(microseconds(100), microseconds(1));
  Pad(Mode::kBuckets, {4, 8, 32});
  const WarmUpResult result = Run(FakeModel({.free_columns = true}));
  for (const int64_t columns : {4, 8, 32}) {
    EXPECT_THAT(Sizes(result, {1, columns}), ElementsAre(1, 2, 4, 8, 16)) << columns;
  }
  EXPECT_EQ(result.plans.size(), 3U);
  EXPECT_THAT(result.measured.costs, Contains(std::pair<int64_t, double>(8, 108e-6)));
}

TEST_F(WarmUpTest, ABucketThatTheModelDoesNotRunIsLeftOut) {
  Pad(Mode::kBuckets, {4, 8, 32});
  const WarmUpResult result = Run(FakeModel({.free_columns = true, .reject_columns = 32}));
  EXPECT_NE(result.padding, nullptr);
  EXPECT_THAT(Sizes(result, {1, 4}), Contains(1));
  EXPECT_THAT(Sizes(result, {1, 32}), IsEmpty());
}

TEST_F(WarmUpTest, WarmsUpSamplesAsRequestsWillRun) {
  samples_.push_back({"a", {Tensor(DataType::kFloat, {1, 5})}, {}});
  Pad(Mode::kPowersOfTwo);
  const WarmUpResult result = Run(FakeModel({.free_columns = true}));
  EXPECT_THAT(Sizes(result, {1, 8}), Contains(1));
  EXPECT_THAT(Sizes(result, {1, 5}), IsEmpty());
}

TEST_F(WarmUpTest, AShapeOfTheSignatureThatCannotBeCompiledIsAnError) {
  const FakeModel model({.fixed_batch = true, .reject_columns = 4});
  EXPECT_EQ(WarmUp(model, samples_, options_, executor_, clock_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace baton::serving
