#include "server/serving/version_state.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace baton::serving {
namespace {

constexpr VersionState kAll[] = {
    VersionState::kAbsent, VersionState::kVerifying, VersionState::kLoading, VersionState::kWarming,
    VersionState::kReady,  VersionState::kDraining,  VersionState::kGone,    VersionState::kFailed};

TEST(VersionState, HasANameForEachState) {
  std::set<std::string> names;
  for (const VersionState state : kAll) names.insert(std::string(VersionStateName(state)));
  EXPECT_EQ(names, (std::set<std::string>{"absent", "verifying", "loading", "warming", "ready",
                                          "draining", "gone", "failed"}));
}

TEST(VersionState, AllowsExactlyTheTransitionsOfItsLife) {
  using enum VersionState;
  const std::set<std::pair<VersionState, VersionState>> allowed = {
      {kAbsent, kVerifying}, {kVerifying, kLoading}, {kVerifying, kFailed}, {kLoading, kWarming},
      {kLoading, kFailed},   {kWarming, kReady},     {kWarming, kFailed},   {kReady, kDraining},
      {kDraining, kGone},    {kDraining, kFailed},   {kGone, kVerifying},   {kFailed, kVerifying},
      {kFailed, kGone}};
  for (const VersionState from : kAll) {
    for (const VersionState to : kAll) {
      EXPECT_EQ(MayChange(from, to), allowed.contains({from, to}))
          << VersionStateName(from) << " to " << VersionStateName(to);
    }
  }
}

}  // namespace
}  // namespace baton::serving
