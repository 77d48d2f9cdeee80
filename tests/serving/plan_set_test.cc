#include "server/serving/plan_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::serving {
namespace {

using ::testing::ElementsAre;

TensorView View(Shape shape) { return {DataType::kFloat, std::move(shape), nullptr}; }

TEST(ShapeKey, LeavesRowsOutWhereRequestsAreBatched) {
  EXPECT_EQ(MakeShapeKey({View({2, 3}), View({2})}, true),
            MakeShapeKey({View({5, 3}), View({5})}, true));
  EXPECT_NE(MakeShapeKey({View({2, 3}), View({2})}, false),
            MakeShapeKey({View({5, 3}), View({5})}, false));
}

TEST(ShapeKey, TellsRanksApart) {
  EXPECT_NE(MakeShapeKey({View({1, 2, 3}), View({1})}, true),
            MakeShapeKey({View({1, 2}), View({1, 3})}, true));
}

TEST(ShapeKey, GivesTheShapesBack) {
  const std::vector<TensorView> views = {View({7, 2, 3}), View({7}), View({7, 0})};
  EXPECT_THAT(ShapesOf(MakeShapeKey(views, true), 7, true),
              ElementsAre(Shape{7, 2, 3}, Shape{7}, Shape{7, 0}));
  EXPECT_THAT(ShapesOf(MakeShapeKey(views, false), 1, false),
              ElementsAre(Shape{7, 2, 3}, Shape{7}, Shape{7, 0}));
}

TEST(PlanSet, SplitsIntoTheLargestThatFit) {
  const PlanSet set({{4, nullptr, nullptr}, {1, nullptr, nullptr}, {2, nullptr, nullptr}});
  EXPECT_EQ(set.largest(), 4);
  EXPECT_EQ(set.Find(3), nullptr);
  ASSERT_NE(set.Find(2), nullptr);
  std::vector<int64_t> rows;
  for (const PlanSet::Entry* entry : set.Split(11)) rows.push_back(entry->rows);
  EXPECT_THAT(rows, ElementsAre(4, 4, 2, 1));
}

}  // namespace
}  // namespace baton::serving
