#include "tests/engine/node_suite/isolated.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace baton::testing {
namespace {

using ::testing::HasSubstr;

TEST(RunIsolatedTest, TellsPassUnsupportedAndFailApart) {
  EXPECT_EQ(RunIsolated([] { return absl::OkStatus(); }, 60).kind, Outcome::Kind::kPass);
  const Outcome unsupported =
      RunIsolated([] { return absl::UnimplementedError("no such\noperator"); }, 60);
  EXPECT_EQ(unsupported.kind, Outcome::Kind::kUnsupported);
  EXPECT_EQ(unsupported.reason, "no such operator");
  const Outcome failed = RunIsolated([] { return absl::InternalError("7 is not 8"); }, 60);
  EXPECT_EQ(failed.kind, Outcome::Kind::kFail);
  EXPECT_EQ(failed.reason, "7 is not 8");
}

TEST(RunIsolatedTest, LongReasonArrivesWhole) {
  const std::string reason(1 << 20, 'x');
  EXPECT_EQ(RunIsolated([&] { return absl::InternalError(reason); }, 60).reason, reason);
}

TEST(RunIsolatedTest, ReportsASignalAsCrash) {
  const Outcome outcome = RunIsolated(
      []() -> absl::Status {
        std::fprintf(stderr, "about to die\n");
        raise(SIGKILL);
        return absl::OkStatus();
      },
      60);
  EXPECT_EQ(outcome.kind, Outcome::Kind::kCrash);
  EXPECT_THAT(outcome.reason, HasSubstr("about to die"));
}

TEST(RunIsolatedTest, ReportsAnEarlyExitAsCrash) {
  const Outcome outcome = RunIsolated([]() -> absl::Status { _exit(0); }, 60);
  EXPECT_EQ(outcome.kind, Outcome::Kind::kCrash);
}

TEST(RunIsolatedTest, EndsWhatHangs) {
  const Outcome outcome = RunIsolated(
      []() -> absl::Status {
        for (;;) pause();
      },
      1);
  EXPECT_EQ(outcome.kind, Outcome::Kind::kHang);
}

}  // namespace
}  // namespace baton::testing
