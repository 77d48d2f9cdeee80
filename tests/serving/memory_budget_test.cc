#include "server/serving/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/cpu.h"

namespace baton::serving {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(MemoryBudget, RefusesWhatWouldPassTheLimitWithTheFigures) {
  int64_t in_use = 400'000'000;
  MemoryBudget budget(1'000'000'000, [&in_use] { return in_use; });
  ASSERT_TRUE(budget.Reserve(500'000'000).ok());
  const absl::Status full = budget.Reserve(200'000'000);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(full.message(), AllOf(HasSubstr("200.0 MB"), HasSubstr("400.0 MB are in use"),
                                    HasSubstr("500.0 MB reserved"), HasSubstr("of 1000.0 MB"),
                                    HasSubstr("--memory_limit_mb")));
  budget.Release(500'000'000);
  EXPECT_TRUE(budget.Reserve(200'000'000).ok());
  budget.Release(200'000'000);
  in_use = 900'000'000;
  EXPECT_FALSE(budget.Reserve(200'000'000).ok());
}

TEST(MemoryBudget, WithoutALimitTakesEverything) {
  MemoryBudget budget(0, [] { return int64_t{1} << 60; });
  EXPECT_TRUE(budget.Reserve(int64_t{1} << 50).ok());
}

TEST(ProcessMemoryInUse, GrowsWithWhatIsInUse) {
  const int64_t before = ProcessMemoryInUse();
  EXPECT_GT(before, 0);
  EXPECT_LE(before, ResidentBytes());
  const std::vector<char> block(100'000'000, 1);
  EXPECT_GT(ProcessMemoryInUse(), before + 50'000'000) << block.size();
}

TEST(EstimateLoadBytes, CountsAllFilesSeveralTimes) {
  const int64_t nothing = EstimateLoadBytes({});
  repository::FileStamp file;
  file.size = 100'000'000;
  EXPECT_GE(EstimateLoadBytes({file, file}), nothing + 2 * 200'000'000);
}

}  // namespace
}  // namespace baton::serving
