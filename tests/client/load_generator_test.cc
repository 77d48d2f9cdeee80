#include "client/load_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/load_report.h"
#include "tests/client/fake_server.h"

namespace baton {
namespace {

using ::testing::HasSubstr;

class LoadGeneratorTest : public ::testing::TestWithParam<Protocol> {
 protected:
  LoadGeneratorTest() {
    options_.server = fake_.address();
    options_.protocol = GetParam();
    options_.timeout = std::chrono::seconds(60);
  }
  std::unique_ptr<LoadGenerator> Make() {
    const NamedTensor x{"x", Tensor::From<float>({1, 4}, {1, 2, 3, 4})};
    return *LoadGenerator::Create(options_,
                                  {*EncodePredict(GetParam(), {"affine", {}, ""}, {&x, 1})});
  }
  LoadReport RunLoad() {
    const auto generator = Make();
    generator->Start();
    return generator->Finish();
  }
  testing::FakeServer fake_;
  LoadOptions options_;
};
INSTANTIATE_TEST_SUITE_P(Protocols, LoadGeneratorTest,
                         ::testing::Values(Protocol::kTensorFlowServing, Protocol::kOpenInference),
                         [](const auto& info) {
                           return info.param == Protocol::kOpenInference ? "OpenInference"
                                                                         : "TensorFlowServing";
                         });

TEST_P(LoadGeneratorTest, ClosedLoopSendsExactlyWhatWasAskedFor) {
  options_.concurrency = 8;
  options_.threads = 2;
  options_.connections = 3;
  options_.max_requests = 300;
  fake_.version = [](int64_t n) { return n < 100 ? 1 : 2; };
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.Replies(), 300);
  EXPECT_EQ(report.stats.Failures(), 0);
  EXPECT_EQ(fake_.predicts(), 300);
  EXPECT_EQ(report.stats.versions.at(1).replies, 100);
  EXPECT_EQ(report.stats.versions.at(2).replies, 200);
  EXPECT_EQ(report.stats.steps_back, 0);
  EXPECT_GT(report.elapsed_s, 0);
  EXPECT_DOUBLE_EQ(report.replies_per_s, 300 / report.elapsed_s);
  EXPECT_GT(report.stats.latency.MinNs(), 0);
}

TEST_P(LoadGeneratorTest, ClosedLoopThinksBetweenReplyAndRequest) {
  options_.concurrency = 2;
  options_.think_time = std::chrono::milliseconds(10);
  options_.max_requests = 40;
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.Replies(), 40);
  // Two that think make 200 a second at most; what is random of it is the same in every run.
  EXPECT_GT(report.elapsed_s, 0.1);
}

TEST_P(LoadGeneratorTest, WhoThinksForLongDoesNotHoldUpTheEnd) {
  options_.concurrency = 2;
  options_.think_time = std::chrono::hours(10);
  options_.duration = std::chrono::milliseconds(20);
  EXPECT_EQ(RunLoad().stats.Replies(), 0);

  options_.duration = std::chrono::nanoseconds(0);
  const auto generator = Make();
  generator->Start();
  generator->Stop();
  EXPECT_EQ(generator->Finish().stats.Replies(), 0);
}

TEST_P(LoadGeneratorTest, OpenLoopSendsExactlyWhatWasAskedFor) {
  options_.rate = 5000;
  options_.concurrency = 1000;
  options_.max_requests = 200;
  for (const ArrivalKind kind : {ArrivalKind::kConstant, ArrivalKind::kPoisson}) {
    options_.arrivals = kind;
    const LoadReport report = RunLoad();
    EXPECT_EQ(report.stats.Replies(), 200);
    EXPECT_EQ(report.stats.send_lag.count(), 200);
    EXPECT_EQ(report.unsent, 0);
  }
}

TEST_P(LoadGeneratorTest, OpenLoopCountsWhatAStalledServerKeptItFromSending) {
  fake_.hold = true;
  options_.rate = 1000;
  options_.concurrency = 2;
  options_.duration = std::chrono::milliseconds(100);
  options_.timeout = std::chrono::milliseconds(300);
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.Replies(), 0);
  EXPECT_LE(report.stats.Failures(), 2);
  // Constant arrivals at 0, 1, … 99 ms.
  EXPECT_EQ(report.stats.Failures() + report.unsent, 100);
}

TEST_P(LoadGeneratorTest, CountsErrorsByCodeWithAnExample) {
  fake_.status = [](int64_t n) {
    if (n % 4 == 1) return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full");
    if (n % 4 == 3) return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
    return grpc::Status::OK;
  };
  options_.max_requests = 100;
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.Replies(), 50);
  ASSERT_EQ(report.stats.errors.size(), 2U);
  EXPECT_EQ(report.stats.errors.at(absl::StatusCode::kResourceExhausted).count, 25);
  EXPECT_EQ(report.stats.errors.at(absl::StatusCode::kResourceExhausted).example, "queue full");
  EXPECT_EQ(report.stats.errors.at(absl::StatusCode::kInternal).count, 25);
}

TEST_P(LoadGeneratorTest, CountsTimeoutsOfASlowServer) {
  fake_.hold = true;
  options_.timeout = std::chrono::milliseconds(30);
  options_.concurrency = 3;
  options_.max_requests = 3;
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.Replies(), 0);
  EXPECT_EQ(report.stats.errors.at(absl::StatusCode::kDeadlineExceeded).count, 3);
}

TEST_P(LoadGeneratorTest, SeesVersionsGoBack) {
  fake_.version = [](int64_t n) { return n == 7 ? 3 : 4 + n; };
  options_.max_requests = 20;
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.Replies(), 20);
  EXPECT_EQ(report.stats.steps_back, 1);
  EXPECT_EQ(report.stats.step_back_example, "version 3 answered after version 10 on connection 0");
}

TEST_P(LoadGeneratorTest, SeesNoStepBackInRepliesThatOvertakeEachOther) {
  fake_.version = [](int64_t n) { return 1 + n; };
  options_.concurrency = 16;
  options_.max_requests = 500;
  EXPECT_EQ(RunLoad().stats.steps_back, 0);
}

TEST_P(LoadGeneratorTest, RunsUntilStopped) {
  for (const double rate : {0.0, 2000.0}) {
    options_.rate = rate;
    options_.concurrency = 4;
    const auto generator = Make();
    const int64_t before = fake_.predicts();
    generator->Start();
    fake_.WaitForPredicts(before + 50);
    const LoadProgress progress = generator->TakeProgress();
    EXPECT_GT(progress.stats.Replies(), 0);
    EXPECT_FALSE(progress.warming_up);
    generator->Stop();
    EXPECT_TRUE(generator->WaitUntil(std::chrono::steady_clock::now() + std::chrono::minutes(1)));
    const LoadReport report = generator->Finish();
    EXPECT_EQ(report.stats.Replies(), fake_.predicts() - before);
    EXPECT_EQ(report.stats.Failures(), 0);
  }
}

TEST_P(LoadGeneratorTest, LeavesWarmUpOutOfTheReport) {
  options_.warm_up = std::chrono::hours(1);
  const auto generator = Make();
  generator->Start();
  fake_.WaitForPredicts(20);
  EXPECT_TRUE(generator->TakeProgress().warming_up);
  generator->Stop();
  const LoadReport report = generator->Finish();
  EXPECT_EQ(report.stats.Replies(), 0);
  EXPECT_EQ(report.elapsed_s, 0);
}

TEST_P(LoadGeneratorTest, SurvivesAServerThatIsNotThere) {
  options_.server = "127.0.0.1:1";
  options_.max_requests = 5;
  const LoadReport report = RunLoad();
  EXPECT_EQ(report.stats.errors.at(absl::StatusCode::kUnavailable).count, 5);
  EXPECT_THAT(report.stats.errors.at(absl::StatusCode::kUnavailable).example,
              HasSubstr("cannot reach 127.0.0.1:1"));
}

TEST(LoadOptions, AreChecked) {
  LoadOptions good;
  good.server = "localhost:8500";
  EXPECT_TRUE(good.Validate().ok());
  LoadOptions bad = good;
  bad.threads = 2;
  EXPECT_FALSE(bad.Validate().ok());
  bad = good;
  bad.server = "localhost";
  EXPECT_FALSE(bad.Validate().ok());
  bad = good;
  bad.rate = -1;
  EXPECT_FALSE(bad.Validate().ok());
  bad = good;
  bad.timeout = std::chrono::seconds(0);
  EXPECT_FALSE(bad.Validate().ok());
}

TEST(LoadReport, SaysTheSameInTextAndJson) {
  LoadOptions options;
  options.server = "localhost:8500";
  LoadReport report;
  report.elapsed_s = 2;
  report.replies_per_s = 750;
  for (int i = 0; i < 1500; ++i) report.stats.AddReply(i < 1000 ? 3 : 4, 1'000'000, 0.001 * i);
  report.stats.AddError(absl::UnavailableError("two\nlines"), 3'000'000);
  const LoadSubject subject{"mnist", "x float[8,784], as given", 8};
  const std::string table = LoadReportTable(subject, options, report);
  EXPECT_THAT(table, HasSubstr("1,501, 1 failed"));
  EXPECT_THAT(table, HasSubstr("750.0 requests/s, 6000.0 rows/s"));
  EXPECT_THAT(table, HasSubstr("p99.9 1.000"));
  EXPECT_THAT(table, HasSubstr("1 UNAVAILABLE, p50 3.000 ms, p99 3.000 ms: two lines"));
  EXPECT_THAT(table, HasSubstr("went back     never"));
  const nlohmann::json json = LoadReportJson(subject, options, report);
  EXPECT_EQ(json["requests"], 1501);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["requests_per_s"], 750.0);
  EXPECT_EQ(json["latency_ms"]["p99"], 1.0);
  EXPECT_EQ(json["errors"][0]["code"], "UNAVAILABLE");
  EXPECT_EQ(json["errors"][0]["latency_ms"]["p99"], 3.0);
  EXPECT_EQ(json["versions"][1]["version"], "4");
  EXPECT_EQ(json["versions"][1]["replies"], 500);
  EXPECT_EQ(json["versions_went_back"], 0);
}

}  // namespace
}  // namespace baton
