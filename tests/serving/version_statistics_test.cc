#include "server/serving/version_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace baton::serving {
namespace {

using ::testing::IsEmpty;

TEST(VersionStatistics, StartsEmpty) {
  const StatisticsSnapshot statistics = VersionStatistics().Snapshot();
  EXPECT_EQ(statistics.last_inference_ms, 0U);
  EXPECT_EQ(statistics.inferences, 0U);
  EXPECT_EQ(statistics.success.count, 0U);
  EXPECT_THAT(statistics.batches, IsEmpty());
}

TEST(VersionStatistics, SumsRequestsAndPhases) {
  VersionStatistics statistics;
  statistics.RecordRequest(true, 0.5);
  statistics.RecordRequest(true, 0.25);
  statistics.RecordRequest(false, 2);
  statistics.RecordPhases({1, 0.125, 3});
  statistics.RecordPhases({0, 0.125, 4});
  statistics.RecordReply(0.5);
  const StatisticsSnapshot all = statistics.Snapshot();
  EXPECT_EQ(all.success.count, 2U);
  EXPECT_EQ(all.success.ns, 750'000'000U);
  EXPECT_EQ(all.fail.count, 1U);
  EXPECT_EQ(all.fail.ns, 2'000'000'000U);
  EXPECT_EQ(all.queue.count, 2U);
  EXPECT_EQ(all.queue.ns, 1'000'000'000U);
  EXPECT_EQ(all.input.ns, 250'000'000U);
  EXPECT_EQ(all.infer.ns, 7'000'000'000U);
  EXPECT_EQ(all.output.count, 2U);
  EXPECT_EQ(all.output.ns, 500'000'000U);
}

TEST(VersionStatistics, KeepsBatchSizesApartSmallOrLarge) {
  VersionStatistics statistics;
  constexpr int64_t kLarge = VersionStatistics::kDirectRows + 1;
  for (const int64_t rows : {int64_t{100'000}, int64_t{1}, kLarge - 1, kLarge, int64_t{1}}) {
    statistics.RecordExecution(rows, 1, 2);
  }
  statistics.RecordOutput(1, 3);
  statistics.RecordOutput(kLarge, 4);
  const StatisticsSnapshot all = statistics.Snapshot();
  EXPECT_EQ(all.executions, 5U);
  EXPECT_EQ(all.inferences, 100'000U + 2 + 64 + 65);
  EXPECT_GT(all.last_inference_ms, 1'600'000'000'000U) << "milliseconds since 1970";
  ASSERT_EQ(all.batches.size(), 4U);
  EXPECT_EQ(all.batches[0].rows, 1);
  EXPECT_EQ(all.batches[0].input.count, 2U);
  EXPECT_EQ(all.batches[0].input.ns, 2'000'000'000U);
  EXPECT_EQ(all.batches[0].infer.ns, 4'000'000'000U);
  EXPECT_EQ(all.batches[0].output.ns, 3'000'000'000U);
  EXPECT_EQ(all.batches[1].rows, kLarge - 1);
  EXPECT_EQ(all.batches[2].rows, kLarge);
  EXPECT_EQ(all.batches[2].output.ns, 4'000'000'000U);
  EXPECT_EQ(all.batches[3].rows, 100'000);
}

TEST(VersionStatistics, CountsFromManyThreads) {
  VersionStatistics statistics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) {
        statistics.RecordRequest(true, 0);
        statistics.RecordExecution(60 + t * 5, 1e-9, 1e-9);
        statistics.Snapshot();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const StatisticsSnapshot all = statistics.Snapshot();
  EXPECT_EQ(all.success.count, 4000U);
  EXPECT_EQ(all.executions, 4000U);
  ASSERT_EQ(all.batches.size(), 4U);
  for (const auto& batch : all.batches) EXPECT_EQ(batch.infer.count, 1000U) << batch.rows;
}

}  // namespace
}  // namespace baton::serving
