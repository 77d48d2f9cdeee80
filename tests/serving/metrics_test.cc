#include "server/serving/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <thread>

#include "tests/serving/fake_servable.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeServable;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class MetricsTest : public ::testing::Test {
 protected:
  void MakeReady(const std::string& model, int64_t version) {
    using enum VersionState;
    registry_.AddModel(model);
    for (const VersionState state : {kVerifying, kLoading, kWarming}) {
      registry_.SetState(model, version, state);
    }
    registry_.SetState(model, version, kReady, absl::OkStatus(),
                       std::make_shared<FakeServable>(model, version));
  }

  Registry registry_;
  Metrics metrics_{registry_};
};

TEST_F(MetricsTest, CountsRequestsByMethodAndCode) {
  VersionMetrics version(metrics_, "m", 3);
  for (int i = 0; i < 5; ++i) version.RecordRequest(Method::kPredict, absl::StatusCode::kOk, 0.001);
  version.RecordRequest(Method::kModelInfer, absl::StatusCode::kDeadlineExceeded, 0.2);
  const std::string text = metrics_.Render();
  EXPECT_THAT(text, HasSubstr("baton_requests_total{code=\"OK\",method=\"Predict\",model=\"m\","
                              "version=\"3\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("baton_requests_total{code=\"DEADLINE_EXCEEDED\",method="
                              "\"ModelInfer\",model=\"m\",version=\"3\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("baton_request_duration_seconds_count{model=\"m\",version=\"3\"} 6\n"));
}

TEST_F(MetricsTest, ShowsPhasesBatchesDepthAndMemory) {
  VersionMetrics version(metrics_, "m", 3);
  version.RecordPhases(absl::OkStatus(), {0.1, 0.2, 0.3});
  version.RecordReply(0.4);
  version.RecordBatch(8);
  version.AddQueueDepth(7);
  version.AddQueueDepth(-2);
  version.SetMemoryBytes(1000, 200);
  const std::string text = metrics_.Render();
  for (const char* line : {
           "baton_phase_duration_seconds_sum{model=\"m\",phase=\"queue\",version=\"3\"} 0.1",
           "baton_phase_duration_seconds_sum{model=\"m\",phase=\"assemble\",version=\"3\"} 0.2",
           "baton_phase_duration_seconds_sum{model=\"m\",phase=\"compute\",version=\"3\"} 0.3",
           "baton_phase_duration_seconds_sum{model=\"m\",phase=\"reply\",version=\"3\"} 0.4",
           "baton_batch_size_sum{model=\"m\",version=\"3\"} 8",
           "baton_queue_depth{model=\"m\",version=\"3\"} 5",
           "baton_model_memory_bytes{kind=\"weights\",model=\"m\",version=\"3\"} 1000",
           "baton_model_memory_bytes{kind=\"plans\",model=\"m\",version=\"3\"} 200",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(MetricsTest, ShowsTheStateThatEachVersionIsIn) {
  MakeReady("m", 2);
  registry_.SetState("m", 1, VersionState::kVerifying);
  registry_.SetState("m", 1, VersionState::kFailed, absl::DataLossError("x"));
  const std::string text = metrics_.Render();
  EXPECT_THAT(text,
              AllOf(HasSubstr("baton_model_state{model=\"m\",version=\"2\",state=\"ready\"} 1"),
                    HasSubstr("baton_model_state{model=\"m\",version=\"1\",state=\"failed\"} 1")));
}

TEST_F(MetricsTest, ForgetsTheSeriesOfAVersionThatIsGoneButNotItsCounters) {
  {
    VersionMetrics version(metrics_, "m", 3);
    version.RecordRequest(Method::kPredict, absl::StatusCode::kOk, 0.001);
  }
  const std::string text = metrics_.Render();
  EXPECT_THAT(text, HasSubstr("baton_requests_total{"));
  EXPECT_THAT(text, Not(HasSubstr("baton_request_duration_seconds_count{")));
  EXPECT_THAT(text, Not(HasSubstr("baton_queue_depth{")));
  EXPECT_THAT(text, Not(HasSubstr("baton_phase_duration_seconds_count{")));
}

TEST_F(MetricsTest, KeepsTheCountersOfABoundedNumberOfVersions) {
  for (int64_t version = 1; version <= 150; ++version) {
    VersionMetrics metrics(metrics_, "m", version);
    metrics.RecordRequest(Method::kPredict, absl::StatusCode::kOk, 0.001);
  }
  const std::string text = metrics_.Render();
  EXPECT_THAT(text, HasSubstr("version=\"150\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("version=\"51\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("version=\"50\"} 1\n")));
}

TEST_F(MetricsTest, AVersionThatComesBackGoesOnCounting) {
  for (int i = 0; i < 200; ++i) {
    VersionMetrics metrics(metrics_, "m", 1);
    metrics.RecordRequest(Method::kPredict, absl::StatusCode::kOk, 0.001);
  }
  EXPECT_THAT(metrics_.Render(), HasSubstr("version=\"1\"} 200\n"));
}

TEST_F(MetricsTest, CountsFromManyThreadsWhileBeingRead) {
  VersionMetrics version(metrics_, "m", 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        version.RecordRequest(Method::kPredict, absl::StatusCode::kOk, 0.001);
        version.RecordPhases(absl::OkStatus(), {});
      }
    });
  }
  for (int i = 0; i < 20; ++i) metrics_.Render();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(metrics_.Render(), HasSubstr("version=\"1\"} 4000\n"));
}

TEST_F(MetricsTest, PassesPromtool) {
  MakeReady("m", 2);
  VersionMetrics version(metrics_, "m", 2);
  version.RecordRequest(Method::kPredict, absl::StatusCode::kOk, 0.001);
  metrics_.RecordUnserved("", Method::kPredict, absl::StatusCode::kNotFound);
  metrics_.RecordLoadPhase("m", "parse", 0.3);
  metrics_.RecordLoadFailure("m", "golden");
  metrics_.RecordSwap("m");
  const std::string text = metrics_.Render();
  for (const char* name :
       {"baton_build_info", "baton_model_load_duration_seconds", "baton_model_load_failures_total",
        "baton_swaps_total", "process_resident_memory_bytes", "process_cpu_seconds_total",
        "process_open_fds", "process_max_fds", "process_start_time_seconds"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + name)) << text;
  }
  ASSERT_EQ(system("command -v promtool >/dev/null"), 0) << "install Debian's package prometheus";
  FILE* promtool = popen("promtool check metrics 2>&1 1>&2", "w");
  ASSERT_NE(promtool, nullptr);
  ASSERT_EQ(fwrite(text.data(), 1, text.size(), promtool), text.size());
  EXPECT_EQ(pclose(promtool), 0) << text;
}

TEST(MethodName, IsDifferentForEachMethod) {
  std::set<std::string> names;
  for (int i = 0; i < static_cast<int>(Method::kCount); ++i) {
    names.insert(std::string(MethodName(static_cast<Method>(i))));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(Method::kCount));
}

}  // namespace
}  // namespace baton::serving
