// Plans: what the planner must never get wrong: buffers that are still needed, shapes that depend
// on data, reorders, folding.
#include "engine/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;
using testing::StepOps;

TEST(PlanTest, DoesNotOverwriteAValueThatIsStillNeeded) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {4});
  m.Node("Neg", {"x"}, {"a"});
  m.Node("Relu", {"a"}, {"b"});      // may run in place on a, but a is used again
  m.Node("Add", {"b", "b"}, {"c"});  // reads one buffer twice
  m.Node("Mul", {"a", "c"}, {"y"});
  m.Output("y", DataType::kFloat, {4});
  m.Output("b", DataType::kFloat, {4});
  const auto y = RunModel(m.Build(), {Tensor::From<float>({4}, {1, -2, 3, -4})});
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_THAT((*y)[0].values<float>(), ElementsAre(0, 8, 0, 32));
  EXPECT_THAT((*y)[1].values<float>(), ElementsAre(0, 2, 0, 4));
}

TEST(PlanTest, LeavesTheCallersInputAlone) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {3});
  m.Node("Neg", {"x"}, {"y"});
  m.Output("y", DataType::kFloat, {3});
  const Tensor x = Tensor::From<float>({3}, {1, 2, 3});
  ASSERT_TRUE(RunModel(m.Build(), {x}).ok());
  EXPECT_THAT(x.values<float>(), ElementsAre(1, 2, 3));
}

TEST(PlanTest, ReturnsInputsAndConstantsThatAreOutputs) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {2});
  m.Constant("k", Tensor::From<float>({1}, {7}));
  m.Node("Identity", {"x"}, {"y"});
  m.Node("Identity", {"k"}, {"z"});
  m.Output("y", DataType::kFloat, {2});
  m.Output("z", DataType::kFloat, {1});
  const auto out = RunModel(m.Build(), {Tensor::From<float>({2}, {1, 2})});
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT((*out)[0].values<float>(), ElementsAre(1, 2));
  EXPECT_THAT((*out)[1].values<float>(), ElementsAre(7));
}

// Two convolutions of x joined: channels of one image in whole blocks lie one after the other.
ModelBuilder JoinedConvolutions(int64_t channels) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 16, 4, 4});
  m.Constant("v", RandomTensor({channels, 16, 1, 1}, 1));
  m.Constant("w", RandomTensor({32, 16, 1, 1}, 2));
  m.Node("Conv", {"x", "v"}, {"a"});
  m.Node("Conv", {"x", "w"}, {"b"});
  SetInt(m.Node("Concat", {"a", "b"}, {"joined"}), "axis", 1);
  return m;
}

// Of two images, joined in their blocks: the same as each alone, and a convolution can read it.
TEST(PlanTest, JoinsChannelsThatFillNoBlock) {
  if (!HasAvx512()) GTEST_SKIP() << "blocks of channels are for AVX-512";
  const Tensor x = RandomTensor({2, 16, 4, 4}, 4);
  for (const int64_t channels : {24, 12, 43}) {
    ModelBuilder m = JoinedConvolutions(channels);
    m.Constant("u", RandomTensor({16, channels + 32, 1, 1}, 3));
    m.Node("Conv", {"joined", "u"}, {"y"});
    m.Node("Conv", {"x", "v"}, {"a2"});
    m.Node("Conv", {"x", "w"}, {"b2"});
    m.Output("joined", DataType::kFloat, {-1, channels + 32, 4, 4});
    m.Output("a2", DataType::kFloat, {-1, channels, 4, 4});
    m.Output("b2", DataType::kFloat, {-1, 32, 4, 4});
    m.Output("y", DataType::kFloat, {-1, 16, 4, 4});
    const auto ops = StepOps(m.Build(), {{2, 16, 4, 4}});
    // Of x, and of each output.
    EXPECT_EQ(std::count(ops.begin(), ops.end(), "Reorder"), 5) << channels << " channels";
    const auto got = RunModel(m.Build(), {x}, 2);
    ASSERT_TRUE(got.ok()) << got.status();
    const auto joined = (*got)[0].values<float>(), y = (*got)[3].values<float>();
    const auto u = RandomTensor({16, channels + 32, 1, 1}, 3);
    for (size_t image = 0; image < 2; ++image) {
      const size_t all = static_cast<size_t>(channels) + 32;
      const auto joined_image = joined.subspan(image * all * 16, all * 16);
      const size_t size = static_cast<size_t>(channels) * 16;
      EXPECT_EQ(joined_image.first(size), (*got)[1].values<float>().subspan(image * size, size));
      EXPECT_EQ(joined_image.subspan(size), (*got)[2].values<float>().subspan(image * 512, 512));
      for (size_t i = 0; i < 256; ++i) {
        double sum = 0;
        for (size_t c = 0; c < all; ++c) {
          sum += static_cast<double>(joined_image[c * 16 + i % 16]) *
                 u.values<float>()[i / 16 * all + c];
        }
        ASSERT_NEAR(y[image * 256 + i], sum, 1e-4) << channels << " channels, result " << i;
      }
    }
  }
}

TEST(PlanTest, JoinsTheChannelsOfOneImageWithoutACopy) {
  if (!HasAvx512()) GTEST_SKIP() << "blocks of channels are for AVX-512";
  for (const int64_t channels : {int64_t{48}, int64_t{24}}) {
    ModelBuilder m = JoinedConvolutions(channels);
    m.Constant("u", RandomTensor({16, channels + 32, 1, 1}, 3));
    m.Node("Conv", {"joined", "u"}, {"y"});
    m.Output("y", DataType::kFloat, {-1, 16, 4, 4});
    const bool joins = channels % 16 == 0;
    const auto one = StepOps(m.Build(), {{1, 16, 4, 4}});
    EXPECT_EQ(std::count(one.begin(), one.end(), "Concat"), joins ? 0 : 1);
    EXPECT_THAT(StepOps(m.Build(), {{2, 16, 4, 4}}), Contains("Concat"));
    // The same image twice, and by itself.
    const Tensor x = RandomTensor({1, 16, 4, 4}, 4);
    Tensor twice(DataType::kFloat, {2, 16, 4, 4});
    for (size_t i = 0; i < 512; ++i) {
      twice.mutable_values<float>()[i] = x.values<float>()[i % 256];
    }
    const auto alone = RunModel(m.Build(), {x}), both = RunModel(m.Build(), {twice});
    ASSERT_TRUE(alone.ok()) << alone.status();
    ASSERT_TRUE(both.ok()) << both.status();
    for (size_t i = 0; i < 512; ++i) {
      ASSERT_NEAR((*both)[0].values<float>()[i], (*alone)[0].values<float>()[i % 256], 1e-4);
    }
  }
}

TEST(PlanTest, SplitsChannelsInWholeBlocksWithoutAReorder) {
  if (!HasAvx512()) GTEST_SKIP() << "blocks of channels are for AVX-512";
  for (const int64_t first : {int64_t{16}, int64_t{20}}) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {2, 16, 3, 3});
    m.Constant("w", RandomTensor({48, 16, 1, 1}, 1));
    m.Constant("sizes", Tensor::From<int64_t>({2}, {first, 48 - first}));
    m.Node("Conv", {"x", "w"}, {"whole"});
    SetInt(m.Node("Split", {"whole", "sizes"}, {"a", "b"}), "axis", 1);
    m.Node("Relu", {"a"}, {"y"});
    m.Node("Relu", {"b"}, {"z"});
    for (const char* name : {"y", "z", "whole"}) m.Output(name, DataType::kFloat, {2, -1, 3, 3});
    const Tensor x = RandomTensor({2, 16, 3, 3}, 2);
    const auto ops = StepOps(m.Build(), {x.shape()});
    const auto split = std::find(ops.begin(), ops.end(), "Split");
    // Parts of a block: the whole is reordered first.
    EXPECT_EQ(std::count(ops.begin(), split, "Reorder"), first == 16 ? 1 : 2);
    const auto out = RunModel(m.Build(), {x});
    ASSERT_TRUE(out.ok()) << out.status();
    for (int64_t n = 0; n < 2; ++n) {
      for (int64_t c = 0; c < 48; ++c) {
        const size_t part = c < first ? 0 : 1;
        const int64_t channel = part == 0 ? n * first + c : n * (48 - first) + c - first;
        for (int64_t i = 0; i < 9; ++i) {
          const float v = (*out)[2].values<float>()[static_cast<size_t>((n * 48 + c) * 9 + i)];
          ASSERT_EQ((*out)[part].values<float>()[static_cast<size_t>(channel * 9 + i)],
                    std::max(v, 0.0f));
        }
      }
    }
  }
}

TEST(PlanTest, APartOfWhatIsJoinedIsNotOverwritten) {
  ModelBuilder m = JoinedConvolutions(16);
  m.Node("Sigmoid", {"a"}, {"c"});  // the last user of a, before those of what it is joined to
  m.Node("Tanh", {"joined"}, {"d"});
  m.Node("Sigmoid", {"b"}, {"e"});
  SetInt(m.Node("Concat", {"c", "e", "d", "d"}, {"y"}), "axis", 1);
  m.Output("y", DataType::kFloat, {-1, 144, 4, 4});
  const Tensor x = RandomTensor({1, 16, 4, 4}, 4);
  const auto y = RunModel(m.Build(), {x});
  ASSERT_TRUE(y.ok()) << y.status();
  ModelBuilder apart = JoinedConvolutions(16);
  apart.Output("joined", DataType::kFloat, {-1, 48, 4, 4});
  const auto joined = RunModel(apart.Build(), {x});
  ASSERT_TRUE(joined.ok()) << joined.status();
  for (size_t i = 0; i < 48 * 16; ++i) {
    const float v = (*joined)[0].values<float>()[i];
    ASSERT_NEAR((*y)[0].values<float>()[i], 1 / (1 + std::exp(-v)), 1e-4);
    ASSERT_NEAR((*y)[0].values<float>()[48 * 16 + i], std::tanh(v), 1e-4);
    ASSERT_NEAR((*y)[0].values<float>()[96 * 16 + i], std::tanh(v), 1e-4);
  }
}

TEST(PlanTest, ChannelsInBlocksTakeAValueForEachWithoutAReorder) {
  if (!HasAvx512()) GTEST_SKIP() << "blocks of channels are for AVX-512";
  for (const char* op : {"Mul", "Add", "Sub"}) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {2, 24, 3, 3});
    m.Constant("w", RandomTensor({24, 24, 1, 1}, 1));
    m.Node("Conv", {"x", "w"}, {"a"});
    m.Node("GlobalAveragePool", {"a"}, {"mean"});
    m.Node(op, {"a", "mean"}, {"b"});
    m.Node("Conv", {"b", "w"}, {"y"});
    m.Output("y", DataType::kFloat, {2, 24, 3, 3});
    m.Output("b", DataType::kFloat, {2, 24, 3, 3});
    m.Output("a", DataType::kFloat, {2, 24, 3, 3});
    const Tensor x = RandomTensor({2, 24, 3, 3}, 2);
    const auto ops = StepOps(m.Build(), {x.shape()});
    // What x and the outputs need, no more.
    EXPECT_LE(std::count(ops.begin(), ops.end(), "Reorder"), 4) << op;
    const auto y = RunModel(m.Build(), {x}, 2);
    ASSERT_TRUE(y.ok()) << y.status();
    for (size_t c = 0; c < 48; ++c) {
      const auto a = (*y)[2].values<float>().subspan(c * 9, 9);
      const float mean = std::accumulate(a.begin(), a.end(), 0.0f) / 9;
      for (size_t i = 0; i < 9; ++i) {
        const float expected = *op == 'M' ? a[i] * mean : *op == 'A' ? a[i] + mean : a[i] - mean;
        ASSERT_NEAR((*y)[1].values<float>()[c * 9 + i], expected, 1e-4) << op;
      }
    }
  }
}

TEST(PlanTest, EvaluatesShapeChainsWhilePlanning) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 2, 3});
  m.Node("Shape", {"x"}, {"s"});
  m.Constant("zero", Tensor::From<int64_t>({}, {0}));
  m.Node("Gather", {"s", "zero"}, {"n"});
  m.Constant("axis", Tensor::From<int64_t>({1}, {0}));
  m.Node("Unsqueeze", {"n", "axis"}, {"n1"});
  m.Constant("rest", Tensor::From<int64_t>({1}, {-1}));
  m.Node("Concat", {"n1", "rest"}, {"to"}).add_attribute()->set_name("axis");
  auto& axis = *m.proto().mutable_graph()->mutable_node(3)->mutable_attribute(0);
  axis.set_type(onnx::AttributeProto::INT);
  axis.set_i(0);
  m.Node("Reshape", {"x", "to"}, {"flat"});
  m.Node("Relu", {"flat"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 6});
  EXPECT_THAT(StepOps(m.Build(), {{5, 2, 3}}), ElementsAre("Relu"));
}

TEST(PlanTest, RunsNodesWhoseShapesDependOnData) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 4});
  m.Input("to", DataType::kInt64, {2});
  m.Node("Reshape", {"x", "to"}, {"r"});
  m.Node("Neg", {"r"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, -1});
  const auto model = *Model::Parse(m.Build(), "", {});
  const Tensor x = Tensor::From<float>({1, 4}, {1, 2, 3, 4});
  for (const auto& to : {std::vector<int64_t>{2, 2}, {4, 1}, {1, -1}}) {
    const auto y = RunModel(*model, {x, Tensor::From<int64_t>({2}, absl::MakeConstSpan(to))});
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_EQ((*y)[0].shape()[0], to[0]);
    EXPECT_THAT((*y)[0].values<float>(), ElementsAre(-1, -2, -3, -4));
  }
  const auto bad = RunModel(*model, {x, Tensor::From<int64_t>({2}, {3, 2})});
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("Reshape_0"));
}

TEST(PlanTest, FusesBiasResidualAndActivation) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 16, 8, 8});
  m.Constant("w", RandomTensor({16, 16, 3, 3}, 1));
  m.Constant("scale", RandomTensor({16}, 2));
  m.Constant("shift", RandomTensor({16}, 3));
  m.Constant("mean", RandomTensor({16}, 4));
  m.Constant("variance",
             Tensor::From<float>({16}, {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}));
  SetInts(m.Node("Conv", {"x", "w"}, {"c"}), "pads", {1, 1, 1, 1});
  m.Node("BatchNormalization", {"c", "scale", "shift", "mean", "variance"}, {"n"});
  m.Node("Relu", {"n"}, {"r"});
  SetInts(m.Node("Conv", {"r", "w"}, {"d"}), "pads", {1, 1, 1, 1});
  m.Node("Add", {"d", "r"}, {"a"});
  m.Node("Relu", {"a"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 16, 8, 8});
  std::vector<std::string> ops = StepOps(m.Build(), {{2, 16, 8, 8}});
  std::erase(ops, "Reorder");
  EXPECT_THAT(ops, ElementsAre("Conv+Relu", "Conv+Add+Relu"));
}

TEST(PlanTest, FoldsAScaleIntoTheWeightsAfterIt) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 3});
  m.Constant("s", Tensor::From<float>({}, {0.5}));
  m.Constant("w", Tensor::From<float>({3, 2}, {1, 2, 3, 4, 5, 6}));
  m.Node("Mul", {"s", "x"}, {"scaled"});
  m.Node("MatMul", {"scaled", "w"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 2});
  EXPECT_THAT(StepOps(m.Build(), {{1, 3}}), ElementsAre("MatMul"));
  const auto y = RunModel(m.Build(), {Tensor::From<float>({1, 3}, {2, 4, 6})});
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_THAT((*y)[0].values<float>(), ElementsAre(22, 28));

  // A scaled value that something else reads too stays as it is.
  m.Output("scaled", DataType::kFloat, {-1, 3});
  const auto both = RunModel(m.Build(), {Tensor::From<float>({1, 3}, {2, 4, 6})});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_THAT((*both)[0].values<float>(), ElementsAre(22, 28));
  EXPECT_THAT((*both)[1].values<float>(), ElementsAre(1, 2, 3));

  // 1 / x is not a scale.
  ModelBuilder d;
  d.Input("x", DataType::kFloat, {-1, 2});
  d.Constant("s", Tensor::From<float>({}, {8}));
  d.Constant("w", Tensor::From<float>({2, 1}, {1, 1}));
  d.Node("Div", {"s", "x"}, {"divided"});
  d.Node("MatMul", {"divided", "w"}, {"y"});
  d.Output("y", DataType::kFloat, {-1, 1});
  const auto divided = RunModel(d.Build(), {Tensor::From<float>({1, 2}, {2, 4})});
  ASSERT_TRUE(divided.ok()) << divided.status();
  EXPECT_THAT((*divided)[0].values<float>(), ElementsAre(6));
}

TEST(PlanTest, ReusesTheArena) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {1024});
  std::string from = "x";
  for (int i = 0; i < 20; ++i) {
    const std::string to = "v" + std::to_string(i);
    m.Node(i % 2 == 0 ? "Neg" : "Sin", {from}, {to});
    from = to;
  }
  m.Output(from, DataType::kFloat, {1024});
  const auto model = *Model::Parse(m.Build(), "", {});
  const std::vector<Shape> shapes = {{1024}};
  EXPECT_LE((*model->GetPlan(shapes, 1))->arena_bytes(), size_t{2 * 1024 * 4});
}

TEST(PlanTest, OneSessionServesPlansOfManySizesAndModels) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1});
  m.Node("Neg", {"x"}, {"a"});
  m.Node("Exp", {"a"}, {"y"});
  m.Output("y", DataType::kFloat, {-1});
  Session session;
  for (int round = 0; round < 3; ++round) {
    auto model = *Model::Parse(m.Build(), "", {});
    for (const int64_t n : {1000, 3, 100000, 7}) {
      const std::vector<Shape> shapes = {{n}};
      const auto plan = *model->GetPlan(shapes, 1);
      const Tensor x(DataType::kFloat, {n});
      const auto y = session.Run(*plan, {x.view()});
      ASSERT_TRUE(y.ok());
      EXPECT_EQ((*y)[0].values<float>()[static_cast<size_t>(n) - 1], 1.0f);
      if (n == 7) session.Trim();
    }
  }
}

TEST(PlanTest, SaysWhatIsWrongWithInputs) {
  const auto model = *Model::Parse(testing::AffineModel(1, 0), "", {});
  const std::vector<Shape> shapes = {{2, 4}};
  const auto plan = *model->GetPlan(shapes, 1);
  Session session;
  const Tensor wrong(DataType::kFloat, {3, 4});
  const auto result = session.Run(*plan, {wrong.view()});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("float[3,4]"));
}

}  // namespace
}  // namespace baton::engine
