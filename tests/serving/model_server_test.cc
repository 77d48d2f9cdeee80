// The whole of serving over a fake engine: files appear in a directory, versions come and go, and
// requests never notice.
#include "server/serving/model_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/serving/fake_engine.h"
#include "tests/serving/model_server_fixture.h"

namespace baton::serving {
namespace {

namespace fs = std::filesystem;
using ::baton::testing::FakeModel;
using ::baton::testing::FakeRuntime;
using ::testing::HasSubstr;

TEST_F(ModelServerTest, ServesWhatItFinds) {
  Publish("m", 1, "1 7");
  Start();
  Await([&] { return server_->Ready(); });
  const Reply reply = Ask("m");
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_EQ(reply.version, 1);
  EXPECT_EQ(reply.value, 7);
}

TEST_F(ModelServerTest, IsNotReadyWithoutAModelAndNotAfterTheLastVanished) {
  Start();
  EXPECT_FALSE(server_->Ready());
  Publish("m", 1, "1 7");
  Await([&] { return server_->Ready(); });
  fs::remove_all(dir_ / "m");
  Await([&] { return !server_->Ready(); });
  Await([&] { return absl::IsNotFound(server_->registry().Status("m").status()); });
  Await([] { return FakeModel::alive() == 0; });
}

TEST_F(ModelServerTest, ReplacesAVersionByTheNextAndFreesIt) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  Publish("m", 2, "1 2");
  AwaitState("m", 1, VersionState::kGone);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_EQ(FakeModel::alive(), 1);
  EXPECT_THAT(server_->metrics().Render(), HasSubstr("baton_swaps_total{model=\"m\"} 1\n"));
}

TEST_F(ModelServerTest, DoesNotMeasureTheNextVersionOfTheSameModel) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  const int first = runtime_->runs();
  Publish("m", 2, "1 2");
  AwaitState("m", 2, VersionState::kReady);
  EXPECT_LT(runtime_->runs() - first, first / 2);
}

TEST_F(ModelServerTest, WarmUpRequestsThatFailFailTheVersion) {
  options_.warm_up_requests = [](const std::string&, const std::shared_ptr<Servable>&) {
    return absl::InvalidArgumentError("no such request");
  };
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kFailed);
  EXPECT_EQ(StatusOf("m", 1).error.message(), "no such request");
}

TEST_F(ModelServerTest, LeavesOutWarmUpRequestsWhenToldTo) {
  options_.model_warmup = false;
  options_.warm_up_requests = [](const std::string&, const std::shared_ptr<Servable>&) {
    return absl::InvalidArgumentError("no such request");
  };
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
}

TEST_F(ModelServerTest, KeepsTheOldVersionWhileANewOneFailsAndTakesAMendedOne) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  Publish("m", 2, "broken");
  AwaitState("m", 2, VersionState::kFailed);
  EXPECT_THAT(std::string(StatusOf("m", 2).error.message()), HasSubstr("broken"));
  EXPECT_EQ(Ask("m").value, 1);
  const int loads = runtime_->loads();
  Publish("other", 1, "1 5");  // some scans later
  AwaitState("other", 1, VersionState::kReady);
  EXPECT_EQ(runtime_->loads(), loads + 1);  // the broken one was not tried again
  Publish("m", 2, "1 2");
  AwaitState("m", 2, VersionState::kReady);
  AwaitState("m", 1, VersionState::kGone);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_THAT(server_->metrics().Render(),
              HasSubstr("baton_model_load_failures_total{model=\"m\",reason=\"parse\"} 1\n"));
}

TEST_F(ModelServerTest, AVersionThatMissesItsGoldenSamplesNeverServes) {
  Publish("m", 1, "1 1");
  Publish("m", 2, "1 2", "output y is off by 3");
  Start();
  AwaitState("m", 2, VersionState::kFailed);
  AwaitState("m", 1, VersionState::kReady);  // the next best
  EXPECT_THAT(std::string(StatusOf("m", 2).error.message()), HasSubstr("off by 3"));
  EXPECT_EQ(Ask("m").value, 1);
}

TEST_F(ModelServerTest, ABadModelDoesNotHoldUpReadinessOrAnotherModel) {
  Publish("bad", 1, "broken");
  Publish("good", 1, "1 1");
  Start();
  Await([&] { return server_->Ready(); });
  EXPECT_EQ(Ask("good").value, 1);
  EXPECT_EQ(Ask("bad").status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(ModelServerTest, SaysThatAVersionStillChanges) {
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  fs::create_directories(PathOf("m", 2));
  Await([&] { return !StatusOf("m", 2).error.ok(); });
  EXPECT_THAT(std::string(StatusOf("m", 2).error.message()), HasSubstr("model.onnx"));
  EXPECT_EQ(Ask("m", {2, ""}).status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(ModelServerTest, FollowsTheVersionPolicyOfTheModelsConfig) {
  Publish("m", 1, "1 1");
  Publish("m", 2, "1 2");
  WriteFile("m/config.pbtxt", "version_policy { all {} }\nmax_batch_size: 4\n");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  AwaitState("m", 2, VersionState::kReady);
  EXPECT_EQ(Ask("m", {1, ""}).value, 1);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_EQ((*server_->registry().Acquire("m", {}))->max_batch_size(), 4);
}

TEST_F(ModelServerTest, ABrokenConfigIsTheModelsErrorAndItIsReadAgain) {
  Publish("m", 1, "1 1");
  WriteFile("m/config.pbtxt", "max_batch_size: many\n");
  Start();
  Await([&] {
    const auto status = server_->registry().Status("m");
    return status.ok() && !status->error.ok();
  });
  EXPECT_THAT(std::string(server_->registry().Status("m")->error.message()),
              HasSubstr("config.pbtxt"));
  WriteFile("m/config.pbtxt", "max_batch_size: 4 # mended\n");
  AwaitState("m", 1, VersionState::kReady);
  EXPECT_TRUE(server_->registry().Status("m")->error.ok());
}

TEST_F(ModelServerTest, AVersionThatFailedIsTriedAgainWithAnotherConfig) {
  Publish("m", 1, "1 1");
  WriteFile("m/config.pbtxt", "input { name: \"w\" data_type: TYPE_FP32 dims: 4 }\n");
  Start();
  AwaitState("m", 1, VersionState::kFailed);
  EXPECT_THAT(std::string(StatusOf("m", 1).error.message()), HasSubstr("\"w\""));
  WriteFile("m/config.pbtxt", "max_batch_size: 4\n");
  AwaitState("m", 1, VersionState::kReady);
}

TEST_F(ModelServerTest, ServesModelsGivenByName) {
  Publish("elsewhere", 3, "1 3");
  options_.repository.clear();
  options_.models = {{"m", dir_ / "elsewhere"}};
  Start();
  AwaitState("m", 3, VersionState::kReady);
  EXPECT_EQ(Ask("m").value, 3);
}

TEST_F(ModelServerTest, ReadsTheRepositoryOnceWhenNotPolling) {
  options_.poll_seconds = 0;
  Publish("m", 1, "1 1");
  Start();
  Await([&] { return server_->Ready(); });
  EXPECT_EQ(Ask("m").value, 1);
}

TEST_F(ModelServerTest, RefusesToStartWithoutARepositoryOrWithWrongOptions) {
  FakeRuntime runtime;
  const auto start = [](ModelServerOptions options) {
    return ModelServer(std::move(options), std::make_unique<FakeRuntime>()).Start();
  };
  ModelServerOptions options;
  EXPECT_EQ(start(options).code(), absl::StatusCode::kInvalidArgument);
  options.repository = dir_ / "nowhere";
  const absl::Status missing = start(options);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("nowhere"));
  options.repository = dir_.path();
  options.workers = -1;
  const absl::Status wrong = start(options);
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("workers is -1"));
}

TEST_F(ModelServerTest, DrainFinishesWhatWasTakenAndRefusesMore) {
  Publish("m", 1, "1 1");
  Start();
  Await([&] { return server_->Ready(); });
  server_->BeginDrain();
  EXPECT_FALSE(server_->Ready());
  EXPECT_TRUE(Ask("m").status.ok());  // still served
  std::shared_ptr<Servable> held = *server_->registry().Acquire("m", {});
  EXPECT_FALSE(server_->Drain(RealClock::Get().Now()));  // somebody holds it
  EXPECT_EQ(Ask("m").status.code(), absl::StatusCode::kUnavailable);
  held.reset();
  EXPECT_TRUE(server_->Drain(kNoDeadline));
}

// Publishes versions as fast as they are taken while clients ask without a break.
TEST_F(ModelServerTest, SwapsUnderLoadLoseNoRequestAndNeverGoBack) {
  constexpr int kClients = 6;
  constexpr int64_t kVersions = 60;
  Publish("m", 1, "1 1");
  Start();
  AwaitState("m", 1, VersionState::kReady);
  std::atomic<bool> stop{false};
  std::atomic<int64_t> requests{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      int64_t last = 0;
      while (!stop) {
        const Reply reply = Ask("m");
        ASSERT_TRUE(reply.status.ok()) << reply.status;
        ASSERT_EQ(reply.value, static_cast<float>(reply.version));
        ASSERT_GE(reply.version, last);
        last = reply.version;
        ++requests;
      }
    });
  }
  for (int64_t version = 2; version <= kVersions; ++version) {
    const bool bad = version % 7 == 0;
    Publish("m", version, bad ? "broken" : absl::StrCat("1 ", version));
    AwaitState("m", version, bad ? VersionState::kFailed : VersionState::kReady);
    fs::remove_all(PathOf("m", version - 2));
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  EXPECT_GT(requests, 0);
  AwaitState("m", kVersions - 1, VersionState::kGone);
  EXPECT_EQ(FakeModel::alive(), 1);
}

}  // namespace
}  // namespace baton::serving
