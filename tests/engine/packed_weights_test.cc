#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "engine/dnnl_util.h"
#include "engine/kernel.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using testing::ModelBuilder;
using testing::RandomTensor;

const Shape kShape = {48, 32, 3, 3};

std::vector<float> Plain(const Layout& from, const void* data) {
  std::vector<float> plain(static_cast<size_t>(NumElements(kShape)));
  EXPECT_TRUE(ReorderNow(from, data, PlainLayout(DataType::kFloat, kShape), plain.data()).ok());
  return plain;
}

TEST(PackedWeights, OneCopyForEachLayout) {
  const Tensor weights = RandomTensor(kShape, 1);
  const Layout plain = PlainLayout(DataType::kFloat, kShape);
  const Layout blocked = ChannelBlockedLayout(DataType::kFloat, kShape);
  const Layout last = ChannelsLastLayout(DataType::kFloat, kShape);
  const PackedWeights packed(weights);
  EXPECT_FALSE(packed.empty());
  EXPECT_EQ(packed.bytes(), weights.bytes());
  const auto first = packed.Get(plain, blocked);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(packed.bytes(), blocked.get_size()) << "the copy stands for what it was made of";
  EXPECT_EQ(*packed.Get(plain, blocked), *first);
  const auto second = packed.Get(plain, last);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(packed.bytes(), blocked.get_size() + last.get_size());
  const auto values = weights.values<float>();
  EXPECT_TRUE(std::ranges::equal(Plain(blocked, first->get()), values));
  EXPECT_TRUE(std::ranges::equal(Plain(last, second->get()), values));
  const auto unpacked = packed.Plain(plain);
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_TRUE(std::ranges::equal(unpacked->values<float>(), values));
  EXPECT_EQ(packed.bytes(), blocked.get_size() + last.get_size()) << "that was for the caller";
}

TEST(PackedWeights, AreSharedWhereTheyNeedNoPacking) {
  const Tensor weights = RandomTensor(kShape, 1);
  const Layout plain = PlainLayout(DataType::kFloat, kShape);
  const PackedWeights packed(weights);
  EXPECT_EQ(packed.Get(plain, plain)->get(), weights.data());
  ASSERT_TRUE(packed.Get(plain, ChannelsLastLayout(DataType::kFloat, kShape)).ok());
  EXPECT_EQ(packed.Get(plain, plain)->get(), weights.data());
  EXPECT_EQ(packed.bytes(), 2 * weights.bytes());
}

class PackedMatrixTest : public ::testing::TestWithParam<int64_t> {};

// Two products share their weights, and one of those is an output of the graph, too.
TEST_P(PackedMatrixTest, TheGraphKeepsWhatOthersNeed) {
  const int64_t side = GetParam();
  const Tensor weights = RandomTensor({side, side}, 1);
  for (const bool given_out : {false, true}) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, side});
    m.Constant("w", weights);
    m.Node("MatMul", {"x", "w"}, {"p"});
    m.Node("MatMul", {"p", "w"}, {"y"});
    m.Output("y", DataType::kFloat, {-1, side});
    if (given_out) m.Output("w", DataType::kFloat, {side, side});
    const auto model = *Model::Parse(m.Build(), "", {});
    const auto plan = model->GetPlan({{64, side}}, 1);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const size_t copies = given_out ? 3 : 2;
    EXPECT_LT(model->weight_bytes(), (copies + 1) * weights.bytes() - 1);
    EXPECT_GE(model->weight_bytes(), copies * weights.bytes());
    const size_t bytes = model->weight_bytes();
    ASSERT_TRUE(model->GetPlan({{300, side}}, 2).ok());
    EXPECT_EQ(model->weight_bytes(), bytes) << "of another number of rows";
    if (!given_out) continue;
    Session session;
    const Tensor x = RandomTensor({64, side}, 2);
    const auto outputs = session.Run(**plan, {x.view()});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_TRUE(std::ranges::equal((*outputs)[1].values<float>(), weights.values<float>()));
  }
}

INSTANTIATE_TEST_SUITE_P(SmallAndLarge, PackedMatrixTest, ::testing::Values(512, 768));

}  // namespace
}  // namespace baton::engine
