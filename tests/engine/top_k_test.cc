// TopK where ONNX's own tests do not go: ties, NaN, threads, other axes, wrong k. And Range.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;

absl::StatusOr<std::vector<Tensor>> TopK(const Tensor& x, int64_t k, int64_t axis, bool largest,
                                         int threads = 1) {
  ModelBuilder m;
  m.Input("x", x.type(), {x.shape().begin(), x.shape().end()});
  m.Input("k", DataType::kInt64, {1});
  auto& node = m.Node("TopK", {"x", "k"}, {"values", "places"});
  SetInt(node, "axis", axis);
  SetInt(node, "largest", largest ? 1 : 0);
  std::vector<int64_t> dims(x.shape().size(), -1);
  m.Output("values", x.type(), dims);
  m.Output("places", DataType::kInt64, dims);
  return RunModel(m.Build(), {x, Tensor::From<int64_t>({1}, {k})}, threads);
}

TEST(TopKTest, EqualOnesComeInTheirOrder) {
  const Tensor x = Tensor::From<int32_t>({1, 6}, {3, 7, 3, 7, 1, 3});
  const auto top = TopK(x, 4, 1, true);
  ASSERT_TRUE(top.ok()) << top.status();
  EXPECT_THAT((*top)[0].values<int32_t>(), ElementsAre(7, 7, 3, 3));
  EXPECT_THAT((*top)[1].values<int64_t>(), ElementsAre(1, 3, 0, 2));
  const auto bottom = TopK(x, 3, 1, false);
  ASSERT_TRUE(bottom.ok()) << bottom.status();
  EXPECT_THAT((*bottom)[1].values<int64_t>(), ElementsAre(4, 0, 2));
}

TEST(TopKTest, NanIsLargerThanAnyNumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = Tensor::From<float>({5}, {1, nan, 3, nan, 2});
  const auto top = TopK(x, 3, 0, true);
  ASSERT_TRUE(top.ok()) << top.status();
  EXPECT_THAT((*top)[1].values<int64_t>(), ElementsAre(1, 3, 2));
  const auto bottom = TopK(x, 4, 0, false);
  ASSERT_TRUE(bottom.ok()) << bottom.status();
  EXPECT_THAT((*bottom)[1].values<int64_t>(), ElementsAre(0, 4, 2, 1));
}

TEST(TopKTest, AlongTheFirstAxisWithTwoThreads) {
  const Tensor x = RandomTensor({50, 301}, 1);
  const auto alone = TopK(x, 5, 0, true), shared = TopK(x, 5, 0, true, 2);
  ASSERT_TRUE(alone.ok()) << alone.status();
  ASSERT_TRUE(shared.ok()) << shared.status();
  for (size_t column = 0; column < 301; ++column) {
    float last = std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < 5; ++i) {
      const size_t at = i * 301 + column;
      const float value = (*alone)[0].values<float>()[at];
      const auto place = static_cast<size_t>((*alone)[1].values<int64_t>()[at]);
      ASSERT_EQ(value, x.values<float>()[place * 301 + column]);
      ASSERT_LE(value, last);
      last = value;
      ASSERT_EQ((*shared)[1].values<int64_t>()[at], (*alone)[1].values<int64_t>()[at]);
    }
    int larger = 0;
    for (size_t row = 0; row < 50; ++row) larger += x.values<float>()[row * 301 + column] > last;
    ASSERT_EQ(larger, 4);
  }
}

TEST(TopKTest, KIsFromNoneToAll) {
  const Tensor x = RandomTensor({2, 3}, 1);
  const auto none = TopK(x, 0, 1, true);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ((*none)[0].shape(), (Shape{2, 0}));
  EXPECT_TRUE(TopK(x, 3, 1, true).ok());
  for (const int64_t k : {int64_t{-1}, int64_t{4}}) {
    EXPECT_THAT(std::string(TopK(x, k, 1, true).status().message()),
                HasSubstr("expected one number from 0 to 3, the size of axis 1 of [2,3]"));
  }
}

template <typename T>
absl::StatusOr<std::vector<Tensor>> Range(T start, T limit, T delta) {
  ModelBuilder m;
  const DataType type = DataTypeOf<T>();
  for (const char* name : {"start", "limit", "delta"}) m.Input(name, type, {});
  m.Node("Range", {"start", "limit", "delta"}, {"y"});
  m.Output("y", type, {-1});
  return RunModel(m.Build(), {Tensor::From<T>({}, {start}), Tensor::From<T>({}, {limit}),
                              Tensor::From<T>({}, {delta})});
}

TEST(RangeTest, CountsUpAndDownAndNotAtAll) {
  const auto down = Range<int64_t>(5, -2, -3);
  ASSERT_TRUE(down.ok()) << down.status();
  EXPECT_THAT((*down)[0].values<int64_t>(), ElementsAre(5, 2, -1));
  const auto up = Range<float>(0, 1, 0.3f);
  ASSERT_TRUE(up.ok()) << up.status();
  EXPECT_EQ((*up)[0].size(), 4);
  const auto none = Range<int32_t>(3, 3, 1);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_THAT((*none)[0].values<int32_t>(), IsEmpty());
}

TEST(RangeTest, RefusesWhatHasNoEnd) {
  EXPECT_THAT(std::string(Range<int64_t>(0, 5, 0).status().message()),
              HasSubstr("start 0, limit 5 and delta 0 make no range"));
  EXPECT_THAT(std::string(Range<float>(0, NAN, 1).status().message()), HasSubstr("make no range"));
  // More than memory holds.
  const int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(Range<int64_t>(-most, most, 1).ok());
}

}  // namespace
}  // namespace baton::engine
