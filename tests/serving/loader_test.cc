#include "server/serving/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "server/repository/manifest.h"
#include "tests/serving/fake_engine.h"
#include "tests/support/fake_clock.h"
#include "tests/support/model_builder.h"
#include "tests/support/temp_dir.h"

namespace baton::serving {
namespace {

using ::baton::testing::AffineModel;
using ::baton::testing::FakeClock;
using ::baton::testing::FakeExecutor;
using ::baton::testing::FakeRuntime;
using ::baton::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    compiler_.Stop();
    request_.model = "m";
    request_.version = 7;
    request_.directory = dir_.path();
    Write("model.onnx", "2 1");
  }
  void Write(const std::string& name, const std::string& content) {
    std::ofstream(dir_ / name, std::ios::binary) << content;
  }
  LoadResult Load(Runtime& runtime) {
    states_.clear();
    return Loader(options_, runtime, context_).Load(request_, [this](VersionState state) {
      states_.push_back(state);
    });
  }
  LoadResult Load() { return Load(fake_); }
  // A request of one row, whose answer nobody looks at.
  absl::Status Submit(ModelServable& servable, int priority = 0) {
    Task task;
    task.inputs = {baton::testing::ViewOf(row_)};
    task.priority = priority;
    task.done = [](const absl::Status&, absl::Span<const TensorView>, const PhaseTimes&) {};
    return servable.Submit(std::move(task));
  }

  TempDir dir_;
  FakeClock clock_;
  Registry registry_;
  Metrics metrics_{registry_};
  Scheduler scheduler_{0, [] { return std::make_unique<FakeExecutor>(); }, clock_};
  BackgroundThread compiler_{"compiler", 0};
  const ServableContext context_{scheduler_, compiler_, metrics_, clock_};
  FakeRuntime fake_;
  FakeExecutor executor_;
  LoaderOptions options_;
  LoadRequest request_;
  const std::vector<float> row_ = std::vector<float>(4);
  std::vector<VersionState> states_;
};

TEST_F(LoaderTest, GoesThroughItsStatesAndReportsItsPhases) {
  const LoadResult result = Load();
  ASSERT_NE(result.servable, nullptr) << result.error;
  EXPECT_EQ(result.servable->model(), "m");
  EXPECT_EQ(result.servable->version(), 7);
  EXPECT_EQ(result.servable->max_batch_size(), options_.max_request_rows);
  EXPECT_THAT(states_, ElementsAre(VersionState::kVerifying, VersionState::kLoading,
                                   VersionState::kWarming));
  const std::string text = metrics_.Render();
  for (const char* phase : {"verify", "parse", "compile", "warm"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("baton_model_load_duration_seconds_count{model=\"m\","
                                             "phase=\"",
                                             phase, "\"} 1\n")));
  }
}

TEST_F(LoaderTest, RefusesFilesThatAreNotWhatTheManifestSays) {
  repository::Manifest manifest;
  manifest.created = "2026-01-01T00:00:00Z";
  manifest.files = {{"model.onnx", 3, std::string(64, '0')}};
  Write("manifest.json", repository::ToJson(manifest));
  const LoadResult result = Load();
  EXPECT_EQ(result.servable, nullptr);
  EXPECT_EQ(result.error.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(result.reason, "verify");
  EXPECT_EQ(fake_.loads(), 0);
}

TEST_F(LoaderTest, RefusesAConfigThatDoesNotFitTheModel) {
  request_.config.inputs = {{"pixels", DataType::kFloat, true, {4}}};
  request_.config.max_batch_size = 8;
  const LoadResult result = Load();
  EXPECT_EQ(result.servable, nullptr);
  EXPECT_EQ(result.error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(result.reason, "config");
}

TEST_F(LoaderTest, RefusesAModelThatMissesItsGoldenSamples) {
  Write("golden", "off by 3");
  const LoadResult result = Load();
  EXPECT_EQ(result.servable, nullptr);
  EXPECT_EQ(result.reason, "golden");
  EXPECT_THAT(std::string(result.error.message()), HasSubstr("off by 3"));
}

TEST_F(LoaderTest, TakesItsLimitsFromTheConfig) {
  request_.config.max_batch_size = 3;
  EXPECT_EQ(Load().servable->max_batch_size(), 3);
  request_.config.max_batch_size = 0;
  EXPECT_EQ(Load().servable->max_batch_size(), 0);
}

// A fake whose executions take 10 ms, and 1 ms for each row.
class TimedRuntime final : public Runtime {
 public:
  explicit TimedRuntime(FakeClock& clock) : clock_(clock) {}
  absl::StatusOr<std::shared_ptr<const engine::Model>> Load(
      const std::string& path, const engine::ModelOptions& options) override {
    return fake_.Load(path, options);
  }
  absl::StatusOr<std::vector<engine::GoldenSample>> ReadSamples(const std::string&,
                                                                const engine::Signature&) override {
    return std::vector<engine::GoldenSample>{};
  }
  absl::Status CheckSamples(const engine::Model&, const std::vector<engine::GoldenSample>&,
                            const engine::Tolerance&, int, engine::GoldenResult&) override {
    return absl::OkStatus();
  }
  std::unique_ptr<Executor> NewExecutor() override {
    auto executor = std::make_unique<FakeExecutor>();
    executor->on_run = [this](const baton::testing::FakePlan& plan) {
      clock_.Advance(std::chrono::milliseconds(10 + plan.input_shapes()[0][0]));
    };
    return executor;
  }
  int64_t MemoryInUse() override { return 0; }

 private:
  FakeClock& clock_;
  FakeRuntime fake_;
};

TEST_F(LoaderTest, ALatencyTargetMakesBatchesSmaller) {
  TimedRuntime runtime(clock_);
  for (const auto& [target_ms, rows] : {std::pair(0.0, 8), std::pair(27.0, 3)}) {
    request_.config.latency_target_ms = target_ms;
    const std::shared_ptr<ModelServable> servable = Load(runtime).servable;
    ASSERT_NE(servable, nullptr);
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(*servable).ok());
    Batch batch = servable->Take(0);
    EXPECT_EQ(batch.rows, rows) << target_ms;
    servable->Run(std::move(batch), false, executor_);
    servable->Abort();
  }
}

TEST_F(LoaderTest, ADelayIsNoLongerThanHalfOfTheLatencyTarget) {
  request_.config.dynamic_batching.max_queue_delay_us = 50'000;
  request_.config.latency_target_ms = 20;
  const std::shared_ptr<ModelServable> servable = Load().servable;
  ASSERT_TRUE(Submit(*servable).ok());
  const Batch batch = servable->Take(0);
  EXPECT_EQ(batch.ready_at - clock_.Now(), std::chrono::milliseconds(10));
  servable->Abort();
}

TEST_F(LoaderTest, EachPriorityHasItsQueuePolicy) {
  repository::DynamicBatching& batching = request_.config.dynamic_batching;
  batching.priority_levels = batching.default_priority_level = 3;
  batching.queue = {.max_queue_size = 2, .default_timeout_us = 1000, .delay = true};
  batching.level_queues[1] = {.max_queue_size = 1, .default_timeout_us = 1000};
  const std::shared_ptr<ModelServable> servable = Load().servable;
  EXPECT_TRUE(Submit(*servable, 1).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Submit(*servable, 1)));
  for (const int priority : {2, 2, 3, 3}) EXPECT_TRUE(Submit(*servable, priority).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Submit(*servable, 3)));
  clock_.Advance(std::chrono::milliseconds(2));
  Batch batch = servable->Take(0);
  EXPECT_EQ(batch.dropped.size(), 1U) << "the first priority rejects what has timed out";
  EXPECT_GT(batch.tasks.size(), 0U) << "the others delay it";
  servable->Run(std::move(batch), false, executor_);
  servable->Abort();
}

TEST_F(LoaderTest, PrioritiesWithoutABoundShareTheServers) {
  options_.max_queue_size = 3;
  repository::DynamicBatching& batching = request_.config.dynamic_batching;
  batching.priority_levels = batching.default_priority_level = 2;
  batching.level_queues[1].max_queue_size = 1;
  const std::shared_ptr<ModelServable> servable = Load().servable;
  for (const int priority : {1, 2, 2, 2}) EXPECT_TRUE(Submit(*servable, priority).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Submit(*servable, 2)));
  servable->Abort();
}

TEST_F(LoaderTest, LengthsAreRefusedWithoutFailingTheLoad) {
  request_.config.lengths.mode = repository::LengthOptions::Mode::kPowersOfTwo;
  const LoadResult fixed = Load();
  ASSERT_NE(fixed.servable, nullptr) << fixed.error;
  EXPECT_THAT(fixed.servable->note(), HasSubstr("no input has a dimension of any size"));
  options_.batching = false;
  EXPECT_THAT(Load().servable->note(), HasSubstr("--enable_batching"));
}

TEST_F(LoaderTest, ALengthOptionThatDoesNotFitTheModelIsTheConfigsError) {
  EngineRuntime engine;
  baton::testing::ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, -1}).Output("y", DataType::kFloat, {-1, -1});
  m.Node("Relu", {"x"}, {"y"});
  Write("model.onnx", m.Build());
  request_.config.lengths.mode = repository::LengthOptions::Mode::kPowersOfTwo;
  request_.config.lengths.pad_values = {{"ids", "0"}};
  const LoadResult result = Load(engine);
  EXPECT_EQ(result.servable, nullptr);
  EXPECT_EQ(result.reason, "config");
  EXPECT_THAT(std::string(result.error.message()), HasSubstr("config.pbtxt: parameters[pad_value"));
}

TEST_F(LoaderTest, ServerWidePaddingSaysNothingOfModelsWithoutLengths) {
  options_.batching_parameters.pad_to_longest = true;
  EXPECT_EQ(Load().servable->note(), "");
}

// The real engine behind the same door.
TEST_F(LoaderTest, LoadsAModelWithTheEngine) {
  EngineRuntime engine;
  Write("model.onnx", AffineModel(2, 1));
  const LoadResult result = Load(engine);
  ASSERT_NE(result.servable, nullptr) << result.error;
  EXPECT_EQ(result.servable->max_batch_size(), options_.max_request_rows);
  Write("model.onnx", AffineModel(2, 1).substr(0, 20));
  const LoadResult truncated = Load(engine);
  EXPECT_EQ(truncated.servable, nullptr);
  EXPECT_EQ(truncated.reason, "parse");
}

}  // namespace
}  // namespace baton::serving
