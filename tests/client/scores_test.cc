#include "client/scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace baton {
namespace {

std::vector<int64_t> Labels(const std::vector<Score>& row) {
  std::vector<int64_t> labels;
  for (const Score& score : row) labels.push_back(score.label);
  return labels;
}

TEST(TopScores, OrdersEachRow) {
  const NamedTensor output{"p", Tensor::From<float>({2, 3}, {0.1F, 0.7F, 0.2F, 0.5F, 0, 0.5F})};
  const auto rows = TopScores({&output, 1}, 2);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_THAT(Labels(rows[0]), ::testing::ElementsAre(1, 2));
  EXPECT_FLOAT_EQ(static_cast<float>(rows[0][0].score), 0.7F);
  EXPECT_THAT(Labels(rows[1]), ::testing::ElementsAre(0, 2));  // equal: the lower label first
}

TEST(TopScores, PutsNanLastAndGivesAtMostAllLabels) {
  const NamedTensor output{"p", Tensor::From<double>({3}, {std::nan(""), 1, 2})};
  const auto rows = TopScores({&output, 1}, 10);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_THAT(Labels(rows[0]), ::testing::ElementsAre(2, 1, 0));
}

TEST(TopScores, IsEmptyUnlessExactlyOneOutputLooksLikeScores) {
  const NamedTensor scores{"p", Tensor::From<float>({1, 2}, {0, 1})};
  const NamedTensor label{"l", Tensor::From<int64_t>({1, 2}, {0, 1})};
  const NamedTensor image{"i", Tensor(DataType::kFloat, {1, 2, 2})};
  const NamedTensor single{"s", Tensor(DataType::kFloat, {3, 1})};
  const NamedTensor scalar{"c", Tensor(DataType::kFloat, {})};
  EXPECT_EQ(TopScores(std::vector{label, scores, image, single, scalar}, 1).size(), 1U);
  EXPECT_TRUE(TopScores(std::vector{scores, scores}, 1).empty());
  EXPECT_TRUE(TopScores(std::vector{label, image, single, scalar}, 1).empty());
  EXPECT_TRUE(TopScores({}, 1).empty());
}

}  // namespace
}  // namespace baton
