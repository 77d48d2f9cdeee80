#include "server/repository/version_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"

namespace baton::repository {
namespace {

using ::testing::HasSubstr;
using Kind = VersionPolicy::Kind;
using Versions = std::set<int64_t>;
using Phases = std::map<int64_t, Phase>;

VersionPolicy Latest(int64_t n) { return {Kind::kLatest, n, {}}; }
VersionPolicy All() { return {Kind::kAll, 1, {}}; }
VersionPolicy Specific(Versions versions) { return {Kind::kSpecific, 1, std::move(versions)}; }
Action Load(int64_t version) { return {Action::Kind::kLoad, version}; }
Action Unload(int64_t version) { return {Action::Kind::kUnload, version}; }

TEST(VersionPolicy, ValidatesItsNumbers) {
  EXPECT_TRUE(VersionPolicy().Validate().ok());
  EXPECT_TRUE(Specific({1}).Validate().ok());
  EXPECT_THAT(Latest(0).Validate().message(), HasSubstr("latest 0"));
  EXPECT_TRUE(absl::IsInvalidArgument(Specific({}).Validate()));
  EXPECT_THAT(Specific({-3, 4}).Validate().message(), HasSubstr("-3"));
}

TEST(VersionPolicy, Prints) {
  EXPECT_EQ(ToString(Latest(2)), "latest 2");
  EXPECT_EQ(ToString(All()), "all");
  EXPECT_EQ(ToString(Specific({4, 1})), "specific 1, 4");
}

struct DesiredCase {
  std::string name;
  Versions available;
  VersionPolicy policy;
  Versions failed;
  Versions versions;
  bool wants_model;
};

class DesiredTest : public ::testing::TestWithParam<DesiredCase> {};

TEST_P(DesiredTest, Picks) {
  const DesiredCase& c = GetParam();
  const DesiredVersions desired = Desired(c.available, c.policy, c.failed);
  EXPECT_EQ(desired.versions, c.versions);
  EXPECT_EQ(desired.wants_model, c.wants_model);
}

INSTANTIATE_TEST_SUITE_P(
    Table, DesiredTest,
    ::testing::Values(
        DesiredCase{"NothingThere", {}, Latest(1), {}, {}, false},
        DesiredCase{"Newest", {1, 2, 10}, Latest(1), {}, {10}, true},
        DesiredCase{"NewestTwo", {1, 2, 10}, Latest(2), {}, {2, 10}, true},
        DesiredCase{"FewerThanAsked", {1, 2}, Latest(5), {}, {1, 2}, true},
        DesiredCase{"NextBestForAFailedNewest", {1, 2, 3}, Latest(1), {3}, {2}, true},
        DesiredCase{"NextBestOfSeveralFailed", {1, 2, 3}, Latest(1), {2, 3}, {1}, true},
        DesiredCase{"NextBestOfTwo", {1, 2, 3, 4}, Latest(2), {3}, {2, 4}, true},
        DesiredCase{"OlderFailureDoesNotMatter", {1, 2, 3}, Latest(1), {1}, {3}, true},
        DesiredCase{"AllFailed", {1, 2}, Latest(1), {1, 2}, {}, true},
        DesiredCase{"FailureOfAVersionThatWent", {1}, Latest(1), {7}, {1}, true},
        DesiredCase{"All", {1, 5}, All(), {}, {1, 5}, true},
        DesiredCase{"AllButFailed", {1, 5, 6}, All(), {5}, {1, 6}, true},
        DesiredCase{"AllOfNothing", {}, All(), {}, {}, false},
        DesiredCase{"Specific", {1, 2, 3}, Specific({1, 3}), {}, {1, 3}, true},
        DesiredCase{"SpecificHasNoStandIn", {1, 2, 3}, Specific({3}), {3}, {}, true},
        DesiredCase{"SpecificNotThere", {1}, Specific({3}), {}, {}, true}),
    [](const auto& info) { return info.param.name; });

struct NextCase {
  std::string name;
  DesiredVersions desired;
  Phases phases;
  std::optional<Action> action;
};

class NextTest : public ::testing::TestWithParam<NextCase> {};

TEST_P(NextTest, Steps) {
  const NextCase& c = GetParam();
  const std::optional<Action> action = Next(c.desired, c.phases);
  ASSERT_EQ(action.has_value(), c.action.has_value());
  if (action.has_value()) {
    EXPECT_EQ(action->kind, c.action->kind);
    EXPECT_EQ(action->version, c.action->version);
  }
}

constexpr Phase kLoading = Phase::kLoading;
constexpr Phase kReady = Phase::kReady;
constexpr Phase kUnloading = Phase::kUnloading;
constexpr Phase kFailed = Phase::kFailed;

INSTANTIATE_TEST_SUITE_P(
    Table, NextTest,
    ::testing::Values(
        NextCase{"NothingToDo", {}, {}, {}}, NextCase{"FirstLoad", {{1}, true}, {}, Load(1)},
        NextCase{"WaitsForTheLoad", {{1}, true}, {{1, kLoading}}, {}},
        NextCase{"GoalReached", {{1}, true}, {{1, kReady}}, {}},
        NextCase{"HighestFirst", {{1, 2, 3}, true}, {}, Load(3)},
        NextCase{"OneAtATime", {{1, 2, 3}, true}, {{3, kLoading}}, {}},
        NextCase{"ThenTheNext", {{1, 2, 3}, true}, {{3, kReady}}, Load(2)},
        NextCase{"NewVersionLoadsBesideTheOld", {{2}, true}, {{1, kReady}}, Load(2)},
        NextCase{"OldServesWhileNewLoads", {{2}, true}, {{1, kReady}, {2, kLoading}}, {}},
        NextCase{"OldGoesWhenNewIsReady", {{2}, true}, {{1, kReady}, {2, kReady}}, Unload(1)},
        NextCase{
            "OldestGoesFirst", {{3}, true}, {{1, kReady}, {2, kReady}, {3, kReady}}, Unload(1)},
        NextCase{"WaitsForTheDrain", {{2}, true}, {{1, kUnloading}, {2, kReady}}, {}},
        NextCase{"DrainsSideBySide",
                 {{3}, true},
                 {{1, kUnloading}, {2, kReady}, {3, kReady}},
                 Unload(2)},
        NextCase{"NoUnloadBeforeAllAreReady",
                 {{3, 4}, true},
                 {{2, kReady}, {3, kReady}, {4, kLoading}},
                 {}},
        NextCase{"OvertakenLoadEndsFirst", {{3}, true}, {{1, kReady}, {2, kLoading}}, {}},
        NextCase{
            "OvertakenVersionGoesAfterwards", {{3}, true}, {{2, kReady}, {3, kReady}}, Unload(2)},
        NextCase{"WantedAgainWhileDraining", {{1}, true}, {{1, kUnloading}}, {}},
        NextCase{"OthersLoadWhileItDrains", {{1, 2}, true}, {{2, kUnloading}}, Load(1)},
        NextCase{"FailedAndChanged", {{2}, true}, {{1, kReady}, {2, kFailed}}, Load(2)},
        NextCase{"FallsBackToTheReadyOne", {{1}, true}, {{1, kReady}, {2, kFailed}}, {}},
        NextCase{"FallsBackToOneNotLoaded", {{2}, true}, {{1, kReady}, {3, kFailed}}, Load(2)},
        NextCase{"AllFailedKeepsTheReadyOne", {{}, true}, {{1, kReady}, {2, kFailed}}, {}},
        NextCase{"AllFailedKeepsTheHighestOnly",
                 {{}, true},
                 {{1, kReady}, {2, kReady}, {3, kFailed}},
                 Unload(1)},
        NextCase{"RemovedModelUnloads", {}, {{1, kReady}, {2, kReady}}, Unload(1)},
        NextCase{"RemovedModelUnloadsTheLast", {}, {{2, kReady}}, Unload(2)},
        NextCase{"RemovedModelLoadsNothing", {{3}, false}, {{2, kReady}}, Unload(2)},
        NextCase{"RemovedWhileLoadingWaits", {}, {{2, kLoading}}, {}}),
    [](const auto& info) { return info.param.name; });

int CountReady(const Phases& phases) {
  return static_cast<int>(std::count_if(phases.begin(), phases.end(),
                                        [](const auto& p) { return p.second == kReady; }));
}

// What must hold of any single step, in any state.
void CheckStep(const DesiredVersions& desired, const Phases& phases,
               const std::optional<Action>& action) {
  if (!action.has_value()) return;
  const auto phase = phases.find(action->version);
  if (action->kind == Action::Kind::kLoad) {
    EXPECT_TRUE(desired.wants_model && desired.versions.contains(action->version));
    EXPECT_TRUE(phase == phases.end() || phase->second == kFailed);
    for (const auto& [version, p] : phases) EXPECT_NE(p, kLoading) << version;
  } else {
    ASSERT_TRUE(phase != phases.end());
    EXPECT_EQ(phase->second, kReady);
    if (desired.wants_model) {
      EXPECT_FALSE(desired.versions.contains(action->version));
      EXPECT_GE(CountReady(phases), 2);
    }
  }
}

// What must hold when there is no step and nothing is under way.
void CheckGoal(const DesiredVersions& desired, const Phases& phases) {
  Versions ready;
  for (const auto& [version, phase] : phases) {
    if (phase == kReady) ready.insert(version);
  }
  if (!desired.wants_model) {
    EXPECT_EQ(ready, Versions());
  } else if (desired.versions.empty()) {
    EXPECT_LE(ready.size(), 1u);
  } else {
    EXPECT_EQ(ready, desired.versions);
  }
}

TEST(NextProperties, HoldInEveryStateOfFourVersions) {
  constexpr int kVersions = 4;
  for (int code = 0; code < 5 * 5 * 5 * 5; ++code) {
    Phases start;
    for (int64_t version = 1, rest = code; version <= kVersions; ++version, rest /= 5) {
      if (rest % 5 > 0) start[version] = static_cast<Phase>(rest % 5 - 1);
    }
    for (int wanted = 0; wanted < (2 << kVersions); ++wanted) {
      DesiredVersions desired;
      for (int64_t version = 1; version <= kVersions; ++version) {
        if ((wanted >> (version - 1)) & 1) desired.versions.insert(version);
      }
      desired.wants_model = (wanted >> kVersions) & 1;
      Phases phases = start;
      int steps = 0;
      while (true) {
        const std::optional<Action> action = Next(desired, phases);
        CheckStep(desired, phases, action);
        if (action.has_value()) {
          ASSERT_LE(++steps, 2 * kVersions);
          if (action->kind == Action::Kind::kLoad) phases[action->version] = kLoading;
          if (action->kind == Action::Kind::kUnload) phases[action->version] = kUnloading;
          continue;
        }
        // What is under way ends; then there may be more to do.
        bool ended = false;
        for (auto p = phases.begin(); p != phases.end();) {
          const bool drained = p->second == kUnloading;
          ended |= drained || p->second == kLoading;
          if (p->second == kLoading) p->second = kReady;
          p = drained ? phases.erase(p) : std::next(p);
        }
        if (!ended) break;
      }
      CheckGoal(desired, phases);
      if (::testing::Test::HasFailure()) FAIL() << "state " << code << " wanted " << wanted;
    }
  }
}

// A model's life: versions come, go, fail and are mended in any order, the policy changes, loads
// and drains end when they like.
class RandomLife {
 public:
  explicit RandomLife(uint32_t seed) : random_(seed) {}

  void Happen() {
    const int64_t version = Pick(1, 6);
    switch (Pick(0, 8)) {
      case 0:
      case 1:
        disk_.insert(version);
        break;
      case 2:
        // A repository keeps something, or the model is really gone.
        if (disk_.size() > 1 || Pick(0, 9) == 0) disk_.erase(version);
        break;
      case 3:
        broken_.insert(version);
        break;
      case 4:  // mended: its failure no longer stands
        broken_.erase(version);
        failed_.erase(version);
        break;
      case 5:
        policy_ = Pick(0, 2) == 0   ? All()
                  : Pick(0, 1) == 0 ? Latest(Pick(1, 3))
                                    : Specific({Pick(1, 6), Pick(1, 6)});
        break;
      default:
        EndSomething();
    }
  }

  // One call of Next; false if it had nothing to say.
  bool Step() {
    const DesiredVersions desired = Want();
    const std::optional<Action> action = Next(desired, phases_);
    CheckStep(desired, phases_, action);
    if (!action.has_value()) return false;
    const bool load = action->kind == Action::Kind::kLoad;
    phases_[action->version] = load ? kLoading : kUnloading;
    return true;
  }

  // Ends one load or drain; false if there is none.
  bool EndSomething() {
    for (auto& [version, phase] : phases_) {
      if (phase == kUnloading) {
        phases_.erase(version);
        return true;
      }
      if (phase == kLoading) {
        phase = broken_.contains(version) ? kFailed : kReady;
        if (phase == kFailed) failed_.insert(version);
        return true;
      }
    }
    return false;
  }

  DesiredVersions Want() const { return Desired(disk_, policy_, failed_); }
  const Phases& phases() const { return phases_; }
  int ready() const { return CountReady(phases_); }

 private:
  int64_t Pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  std::mt19937 random_;
  Versions disk_;
  Versions broken_;
  Versions failed_;
  VersionPolicy policy_;
  Phases phases_;
};

TEST(NextProperties, NoLifeLosesItsLastReadyVersionAndEveryLifeComesToRest) {
  int served = 0;
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    RandomLife life(seed);
    bool was_ready = false;
    for (int event = 0; event < 60; ++event) {
      life.Happen();
      life.Step();
      if (!life.Want().wants_model) {
        was_ready = false;
      } else if (was_ready) {
        ASSERT_GE(life.ready(), 1) << "seed " << seed << " event " << event;
      }
      was_ready = was_ready || life.ready() > 0;
      served += life.ready() > 0;
    }
    int steps = 0;
    while (life.Step() || life.EndSomething()) ASSERT_LE(++steps, 60) << "seed " << seed;
    CheckGoal(life.Want(), life.phases());
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(served, 30000);  // the lives really serve most of the time
}

}  // namespace
}  // namespace baton::repository
