// A new version under a health gate: good ones take over, bad ones go, and clients see at most
// their share of what the new one answers.
#include "server/serving/rollout.h"

#include <cmath>
#include <fstream>

#include "absl/strings/match.h"
#include "tests/serving/model_server_fixture.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeModel;
using ::testing::AllOf;
using ::testing::HasSubstr;

class RolloutTest : public ModelServerTest {
 protected:
  // `options`: "name=value" each.
  void Configure(const std::vector<std::string>& options) {
    std::string text;
    for (const std::string& option : options) {
      const size_t equals = option.find('=');
      absl::StrAppend(&text, "parameters { key: \"rollout.", option.substr(0, equals),
                      "\" value { string_value: \"", option.substr(equals + 1), "\" } }\n");
    }
    std::filesystem::create_directories(dir_ / "m");
    std::ofstream(dir_ / "m/config.pbtxt") << text;
  }
  // Serves version 1, which answers 1, and begins the rollout of version 2.
  void Begin(const std::string& second) {
    Publish("m", 1, "1 1");
    Start();
    AwaitState("m", 1, VersionState::kReady);
    Publish("m", 2, second);
    AwaitState("m", 2, VersionState::kReady);
  }
  struct Seen {
    int requests = 0;
    int of_second = 0;
    int bad = 0;  // errors and NaN
  };
  // Asks until the rollout of version 2 has ended.
  Seen AskUntilOver(VersionState end) {
    Seen seen;
    const auto over = [&] {
      return end == VersionState::kReady ? StatusOf("m", 1).state == VersionState::kGone
                                         : StatusOf("m", 2).state == end;
    };
    while (!over()) {
      const Reply reply = Ask("m");
      ++seen.requests;
      if (reply.version == 2) ++seen.of_second;
      if (!reply.status.ok() || std::isnan(reply.value)) ++seen.bad;
    }
    return seen;
  }
};

TEST_F(RolloutTest, AGoodVersionTakesOverByStages) {
  Configure({"percent=50", "shadow_requests=10", "live_requests=10", "max_divergence=0.1",
             "max_latency_ratio=1000"});
  Begin("1 1.05");
  EXPECT_THAT(server_->registry().Status("m")->versions[0].note, HasSubstr("shadow"));
  // Some are answered by the new one while the old one is there.
  bool second_answered = false;
  while (StatusOf("m", 1).state != VersionState::kGone) {
    const Reply reply = Ask("m");
    ASSERT_TRUE(reply.status.ok()) << reply.status;
    EXPECT_FLOAT_EQ(reply.value, reply.version == 2 ? 1.05F : 1.0F);
    second_answered = second_answered || reply.version == 2;
  }
  EXPECT_TRUE(second_answered);
  EXPECT_EQ(Ask("m").version, 2);
  EXPECT_EQ(server_->registry().Status("m")->versions[0].note, "");
  EXPECT_THAT(server_->metrics().Render(),
              HasSubstr("baton_rollouts_total{model=\"m\",result=\"promoted\"} 1\n"));
}

TEST_F(RolloutTest, OneThatDivergesIsRevertedBeforeAnyClientSeesIt) {
  Configure({"percent=20", "shadow_requests=10", "max_divergence=0.1"});
  Begin("1 2");
  const Seen seen = AskUntilOver(VersionState::kFailed);
  EXPECT_EQ(seen.of_second, 0);
  EXPECT_EQ(seen.bad, 0);
  EXPECT_THAT(StatusOf("m", 2).error.message(),
              AllOf(HasSubstr("shadow stage"), HasSubstr("max_divergence is 0.1")));
  EXPECT_EQ(Ask("m").value, 1);
  EXPECT_THAT(server_->metrics().Render(),
              HasSubstr("baton_rollouts_total{model=\"m\",result=\"reverted\"} 1\n"));
  // It is not tried again, and the next version is.
  Configure({"percent=100", "shadow_requests=0", "live_requests=5", "max_latency_ratio=1000"});
  Publish("m", 3, "1 3");
  AwaitState("m", 3, VersionState::kReady);
  Await([&] { return Ask("m").status.ok() && StatusOf("m", 1).state == VersionState::kGone; });
  EXPECT_EQ(Ask("m").value, 3);
  EXPECT_EQ(StatusOf("m", 2).state, VersionState::kFailed);
}

TEST_F(RolloutTest, OneThatAnswersNanIsRevertedInEitherStage) {
  for (const char* shadow : {"shadow_requests=10", "shadow_requests=0"}) {
    SCOPED_TRACE(shadow);
    Configure({"percent=100", shadow});
    Begin("1 1 nan");
    const Seen seen = AskUntilOver(VersionState::kFailed);
    EXPECT_EQ(seen.bad, 0);  // the old one answers in its stead
    EXPECT_THAT(StatusOf("m", 2).error.message(), HasSubstr("NaN"));
    server_->Stop();
    server_.reset();
    std::filesystem::remove_all(dir_ / "m");
  }
}

TEST_F(RolloutTest, OneThatFailsIsReverted) {
  for (const char* shadow : {"shadow_requests=10", "shadow_requests=0"}) {
    SCOPED_TRACE(shadow);
    Configure({"percent=30", shadow, "max_error_rate=0.02"});
    Begin("1 1 error");
    const Seen seen = AskUntilOver(VersionState::kFailed);
    EXPECT_EQ(seen.bad, 0);
    EXPECT_LE(seen.of_second, seen.requests * 3 / 10);
    EXPECT_THAT(StatusOf("m", 2).error.message(), HasSubstr("the fake model is broken"));
    server_->Stop();
    server_.reset();
    std::filesystem::remove_all(dir_ / "m");
  }
}

TEST_F(RolloutTest, OneThatIsSlowerIsReverted) {
  for (const char* shadow : {"shadow_requests=40", "shadow_requests=0"}) {
    SCOPED_TRACE(shadow);
    Configure({"percent=50", shadow, "live_requests=40", "max_latency_ratio=3"});
    Begin("1 1 slow");
    const Seen seen = AskUntilOver(VersionState::kFailed);
    EXPECT_EQ(seen.bad, 0);
    EXPECT_LE(seen.of_second, (seen.requests + 1) / 2);
    EXPECT_THAT(StatusOf("m", 2).error.message(), HasSubstr("times as long as version 1"));
    server_->Stop();
    server_.reset();
    std::filesystem::remove_all(dir_ / "m");
  }
}

TEST_F(RolloutTest, OnlyRequestsWithoutAVersionTakePart) {
  Configure({"percent=100", "shadow_requests=0", "live_requests=1000000"});
  Begin("1 2");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Ask("m", {1, ""}).value, 1);
  EXPECT_EQ(Ask("m").value, 2);
  EXPECT_EQ(Ask("m", {2, ""}).value, 2);
  Await([&] {  // it is counted after its answer
    return absl::StrContains(server_->registry().Status("m")->versions[0].note,
                             "live, 1 of 1000000 requests");
  });
}

TEST_F(RolloutTest, ANewerVersionTakesTheCandidatesPlace) {
  Configure({"percent=1", "shadow_requests=1000"});
  Begin("1 2");
  Publish("m", 3, "1 3");
  AwaitState("m", 3, VersionState::kReady);
  AwaitState("m", 2, VersionState::kGone);
  EXPECT_EQ(Ask("m").value, 1);
  EXPECT_THAT(server_->registry().Status("m")->versions[0].note, HasSubstr("rollout"));
}

TEST_F(RolloutTest, EndsWhenOneOfTheVersionsVanishes) {
  Configure({"percent=1", "shadow_requests=1000"});
  Begin("1 2");
  std::filesystem::remove_all(PathOf("m", 2));
  AwaitState("m", 2, VersionState::kGone);
  EXPECT_EQ(Ask("m").value, 1);
  Publish("m", 3, "1 3");
  AwaitState("m", 3, VersionState::kReady);
  std::filesystem::remove_all(PathOf("m", 1));
  AwaitState("m", 1, VersionState::kGone);
  EXPECT_EQ(Ask("m").value, 3);
}

}  // namespace
}  // namespace baton::serving
