// Products on bfloat16: where values are rounded, where they are not, and how far results are off.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/dnnl_util.h"
#include "engine/golden.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;
using testing::StepOps;

constexpr ModelOptions kHalf = {.precision = Precision::kBf16};

class PrecisionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasBfloat16()) GTEST_SKIP() << "this processor has no AVX-512 BF16";
  }

  // The graph at both precisions: near, and not the same.
  static void ExpectNear(const std::string& onnx, const std::vector<Tensor>& inputs) {
    for (const int threads : {1, 2}) {
      const auto full = Model::Parse(onnx, "", {}), half = Model::Parse(onnx, "", kHalf);
      ASSERT_TRUE(full.ok() && half.ok()) << half.status();
      const auto want = RunModel(**full, inputs, threads), got = RunModel(**half, inputs, threads);
      ASSERT_TRUE(want.ok() && got.ok()) << got.status();
      for (size_t i = 0; i < want->size(); ++i) {
        ASSERT_EQ((*got)[i].type(), DataType::kFloat);
        ASSERT_EQ((*got)[i].shape(), (*want)[i].shape());
        double error = 0, size = 0;
        for (size_t j = 0; j < (*want)[i].values<float>().size(); ++j) {
          error += std::pow((*got)[i].values<float>()[j] - (*want)[i].values<float>()[j], 2);
          size += std::pow((*want)[i].values<float>()[j], 2);
        }
        EXPECT_LT(std::sqrt(error / size), 1e-2) << "output " << i;
        EXPECT_GT(error, 0) << "output " << i;
      }
    }
  }

  static void AddWeights(ModelBuilder& m, const std::string& name, const Shape& shape) {
    Tensor w = RandomTensor(shape, 7);
    const float scale = 1.0f / std::sqrt(static_cast<float>(w.size() / shape[0]));
    for (float& v : w.mutable_values<float>()) v *= scale;
    m.Constant(name, w);
  }
};

TEST_F(PrecisionTest, StaysHalfBetweenProductsAndEndsInFloat) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 512});
  AddWeights(m, "v", {512, 512});
  AddWeights(m, "w", {512, 384});
  m.Node("MatMul", {"x", "v"}, {"a"});
  m.Node("Relu", {"a"}, {"b"});
  m.Node("MatMul", {"b", "w"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 384});
  EXPECT_THAT(StepOps(m.Build(), {{40, 512}}, kHalf), ElementsAre("Cast", "MatMul+Relu", "MatMul"));
  ExpectNear(m.Build(), {RandomTensor({40, 512}, 1)});
}

// A small matrix is faster on floats than the casts around it.
TEST_F(PrecisionTest, LeavesSmallProductsAlone) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 64});
  AddWeights(m, "w", {64, 64});
  m.Node("MatMul", {"x", "w"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 64});
  EXPECT_THAT(StepOps(m.Build(), {{4, 64}}, kHalf), ElementsAre("MatMul"));
}

TEST_F(PrecisionTest, ConvolutionsWithWhatStandsBetweenThem) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 3, 20, 20});
  AddWeights(m, "w0", {32, 3, 3, 3});
  AddWeights(m, "w1", {32, 16, 3, 3});
  AddWeights(m, "w2", {32, 1, 3, 3});
  AddWeights(m, "w3", {24, 64, 1, 1});
  const auto conv = [&m](const std::string& x, const std::string& w, const std::string& y,
                         int64_t groups) {
    auto& node = m.Node("Conv", {x, w}, {y});
    SetInts(node, "pads", {1, 1, 1, 1});
    SetInt(node, "group", groups);
  };
  conv("x", "w0", "a", 1);
  SetInt(m.Node("Split", {"a"}, {"unused", "b"}), "axis", 1);
  conv("b", "w1", "c", 1);
  m.Node("Add", {"c", "a"}, {"d"});
  m.Node("Sigmoid", {"d"}, {"e"});
  m.Node("Mul", {"d", "e"}, {"f"});
  conv("f", "w2", "g", 32);
  auto& pool = m.Node("MaxPool", {"f"}, {"p"});
  SetInts(pool, "kernel_shape", {3, 3});
  SetInts(pool, "pads", {1, 1, 1, 1});
  SetInt(m.Node("Concat", {"g", "p"}, {"h"}), "axis", 1);
  m.Node("Conv", {"h", "w3"}, {"i"});
  m.Node("Sin", {"i"}, {"s"});  // on floats only
  m.Node("GlobalAveragePool", {"i"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 24, 1, 1});
  m.Output("s", DataType::kFloat, {-1, 24, 20, 20});
  ExpectNear(m.Build(), {RandomTensor({2, 3, 20, 20}, 1)});
}

TEST_F(PrecisionTest, ATransformersLayer) {
  constexpr int64_t kWidth = 384;
  ModelBuilder m(17);
  m.Input("x", DataType::kFloat, {-1, -1, kWidth}, {"batch", "length", ""});
  m.Constant("scale", RandomTensor({kWidth}, 3));
  m.Constant("bias", RandomTensor({kWidth}, 4));
  m.Constant("heads", Tensor::From<int64_t>({4}, {0, 0, 6, kWidth / 6}));
  m.Constant("flat", Tensor::From<int64_t>({3}, {0, 0, kWidth}));
  m.Constant("eighth", Tensor::From<float>({}, {0.125f}));
  for (const char* name : {"q", "k", "v", "o"}) {
    const std::string w = std::string("w") + name;
    AddWeights(m, w, {kWidth, kWidth});
  }
  m.Node("MatMul", {"x", "wo"}, {"start"});
  m.Node("LayerNormalization", {"start", "scale", "bias"}, {"n"});
  for (const std::string name : {"q", "k", "v"}) {
    m.Node("MatMul", {"n", "w" + name}, {name + "0"});
    m.Node("Reshape", {name + "0", "heads"}, {name + "1"});
    SetInts(m.Node("Transpose", {name + "1"}, {name}), "perm",
            name == "k" ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{0, 2, 1, 3});
  }
  m.Node("MatMul", {"q", "k"}, {"s0"});
  m.Node("Mul", {"s0", "eighth"}, {"s1"});
  m.Node("Softmax", {"s1"}, {"s"});
  m.Node("MatMul", {"s", "v"}, {"a0"});
  SetInts(m.Node("Transpose", {"a0"}, {"a1"}), "perm", {0, 2, 1, 3});
  m.Node("Reshape", {"a1", "flat"}, {"a"});
  m.Node("MatMul", {"a", "wo"}, {"b"});
  m.Node("Add", {"b", "n"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, -1, kWidth}, {"batch", "length", ""});
  const std::vector<Tensor> inputs = {RandomTensor({2, 37, kWidth}, 1)};
  EXPECT_THAT(StepOps(m.Build(), {inputs[0].shape()}, kHalf),
              ElementsAre("Cast", "MatMul", "LayerNormalization", "MatMul", "MatMul", "MatMul",
                          "Attention", "MatMul+Add", "Cast"));
  ExpectNear(m.Build(), inputs);
}

// Sizes are no numbers to round.
TEST_F(PrecisionTest, ShapesAreReadFromHalvesWithoutACast) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 512});
  AddWeights(m, "v", {512, 512});
  m.Node("MatMul", {"x", "v"}, {"a"});
  m.Node("Shape", {"a"}, {"s"});
  m.Node("MatMul", {"a", "v"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 512});
  m.Output("s", DataType::kInt64, {2});
  EXPECT_THAT(StepOps(m.Build(), {{40, 512}}, kHalf), ElementsAre("Cast", "MatMul", "MatMul"));
}

TEST(IntegerPrecisionTest, IsRefusedToAModelWithoutIntegers) {
  const auto model = Model::Parse(testing::AffineModel(1, 2), "", {.precision = Precision::kInt8});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(model.status().message(), HasSubstr("no quantized products"));
}

TEST(AutoPrecisionTest, TakesTheLeastThatPasses) {
  const auto model = Model::Parse(testing::AffineModel(1, 2), "", {});
  ASSERT_TRUE(model.ok());
  const absl::Status refused = absl::FailedPreconditionError("not near enough");
  for (const bool loads : {true, false}) {
    for (const bool passes : {true, false}) {
      std::vector<Precision> tried;
      const auto load = [&](Precision p) -> absl::StatusOr<std::shared_ptr<const Model>> {
        tried.push_back(p);
        if (p == Precision::kBf16 && !loads) return refused;
        return *model;
      };
      const auto check = [&](const Model&) { return passes ? absl::OkStatus() : refused; };
      EXPECT_TRUE(LoadAuto(load, check).ok());
      EXPECT_EQ(tried.back(), loads && passes ? Precision::kBf16 : Precision::kF32);
    }
  }
}

}  // namespace
}  // namespace baton::engine
