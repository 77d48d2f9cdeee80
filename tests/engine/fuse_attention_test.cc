// Attention as exporters spell it out: what becomes one node, what must not, and that the result is
// the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;
using testing::StepOps;

Tensor Number(float value) { return Tensor::From<float>({}, {value}); }

// Attention as BERT has it: from and to [batch, rows, heads · size].
std::string BertAttention(bool mask, bool split_transpose) {
  ModelBuilder m;
  for (const char* name : {"q", "k", "v"}) {
    m.Input(name, DataType::kFloat, {-1, -1, 24}, {"batch", "length", ""});
  }
  if (mask) m.Input("mask", DataType::kFloat, {-1, 1, 1, -1}, {"batch", "", "", "length"});
  m.Constant("heads", Tensor::From<int64_t>({4}, {0, 0, 3, 8}));
  m.Constant("flat", Tensor::From<int64_t>({3}, {0, 0, 24}));
  m.Constant("root", Number(std::sqrt(8.0f)));
  for (const std::string name : {"q", "k", "v"}) {
    m.Node("Reshape", {name, "heads"}, {name + "_rows"});
  }
  SetInts(m.Node("Transpose", {"q_rows"}, {"q_heads"}), "perm", {0, 2, 1, 3});
  SetInts(m.Node("Transpose", {"v_rows"}, {"v_heads"}), "perm", {0, 2, 1, 3});
  if (split_transpose) {
    SetInts(m.Node("Transpose", {"k_rows"}, {"k_heads"}), "perm", {0, 2, 1, 3});
    SetInts(m.Node("Transpose", {"k_heads"}, {"keys"}), "perm", {0, 1, 3, 2});
  } else {
    SetInts(m.Node("Transpose", {"k_rows"}, {"keys"}), "perm", {0, 2, 3, 1});
  }
  m.Node("MatMul", {"q_heads", "keys"}, {"product"});
  m.Node("Div", {"product", "root"}, {"scores"});
  if (mask) m.Node("Add", {"scores", "mask"}, {"masked"});
  SetInt(m.Node("Softmax", {mask ? "masked" : "scores"}, {"weights"}), "axis", -1);
  m.Node("MatMul", {"weights", "v_heads"}, {"y_heads"});
  SetInts(m.Node("Transpose", {"y_heads"}, {"y_rows"}), "perm", {0, 2, 1, 3});
  m.Node("Reshape", {"y_rows", "flat"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, -1, 24}, {"batch", "length", ""});
  return m.Build();
}

// The same in the newest operator set, which needs no rewrite.
std::string WholeAttention(bool mask) {
  ModelBuilder m(23);
  std::vector<std::string> inputs = {"q", "k", "v"};
  for (const std::string& name : inputs) {
    m.Input(name, DataType::kFloat, {-1, -1, 24}, {"batch", "length", ""});
  }
  if (mask) {
    m.Input("mask", DataType::kFloat, {-1, 1, 1, -1}, {"batch", "", "", "length"});
    inputs.push_back("mask");
  }
  auto& attention = m.Node("Attention", inputs, {"y"});
  SetInt(attention, "q_num_heads", 3);
  SetInt(attention, "kv_num_heads", 3);
  m.Output("y", DataType::kFloat, {-1, -1, 24}, {"batch", "length", ""});
  return m.Build();
}

class FuseAttentionTest : public ::testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(FuseAttentionTest, BecomesOneNodeWithoutTransposes) {
  const auto [mask, split_transpose] = GetParam();
  const std::string onnx = BertAttention(mask, split_transpose);
  std::vector<Tensor> inputs;
  for (const uint32_t seed : {1, 2, 3}) inputs.push_back(RandomTensor({2, 11, 24}, seed));
  if (mask) inputs.push_back(RandomTensor({2, 1, 1, 11}, 4));
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape());
  EXPECT_THAT(StepOps(onnx, shapes), ElementsAre("Attention"));
  const auto actual = RunModel(onnx, inputs);
  ASSERT_TRUE(actual.ok()) << actual.status();
  const auto expected = RunModel(WholeAttention(mask), inputs);
  ASSERT_TRUE(expected.ok()) << expected.status();
  ASSERT_EQ((*actual)[0].shape(), (*expected)[0].shape());
  for (size_t i = 0; i < 2 * 11 * 24; ++i) {
    ASSERT_NEAR((*actual)[0].values<float>()[i], (*expected)[0].values<float>()[i], 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, FuseAttentionTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool()));

TEST(FuseAttentionTest, ReadsHeadsAsTheyAreWhereNothingIsTransposed) {
  ModelBuilder m;
  for (const char* name : {"q", "k", "v"}) m.Input(name, DataType::kFloat, {2, 3, 5, 8});
  m.Constant("a", Number(0.5f));
  SetInts(m.Node("Transpose", {"k"}, {"keys"}), "perm", {0, 1, 3, 2});
  m.Node("Mul", {"q", "a"}, {"q_scaled"});
  m.Node("Mul", {"keys", "a"}, {"keys_scaled"});
  m.Node("MatMul", {"q_scaled", "keys_scaled"}, {"scores"});
  m.Node("Softmax", {"scores"}, {"weights"});
  m.Node("MatMul", {"weights", "v"}, {"y"});
  m.Output("y", DataType::kFloat, {2, 3, 5, 8});
  const Shape shape = {2, 3, 5, 8};
  EXPECT_THAT(StepOps(m.Build(), {shape, shape, shape}), ElementsAre("Attention"));
}

// Attention as torch.nn.MultiheadAttention has it, of rank 3: [rows, batch · heads, size] where
// `heads_last`, else [batch · heads, rows, size]. Weights that are a result keep it in parts.
struct FlatHeads {
  bool heads_last, weights;
  Shape mask;  // or empty
};

std::string FlatAttention(const FlatHeads& form) {
  ModelBuilder m;
  const Shape dims = form.heads_last ? Shape{5, 6, 8} : Shape{6, 5, 8};
  for (const char* name : {"q", "k", "v"}) {
    m.Input(name, DataType::kFloat, {dims.begin(), dims.end()});
  }
  m.Constant("root", Number(std::sqrt(8.0f)));
  std::string q = "q", v = "v";
  if (form.heads_last) {
    SetInts(m.Node("Transpose", {"q"}, {"q_heads"}), "perm", {1, 0, 2});
    SetInts(m.Node("Transpose", {"v"}, {"v_heads"}), "perm", {1, 0, 2});
    q = "q_heads";
    v = "v_heads";
  }
  m.Node("Div", {q, "root"}, {"q_scaled"});
  SetInts(m.Node("Transpose", {"k"}, {"keys"}), "perm",
          form.heads_last ? std::vector<int64_t>{1, 2, 0} : std::vector<int64_t>{0, 2, 1});
  m.Node("MatMul", {"q_scaled", "keys"}, {"scores"});
  if (!form.mask.empty()) {
    m.Constant("mask", RandomTensor(form.mask, 4));
    m.Node("Add", {"scores", "mask"}, {"masked"});
  }
  m.Node("Softmax", {form.mask.empty() ? "scores" : "masked"}, {"weights"});
  m.Node("MatMul", {"weights", v}, {"heads"});
  if (form.heads_last) {
    SetInts(m.Node("Transpose", {"heads"}, {"y"}), "perm", {1, 0, 2});
  } else {
    m.Node("Identity", {"heads"}, {"y"});
  }
  m.Output("y", DataType::kFloat, {dims.begin(), dims.end()});
  if (form.weights) m.Output("weights", DataType::kFloat, {6, 5, 5});
  return m.Build();
}

class FuseFlatAttentionTest : public ::testing::TestWithParam<std::tuple<bool, Shape>> {};

TEST_P(FuseFlatAttentionTest, BecomesOneNode) {
  const auto [heads_last, mask] = GetParam();
  const Shape shape = heads_last ? Shape{5, 6, 8} : Shape{6, 5, 8};  // 6 heads
  const std::vector<Tensor> inputs = {RandomTensor(shape, 1), RandomTensor(shape, 2),
                                      RandomTensor(shape, 3)};
  const std::string whole = FlatAttention({heads_last, false, mask});
  EXPECT_THAT(StepOps(whole, {shape, shape, shape}), ElementsAre("Attention"));
  const auto actual = RunModel(whole, inputs);
  ASSERT_TRUE(actual.ok()) << actual.status();
  const std::string parts = FlatAttention({heads_last, true, mask});
  EXPECT_THAT(StepOps(parts, {shape, shape, shape}), Contains("Softmax"));
  const auto expected = RunModel(parts, inputs);
  ASSERT_TRUE(expected.ok()) << expected.status();
  ASSERT_EQ((*actual)[0].shape(), (*expected)[0].shape());
  for (size_t i = 0; i < 6 * 5 * 8; ++i) {
    ASSERT_NEAR((*actual)[0].values<float>()[i], (*expected)[0].values<float>()[i], 1e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, FuseFlatAttentionTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Shape{}, Shape{5}, Shape{5, 5},
                                                              Shape{1, 5, 5}, Shape{6, 1, 5})));

TEST(FuseAttentionTest, LeavesWeightsThatAreAResult) {
  ModelBuilder m;
  for (const char* name : {"q", "keys", "v"}) m.Input(name, DataType::kFloat, {1, 2, 4, 4});
  m.Node("MatMul", {"q", "keys"}, {"scores"});
  m.Node("Softmax", {"scores"}, {"weights"});
  m.Node("MatMul", {"weights", "v"}, {"y"});
  m.Output("y", DataType::kFloat, {1, 2, 4, 4});
  const Shape shape = {1, 2, 4, 4};
  const std::vector<Shape> shapes = {shape, shape, shape};
  // Keys that nobody has transposed.
  EXPECT_THAT(StepOps(m.Build(), shapes), ElementsAre("MatMul", "Softmax", "MatMul"));
  m.Output("weights", DataType::kFloat, {1, 2, 4, 4});
  EXPECT_THAT(StepOps(m.Build(), shapes), ElementsAre("MatMul", "Softmax", "MatMul"));
}

}  // namespace
}  // namespace baton::engine
