#include "server/serving/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serving/fake_servable.h"

namespace baton::serving {
namespace {

using ::baton::testing::FakeServable;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

class RegistryTest : public ::testing::Test {
 protected:
  void Advance(int64_t version, VersionState to) {
    using enum VersionState;
    for (const VersionState state : {kVerifying, kLoading, kWarming}) {
      registry_.SetState("m", version, state);
      if (state == to) return;
    }
    if (to == kFailed) {
      registry_.SetState("m", version, kFailed, absl::DataLossError("sha256 is wrong"));
    } else {
      registry_.SetState("m", version, kReady, absl::OkStatus(),
                         std::make_shared<FakeServable>("m", version));
    }
  }
  absl::StatusOr<int64_t> Latest() {
    const auto servable = registry_.Acquire("m", {});
    if (!servable.ok()) return servable.status();
    return (*servable)->version();
  }

  Registry registry_;
};

TEST_F(RegistryTest, NamesTheModelsThereAreWhenOneIsUnknown) {
  registry_.AddModel("a");
  registry_.AddModel("b");
  const absl::Status status = registry_.Acquire("c", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(status), AllOf(HasSubstr("\"c\""), HasSubstr("a, b")));
}

TEST_F(RegistryTest, PassesOnWhatAVersionThatIsReadyHasToSay) {
  registry_.AddModel("m");
  Advance(1, VersionState::kWarming);
  EXPECT_EQ(registry_.Status("m")->versions[0].note, "");
  registry_.SetState("m", 1, VersionState::kReady, absl::OkStatus(),
                     std::make_shared<FakeServable>("m", 1, "it does without"));
  EXPECT_EQ(registry_.Status("m")->versions[0].note, "it does without");
}

TEST_F(RegistryTest, AnEmptyNameIsTheCallersFault) {
  EXPECT_TRUE(absl::IsInvalidArgument(registry_.Acquire("", {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(registry_.Status("").status()));
}

TEST_F(RegistryTest, GivesTheHighestVersionThatIsReady) {
  registry_.AddModel("m");
  Advance(1, VersionState::kReady);
  Advance(3, VersionState::kReady);
  Advance(4, VersionState::kWarming);
  EXPECT_EQ(*Latest(), 3);
  const auto hidden = registry_.SetState("m", 3, VersionState::kDraining);
  ASSERT_NE(hidden, nullptr);
  EXPECT_EQ(hidden->version(), 3);
  EXPECT_EQ(*Latest(), 1);
}

TEST_F(RegistryTest, FindsVersionsByNumberAndLabel) {
  registry_.AddModel("m");
  Advance(1, VersionState::kReady);
  Advance(2, VersionState::kReady);
  registry_.SetLabels("m", {{"stable", 1}});
  EXPECT_EQ((*registry_.Acquire("m", {1, ""}))->version(), 1);
  EXPECT_EQ((*registry_.Acquire("m", {std::nullopt, "stable"}))->version(), 1);
  const absl::Status no_version = registry_.Acquire("m", {7, ""}).status();
  EXPECT_EQ(no_version.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(no_version), HasSubstr("versions: 2, 1"));
  const absl::Status no_label = registry_.Acquire("m", {std::nullopt, "canary"}).status();
  EXPECT_EQ(no_label.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(no_label), HasSubstr("labels: stable"));
}

TEST_F(RegistryTest, SaysWhyAKnownVersionDoesNotServe) {
  registry_.AddModel("m");
  Advance(2, VersionState::kFailed);
  registry_.SetAbsent("m", {{3, absl::UnavailableError("files are changing")}});
  const absl::Status failed = registry_.Acquire("m", {2, ""}).status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(failed), HasSubstr("sha256 is wrong"));
  const absl::Status latest = registry_.Acquire("m", {}).status();
  EXPECT_EQ(latest.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Text(latest), AllOf(HasSubstr("sha256 is wrong"), HasSubstr("files are changing")));
}

TEST_F(RegistryTest, AbsentVersionsComeAndGo) {
  registry_.AddModel("m");
  Advance(1, VersionState::kReady);
  registry_.SetAbsent("m", {{1, absl::UnavailableError("x")}, {2, absl::UnavailableError("y")}});
  ModelStatus status = *registry_.Status("m");
  ASSERT_EQ(status.versions.size(), 2U);
  EXPECT_EQ(status.versions[0].state, VersionState::kAbsent);
  EXPECT_EQ(status.versions[0].error.message(), "y");
  EXPECT_EQ(status.versions[1].state, VersionState::kReady);
  registry_.SetAbsent("m", {});
  EXPECT_EQ(registry_.Status("m")->versions.size(), 1U);
}

TEST_F(RegistryTest, KeepsOnlyTheLastVersionsThatAreGone) {
  registry_.AddModel("m");
  for (int64_t version = 1; version <= 50; ++version) {
    Advance(version, VersionState::kReady);
    registry_.SetState("m", version, VersionState::kDraining);
    registry_.SetState("m", version, VersionState::kGone);
  }
  const ModelStatus status = *registry_.Status("m");
  EXPECT_EQ(status.versions.size(), 8U);
  EXPECT_EQ(status.versions.front().version, 50);
  EXPECT_EQ(registry_.Acquire("m", {50, ""}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, RefusesEverythingOnceClosed) {
  registry_.AddModel("m");
  Advance(1, VersionState::kReady);
  registry_.Close();
  EXPECT_EQ(Latest().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RegistryTest, ForgetsAModel) {
  registry_.AddModel("m");
  registry_.RemoveModel("m");
  registry_.RemoveModel("m");
  EXPECT_EQ(registry_.Status("m").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(registry_.StatusOfAll().empty());
}

using RegistryDeathTest = RegistryTest;

TEST_F(RegistryDeathTest, DiesOfATransitionThatMustNotBe) {
  registry_.AddModel("m");
  EXPECT_DEATH(registry_.SetState("m", 1, VersionState::kWarming), "absent to warming");
}

}  // namespace
}  // namespace baton::serving
