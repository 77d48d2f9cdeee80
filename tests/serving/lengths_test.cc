// Requests of different lengths on the real engine: what each is answered in a batch is what the
// model answers it alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <fstream>

#include "engine/session.h"
#include "server/serving/loader.h"
#include "tests/support/model_builder.h"
#include "tests/support/nets.h"
#include "tests/support/temp_dir.h"

namespace baton::serving {
namespace {

using ::baton::testing::ModelBuilder;
using ::baton::testing::RandomTensor;
using ::baton::testing::SetInt;
using ::baton::testing::SetInts;
using ::baton::testing::TempDir;
using ::testing::HasSubstr;
using Mode = repository::LengthOptions::Mode;

constexpr int64_t kWidth = 3;

// x: float[batch,seq,3], mask: float[batch,seq] →
// tokens: float[batch,seq,4] (of each position by itself), pooled: float[batch,3] (their mean,
// where the mask is 1), scores: float[batch,seq,seq] (of each with each)
std::string MaskedModel() {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, -1, kWidth}, {"", "seq"});
  m.Input("mask", DataType::kFloat, {-1, -1}, {"", "seq"});
  m.Constant("w", RandomTensor({kWidth, 4}, -1, 1, 1));
  m.Constant("axis1", Tensor::From<int64_t>({1}, {1}));
  m.Constant("axis2", Tensor::From<int64_t>({1}, {2}));
  m.Node("MatMul", {"x", "w"}, {"projected"});
  m.Node("Relu", {"projected"}, {"tokens"});
  m.Node("Unsqueeze", {"mask", "axis2"}, {"weights"});
  m.Node("Mul", {"x", "weights"}, {"masked"});
  SetInt(m.Node("ReduceSum", {"masked", "axis1"}, {"sum"}), "keepdims", 0);
  SetInt(m.Node("ReduceSum", {"mask", "axis1"}, {"count"}), "keepdims", 1);
  m.Node("Div", {"sum", "count"}, {"pooled"});
  SetInts(m.Node("Transpose", {"x"}, {"columns"}), "perm", {0, 2, 1});
  m.Node("MatMul", {"x", "columns"}, {"scores"});
  m.Output("tokens", DataType::kFloat, {-1, -1, 4}, {"", "seq"});
  m.Output("pooled", DataType::kFloat, {-1, kWidth});
  m.Output("scores", DataType::kFloat, {-1, -1, -1}, {"", "seq", "seq"});
  return m.Build();
}

// Whatever happens between two looks takes a millisecond: larger batches cost no more.
class TickingClock final : public Clock {
 public:
  SteadyTime Now() const override { return SteadyTime(std::chrono::milliseconds(++ticks_)); }

 private:
  mutable std::atomic<int64_t> ticks_{0};
};

class LengthsTest : public ::testing::Test {
 protected:
  LengthsTest() {
    compiler_.Stop();
    std::ofstream(dir_ / "model.onnx", std::ios::binary) << MaskedModel();
    request_.model = "m";
    request_.version = 1;
    request_.directory = dir_.path();
  }
  void Load() {
    EngineRuntime runtime;
    LoadResult result = Loader(options_, runtime, context_).Load(request_, [](VersionState) {});
    ASSERT_NE(result.servable, nullptr) << result.error;
    servable_ = std::move(result.servable);
  }

  struct Request {
    std::vector<Tensor> inputs;
    absl::Status status = absl::UnknownError("not done");
    std::vector<Tensor> outputs;
  };
  void Submit(int64_t rows, int64_t length) {
    Request& request = requests_.emplace_back();
    const uint64_t seed = requests_.size();
    request.inputs = {RandomTensor({rows, length, kWidth}, -1, 1, seed),
                      Tensor(DataType::kFloat, {rows, length})};
    for (float& value : request.inputs[1].mutable_values<float>()) value = 1;
    Task task;
    for (const Tensor& input : request.inputs) task.inputs.push_back(input.view());
    task.rows = rows;
    task.done = [&request](const absl::Status& status, absl::Span<const TensorView> outputs,
                           const PhaseTimes&) {
      request.status = status;
      for (const TensorView& output : outputs) request.outputs.push_back(Tensor::Copy(output));
    };
    const absl::Status queued = servable_->Submit(std::move(task));
    ASSERT_TRUE(queued.ok()) << queued;
  }
  // Runs what waits; how many batches it took.
  int RunAll() {
    int batches = 0;
    while (scheduler_.RunOne(executor_)) ++batches;
    return batches;
  }
  // Every request has the answer of the model alone.
  void ExpectAnswersOfTheModelAlone() {
    auto model = engine::Model::Parse(MaskedModel(), "", {});
    ASSERT_TRUE(model.ok()) << model.status();
    engine::Session session;
    for (const Request& request : requests_) {
      ASSERT_TRUE(request.status.ok()) << request.status;
      std::vector<Shape> shapes;
      std::vector<TensorView> inputs;
      for (const Tensor& input : request.inputs) {
        shapes.push_back(input.shape());
        inputs.push_back(input.view());
      }
      const auto plan = (*model)->GetPlan(shapes, 1);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const auto expected = session.Run(**plan, inputs);
      ASSERT_TRUE(expected.ok()) << expected.status();
      ASSERT_EQ(request.outputs.size(), expected->size());
      for (size_t i = 0; i < expected->size(); ++i) {
        const auto difference = Compare(request.outputs[i].view(), (*expected)[i], 1e-4, 1e-5);
        ASSERT_TRUE(difference.ok()) << difference.status();
        EXPECT_TRUE(difference->within) << "output " << i << ": " << difference->max_abs;
      }
    }
  }

  TempDir dir_;
  TickingClock clock_;
  Registry registry_;
  Metrics metrics_{registry_};
  Scheduler scheduler_{0, [] { return std::make_unique<SessionExecutor>(); }, clock_};
  BackgroundThread compiler_{"compiler", 0};
  const ServableContext context_{scheduler_, compiler_, metrics_, clock_};
  LoaderOptions options_;
  LoadRequest request_;
  SessionExecutor executor_;
  std::shared_ptr<ModelServable> servable_;
  std::deque<Request> requests_;
};

TEST_F(LengthsTest, WithoutTheOptionEachLengthIsABatch) {
  Load();
  for (const int64_t length : {3, 5, 8}) Submit(1, length);
  EXPECT_EQ(RunAll(), 3);
  ExpectAnswersOfTheModelAlone();
}

TEST_F(LengthsTest, RequestsOfABucketAreOneBatch) {
  request_.config.lengths.mode = Mode::kBuckets;
  request_.config.lengths.buckets = {8, 16};
  Load();
  EXPECT_EQ(servable_->note(), "");
  Submit(1, 3);
  Submit(2, 5);
  Submit(1, 8);
  Submit(3, 1);
  Submit(1, 11);
  Submit(1, 16);
  Submit(1, 40);  // beyond the buckets
  EXPECT_EQ(RunAll(), 3);
  ExpectAnswersOfTheModelAlone();
}

TEST_F(LengthsTest, PowersOfTwoAreBucketsToo) {
  request_.config.lengths.mode = Mode::kPowersOfTwo;
  Load();
  for (const int64_t length : {5, 6, 7, 8}) Submit(1, length);
  for (const int64_t length : {33, 64}) Submit(2, length);
  EXPECT_EQ(RunAll(), 2);
  ExpectAnswersOfTheModelAlone();
}

TEST_F(LengthsTest, PadsToTheLongestOfABatch) {
  request_.config.lengths.mode = Mode::kLongest;
  Load();
  for (const int64_t length : {3, 20, 7}) Submit(2, length);
  EXPECT_EQ(RunAll(), 1);
  ExpectAnswersOfTheModelAlone();
}

TEST_F(LengthsTest, RefusesAPadValueThatTheModelDoesNotMask) {
  request_.config.lengths.mode = Mode::kBuckets;
  request_.config.lengths.buckets = {8};
  request_.config.lengths.pad_values = {{"mask", "1"}};
  Load();
  EXPECT_THAT(servable_->note(), HasSubstr("output \"pooled\" is another for padded inputs"));
  for (const int64_t length : {3, 5}) Submit(1, length);
  EXPECT_EQ(RunAll(), 2);
  ExpectAnswersOfTheModelAlone();
}

TEST_F(LengthsTest, TensorFlowServingsPaddingTakesFirstElementsUnlessAPadValueIsGiven) {
  options_.batching_parameters.pad_to_longest = true;
  Load();
  EXPECT_THAT(servable_->note(), HasSubstr("is another for padded inputs")) << "a mask of ones";
  request_.config.lengths.pad_values = {{"mask", "0"}};
  Load();
  EXPECT_EQ(servable_->note(), "");
  for (const int64_t length : {3, 20, 7}) Submit(1, length);
  EXPECT_EQ(RunAll(), 1);
  ExpectAnswersOfTheModelAlone();
}

TEST_F(LengthsTest, InputsThatDoNotFitTogetherAreTheCallersError) {
  request_.config.lengths.mode = Mode::kBuckets;
  request_.config.lengths.buckets = {8};
  Load();
  Submit(1, 5);
  const Tensor x(DataType::kFloat, {1, 5, kWidth}), mask(DataType::kFloat, {1, 6});
  absl::Status answer;
  Task task;
  task.inputs = {x.view(), mask.view()};
  task.done = [&answer](const absl::Status& status, absl::Span<const TensorView>,
                        const PhaseTimes&) { answer = status; };
  ASSERT_TRUE(servable_->Submit(std::move(task)).ok());
  RunAll();
  EXPECT_TRUE(absl::IsInvalidArgument(answer)) << answer;
  EXPECT_THAT(answer.message(), HasSubstr("\"seq\" is 5 in another input"));
  ExpectAnswersOfTheModelAlone();
}

}  // namespace
}  // namespace baton::serving
