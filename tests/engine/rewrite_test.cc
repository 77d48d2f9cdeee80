// Rewrites of what exporters spell out: which nodes become one, which must not, and that the result
// is the same.
#include "engine/rewrite/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <ostream>

#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::ModelBuilder;
using ::testing::Not;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetFloat;
using testing::SetInt;
using testing::SetInts;
using testing::StepOps;

Tensor Number(float value) { return Tensor::From<float>({}, {value}); }

// y = f(x) over float[?, columns], written by `build` from "x" to "y".
std::string ModelOf(const std::function<void(ModelBuilder&)>& build, int64_t columns,
                    int opset = 17) {
  ModelBuilder m(opset);
  m.Input("x", DataType::kFloat, {-1, columns});
  build(m);
  m.Output("y", DataType::kFloat, {-1, columns});
  return m.Build();
}

struct Spelling {
  const char* name;
  const char* op;  // what it becomes
  std::function<void(ModelBuilder&)> build;
  double (*f)(double);
};

void PrintTo(const Spelling& spelling, std::ostream* out) { *out << spelling.name; }

double Gelu(double x) { return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5))); }
double GeluTanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double Swish(double x) { return x / (1 + std::exp(-x)); }
double QuickGelu(double x) { return x / (1 + std::exp(-1.702 * x)); }
double HardSigmoid(double x) { return std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }
double HardSwish(double x) { return x * HardSigmoid(x); }
double Mish(double x) { return x * std::tanh(std::log1p(std::exp(x))); }

const Spelling kSpellings[] = {
    {"GeluOfPyTorch", "Gelu",
     [](ModelBuilder& m) {
       m.Constant("root", Number(std::sqrt(2.0f)));
       m.Constant("one", Number(1));
       m.Constant("half", Number(0.5f));
       m.Node("Div", {"x", "root"}, {"a"});
       m.Node("Erf", {"a"}, {"b"});
       m.Node("Add", {"b", "one"}, {"c"});
       m.Node("Mul", {"x", "c"}, {"d"});
       m.Node("Mul", {"d", "half"}, {"y"});
     },
     &Gelu},
    {"GeluOfTensorFlow", "Gelu",
     [](ModelBuilder& m) {
       m.Constant("root", Number(std::sqrt(0.5f)));
       m.Constant("one", Number(1));
       m.Constant("half", Number(0.5f));
       m.Node("Mul", {"x", "root"}, {"a"});
       m.Node("Erf", {"a"}, {"b"});
       m.Node("Add", {"one", "b"}, {"c"});
       m.Node("Mul", {"half", "c"}, {"d"});
       m.Node("Mul", {"d", "x"}, {"y"});
     },
     &Gelu},
    {"GeluTanhWithPow", "Gelu",
     [](ModelBuilder& m) {
       m.Constant("three", Number(3));
       m.Constant("k", Number(0.044715f));
       m.Constant("root", Number(0.7978845608f));
       m.Constant("one", Number(1));
       m.Constant("half", Number(0.5f));
       m.Node("Pow", {"x", "three"}, {"a"});
       m.Node("Mul", {"a", "k"}, {"b"});
       m.Node("Add", {"x", "b"}, {"c"});
       m.Node("Mul", {"c", "root"}, {"d"});
       m.Node("Tanh", {"d"}, {"e"});
       m.Node("Add", {"e", "one"}, {"f"});
       m.Node("Mul", {"x", "half"}, {"g"});
       m.Node("Mul", {"g", "f"}, {"y"});
     },
     &GeluTanh},
    {"GeluTanhWithProducts", "Gelu",
     [](ModelBuilder& m) {
       m.Constant("k", Number(0.044715f));
       m.Constant("root", Number(0.7978845608f));
       m.Constant("one", Number(1));
       m.Constant("half", Number(0.5f));
       m.Node("Mul", {"x", "x"}, {"s"});
       m.Node("Mul", {"s", "x"}, {"a"});
       m.Node("Mul", {"k", "a"}, {"b"});
       m.Node("Add", {"b", "x"}, {"c"});
       m.Node("Mul", {"root", "c"}, {"d"});
       m.Node("Tanh", {"d"}, {"e"});
       m.Node("Add", {"one", "e"}, {"f"});
       m.Node("Mul", {"half", "f"}, {"g"});
       m.Node("Mul", {"x", "g"}, {"y"});
     },
     &GeluTanh},
    {"Silu", "Swish",
     [](ModelBuilder& m) {
       m.Node("Sigmoid", {"x"}, {"a"});
       m.Node("Mul", {"x", "a"}, {"y"});
     },
     &Swish},
    {"QuickGelu", "Swish",
     [](ModelBuilder& m) {
       m.Constant("k", Number(1.702f));
       m.Node("Mul", {"x", "k"}, {"a"});
       m.Node("Sigmoid", {"a"}, {"b"});
       m.Node("Mul", {"b", "x"}, {"y"});
     },
     &QuickGelu},
    {"HardSwishOfPaddle", "HardSwish",
     [](ModelBuilder& m) {
       m.Constant("three", Number(3));
       m.Constant("zero", Number(0));
       m.Constant("six", Number(6));
       m.Node("Add", {"x", "three"}, {"a"});
       m.Node("Clip", {"a", "zero", "six"}, {"b"});
       m.Node("Mul", {"x", "b"}, {"c"});
       m.Node("Div", {"c", "six"}, {"y"});
     },
     &HardSwish},
    {"HardSwishWithItsSigmoid", "HardSwish",
     [](ModelBuilder& m) {
       auto& sigmoid = m.Node("HardSigmoid", {"x"}, {"a"});
       SetFloat(sigmoid, "alpha", 1.0f / 6);
       SetFloat(sigmoid, "beta", 0.5f);
       m.Node("Mul", {"x", "a"}, {"y"});
     },
     &HardSwish},
    {"HardSigmoidOfClip", "HardSigmoid",
     [](ModelBuilder& m) {
       m.Constant("three", Number(3));
       m.Constant("zero", Number(0));
       m.Constant("six", Number(6));
       m.Node("Add", {"three", "x"}, {"a"});
       m.Node("Clip", {"a", "zero", "six"}, {"b"});
       m.Node("Div", {"b", "six"}, {"y"});
     },
     &HardSigmoid},
    {"MishOfSoftplus", "Mish",
     [](ModelBuilder& m) {
       m.Node("Softplus", {"x"}, {"a"});
       m.Node("Tanh", {"a"}, {"b"});
       m.Node("Mul", {"x", "b"}, {"y"});
     },
     &Mish},
};

class SpellingTest : public ::testing::TestWithParam<Spelling> {};

TEST_P(SpellingTest, BecomesOneNodeThatComputesTheSame) {
  const Spelling& spelling = GetParam();
  const std::string onnx = ModelOf(spelling.build, 21);
  EXPECT_THAT(StepOps(onnx, {{3, 21}}), ElementsAre(spelling.op));
  Tensor x = RandomTensor({3, 21}, 1);
  for (float& v : x.mutable_values<float>()) v *= 5;
  const auto y = RunModel(onnx, {x});
  ASSERT_TRUE(y.ok()) << y.status();
  for (size_t i = 0; i < 63; ++i) {
    const float v = x.values<float>()[i];
    EXPECT_NEAR((*y)[0].values<float>()[i], spelling.f(v), 2e-6 + 2e-6 * std::abs(v)) << v;
  }
}

// Into the product before it.
TEST_P(SpellingTest, MovesIntoAProduct) {
  const Spelling& spelling = GetParam();
  ModelBuilder m;
  m.Input("in", DataType::kFloat, {-1, 24});
  Tensor identity(DataType::kFloat, {24, 24});
  for (size_t i = 0; i < 24; ++i) identity.mutable_values<float>()[i * 25] = 1;
  m.Constant("w", identity);
  m.Node("MatMul", {"in", "w"}, {"x"});
  spelling.build(m);
  m.Output("y", DataType::kFloat, {-1, 24});
  const Tensor x = RandomTensor({2, 24}, 1);
  EXPECT_EQ(StepOps(m.Build(), {x.shape()}).size(), 1u);
  const auto y = RunModel(m.Build(), {x});
  ASSERT_TRUE(y.ok()) << y.status();
  for (size_t i = 0; i < 48; ++i) {
    EXPECT_NEAR((*y)[0].values<float>()[i], spelling.f(x.values<float>()[i]), 2e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Exporters, SpellingTest, ::testing::ValuesIn(kSpellings),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FuseActivationsTest, LeavesWhatOnlyLooksAlike) {
  const auto gelu = [](float half, const char* factor) {
    return [=](ModelBuilder& m) {
      m.Constant("root", Number(std::sqrt(0.5f)));
      m.Constant("one", Number(1));
      m.Constant("half", Number(half));
      m.Node("Neg", {"x"}, {"minus"});
      m.Node("Mul", {"x", "root"}, {"a"});
      m.Node("Erf", {"a"}, {"b"});
      m.Node("Add", {"b", "one"}, {"c"});
      m.Node("Mul", {factor, "c"}, {"d"});
      m.Node("Mul", {"d", "half"}, {"y"});
    };
  };
  EXPECT_THAT(StepOps(ModelOf(gelu(0.5f, "x"), 4), {{2, 4}}), ElementsAre("Gelu"));
  EXPECT_THAT(StepOps(ModelOf(gelu(0.4f, "x"), 4), {{2, 4}}), Contains("Erf"));
  EXPECT_THAT(StepOps(ModelOf(gelu(0.5f, "minus"), 4), {{2, 4}}), Contains("Erf"));
  // The sigmoid is a result, too.
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {4});
  m.Node("Sigmoid", {"x"}, {"a"});
  m.Node("Mul", {"x", "a"}, {"y"});
  m.Output("y", DataType::kFloat, {4});
  m.Output("a", DataType::kFloat, {4});
  EXPECT_THAT(StepOps(m.Build(), {{4}}), ElementsAre("Sigmoid", "Mul"));
}

TEST(FuseActivationsTest, LeavesDoubles) {
  ModelBuilder m;
  m.Input("x", DataType::kDouble, {2});
  m.Constant("three", Tensor::From<double>({}, {3}));
  m.Node("Add", {"x", "three"}, {"a"});
  m.Node("Mul", {"x", "a"}, {"y"});
  m.Output("y", DataType::kDouble, {2});
  const auto y = RunModel(m.Build(), {Tensor::From<double>({2}, {1, 2})});
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_THAT((*y)[0].values<double>(), ElementsAre(4, 10));
}

constexpr int64_t kColumns = 37;

struct NormCase {
  const char* name;
  const char* op;
  std::function<void(ModelBuilder&)> build;
  bool centred, affine;
};

void PrintTo(const NormCase& c, std::ostream* out) { *out << c.name; }

// Constants that all spellings of a normalization share.
void AddNormConstants(ModelBuilder& m) {
  m.Constant("axes", Tensor::From<int64_t>({1}, {-1}));
  m.Constant("two", Number(2));
  m.Constant("epsilon", Number(1e-3f));
  m.Constant("scale", RandomTensor({kColumns}, 5));
  m.Constant("bias", RandomTensor({kColumns}, 6));
}

const NormCase kNorms[] = {
    {"LayerNormOfPyTorch", "LayerNormalization",
     [](ModelBuilder& m) {
       m.Node("ReduceMean", {"x", "axes"}, {"mean"});
       m.Node("Sub", {"x", "mean"}, {"d"});
       m.Node("Pow", {"d", "two"}, {"s"});
       m.Node("ReduceMean", {"s", "axes"}, {"v"});
       m.Node("Add", {"v", "epsilon"}, {"e"});
       m.Node("Sqrt", {"e"}, {"r"});
       m.Node("Div", {"d", "r"}, {"n"});
       m.Node("Mul", {"n", "scale"}, {"a"});
       m.Node("Add", {"a", "bias"}, {"y"});
     },
     true, true},
    {"LayerNormWithTwoDifferences", "LayerNormalization",
     [](ModelBuilder& m) {
       m.Node("ReduceMean", {"x", "axes"}, {"mean"});
       m.Node("Sub", {"x", "mean"}, {"d"});
       m.Node("Sub", {"x", "mean"}, {"d2"});
       m.Node("Mul", {"d2", "d2"}, {"s"});
       m.Node("ReduceMean", {"s", "axes"}, {"v"});
       m.Node("Add", {"epsilon", "v"}, {"e"});
       m.Node("Sqrt", {"e"}, {"r"});
       m.Node("Div", {"d", "r"}, {"y"});
     },
     true, false},
    {"LayerNormOfTensorFlow", "LayerNormalization",
     [](ModelBuilder& m) {
       m.Node("ReduceMean", {"x", "axes"}, {"mean"});
       m.Node("Sub", {"x", "mean"}, {"d"});
       m.Node("Mul", {"d", "d"}, {"s"});
       m.Node("ReduceMean", {"s", "axes"}, {"v"});
       m.Node("Add", {"v", "epsilon"}, {"e"});
       m.Node("Sqrt", {"e"}, {"r"});
       m.Node("Reciprocal", {"r"}, {"i"});
       m.Node("Mul", {"i", "scale"}, {"f"});
       m.Node("Mul", {"x", "f"}, {"a"});
       m.Node("Mul", {"mean", "f"}, {"b"});
       m.Node("Sub", {"bias", "b"}, {"c"});
       m.Node("Add", {"a", "c"}, {"y"});
     },
     true, true},
    {"RmsNormWithReciprocal", "RMSNormalization",
     [](ModelBuilder& m) {
       m.Node("Pow", {"x", "two"}, {"s"});
       m.Node("ReduceMean", {"s", "axes"}, {"v"});
       m.Node("Add", {"v", "epsilon"}, {"e"});
       m.Node("Sqrt", {"e"}, {"r"});
       m.Node("Reciprocal", {"r"}, {"i"});
       m.Node("Mul", {"x", "i"}, {"y"});
     },
     false, false},
    {"RmsNormWithQuotient", "RMSNormalization",
     [](ModelBuilder& m) {
       m.Node("Mul", {"x", "x"}, {"s"});
       m.Node("ReduceMean", {"s", "axes"}, {"v"});
       m.Node("Add", {"v", "epsilon"}, {"e"});
       m.Node("Sqrt", {"e"}, {"r"});
       m.Node("Div", {"x", "r"}, {"y"});
     },
     false, false},
};

class NormTest : public ::testing::TestWithParam<NormCase> {};

TEST_P(NormTest, BecomesOneNodeThatComputesTheSame) {
  const NormCase& c = GetParam();
  const std::string onnx = ModelOf(
      [&](ModelBuilder& m) {
        AddNormConstants(m);
        c.build(m);
      },
      kColumns, 18);
  EXPECT_THAT(StepOps(onnx, {{3, kColumns}}), ElementsAre(c.op));
  const Tensor x = RandomTensor({3, kColumns}, 1);
  const Tensor scale = RandomTensor({kColumns}, 5), bias = RandomTensor({kColumns}, 6);
  const auto y = RunModel(onnx, {x}, 2);
  ASSERT_TRUE(y.ok()) << y.status();
  for (size_t row = 0; row < 3; ++row) {
    const float* const v = x.values<float>().data() + row * kColumns;
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < kColumns && c.centred; ++i) mean += v[i] / double{kColumns};
    for (int64_t i = 0; i < kColumns; ++i) squares += (v[i] - mean) * (v[i] - mean);
    const double deviation = std::sqrt(squares / kColumns + 1e-3);
    for (size_t i = 0; i < kColumns; ++i) {
      double expected = (v[i] - mean) / deviation;
      if (c.affine) expected = expected * scale.values<float>()[i] + bias.values<float>()[i];
      EXPECT_NEAR((*y)[0].values<float>()[row * kColumns + i], expected, 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Exporters, NormTest, ::testing::ValuesIn(kNorms),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FuseLayerNormTest, LeavesOtherAxesAndOtherScales) {
  const auto norm = [](int64_t axis, Shape scale) {
    return [=](ModelBuilder& m) {
      m.Constant("axes", Tensor::From<int64_t>({1}, {axis}));
      m.Constant("epsilon", Number(1e-3f));
      m.Constant("scale", RandomTensor(scale, 1));
      m.Node("Mul", {"x", "x"}, {"s"});
      m.Node("ReduceMean", {"s", "axes"}, {"v"});
      m.Node("Add", {"v", "epsilon"}, {"e"});
      m.Node("Sqrt", {"e"}, {"r"});
      m.Node("Div", {"x", "r"}, {"n"});
      m.Node("Mul", {"n", "scale"}, {"y"});
    };
  };
  EXPECT_THAT(StepOps(ModelOf(norm(1, {4}), 4, 18), {{2, 4}}), ElementsAre("RMSNormalization"));
  EXPECT_THAT(StepOps(ModelOf(norm(1, {1}), 4, 18), {{2, 4}}),
              ElementsAre("RMSNormalization", "Mul"));
  EXPECT_THAT(StepOps(ModelOf(norm(0, {4}), 4, 18), {{2, 4}}), Not(Contains("RMSNormalization")));
}

TEST(JoinTransposesTest, TwoThatUndoEachOtherVanish) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {2, 3, 4});
  SetInts(m.Node("Transpose", {"x"}, {"a"}), "perm", {1, 2, 0});
  SetInts(m.Node("Transpose", {"a"}, {"b"}), "perm", {2, 0, 1});
  SetInts(m.Node("Transpose", {"b"}, {"c"}), "perm", {2, 0, 1});
  SetInts(m.Node("Transpose", {"c"}, {"d"}), "perm", {0, 2, 1});
  m.Node("Neg", {"b"}, {"y"});
  m.Node("Neg", {"d"}, {"z"});
  m.Output("y", DataType::kFloat, {2, 3, 4});
  m.Output("z", DataType::kFloat, {4, 3, 2});
  EXPECT_THAT(StepOps(m.Build(), {{2, 3, 4}}), ElementsAre("Transpose", "Neg", "Neg"));
  const Tensor x = RandomTensor({2, 3, 4}, 1);
  const auto out = RunModel(m.Build(), {x});
  ASSERT_TRUE(out.ok()) << out.status();
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      for (size_t k = 0; k < 4; ++k) {
        const float v = -x.values<float>()[(i * 3 + j) * 4 + k];
        EXPECT_EQ((*out)[0].values<float>()[(i * 3 + j) * 4 + k], v);
        EXPECT_EQ((*out)[1].values<float>()[(k * 3 + j) * 2 + i], v);
      }
    }
  }
}

// y = number(activation(number(convolution of x))), as PP-OCR has it. `shape`: of each number.
std::string ConvolutionWithNumbers(const Shape& shape, bool numbers = true) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 20, 6, 7});
  m.Constant("w", RandomTensor({20, 1, 3, 3}, 1));
  const auto number = [&](const char* name, float value) {
    m.Constant(name, Tensor::From<float>(shape, {value}));
  };
  number("s1", 1.5f);
  number("t1", 0.25f);
  number("s2", -0.75f);
  number("t2", 0.5f);
  auto& conv = m.Node("Conv", {"x", "w"}, {numbers ? "a" : "y"});
  SetInts(conv, "pads", {1, 1, 1, 1});
  SetInt(conv, "group", 20);
  if (numbers) {
    m.Node("Mul", {"a", "s1"}, {"b"});
    m.Node("Add", {"t1", "b"}, {"c"});
    m.Node("HardSwish", {"c"}, {"d"});
    m.Node("Mul", {"s2", "d"}, {"e"});
    m.Node("Add", {"e", "t2"}, {"y"});
  }
  m.Output("y", DataType::kFloat, {-1, 20, 6, 7});
  return m.Build();
}

class NumbersTest : public ::testing::TestWithParam<Shape> {};

TEST_P(NumbersTest, MoveIntoTheConvolutionBeforeThem) {
  const std::string onnx = ConvolutionWithNumbers(GetParam());
  const Tensor x = RandomTensor({2, 20, 6, 7}, 2);
  const std::vector<std::string> ops = StepOps(onnx, {x.shape()});
  EXPECT_THAT(ops, Contains("Conv+HardSwish+Linear"));
  EXPECT_EQ(ops.size(), StepOps(ConvolutionWithNumbers({}, false), {x.shape()}).size());
  const auto before = RunModel(ConvolutionWithNumbers({}, false), {x});
  const auto after = RunModel(onnx, {x});
  ASSERT_TRUE(before.ok() && after.ok()) << before.status() << after.status();
  ASSERT_EQ((*after)[0].shape(), (*before)[0].shape());
  for (size_t i = 0; i < 2 * 20 * 6 * 7; ++i) {
    const double v = 1.5 * (*before)[0].values<float>()[i] + 0.25;
    ASSERT_NEAR((*after)[0].values<float>()[i], -0.75 * HardSwish(v) + 0.5, 1e-5) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NumbersTest,
                         ::testing::Values(Shape{}, Shape{1}, Shape{1, 1, 1, 1}));

TEST(NumbersTest, StayWhereTheyAddADimensionOrOthersReadWhatIsBefore) {
  EXPECT_THAT(StepOps(ConvolutionWithNumbers({1, 1, 1, 1, 1}), {{1, 20, 6, 7}}), Contains("Mul"));
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {1, 16, 3, 3});
  m.Constant("w", RandomTensor({16, 16, 1, 1}, 1));
  m.Constant("two", Number(2));
  m.Node("Conv", {"x", "w"}, {"a"});
  m.Node("Mul", {"a", "two"}, {"y"});
  m.Output("y", DataType::kFloat, {1, 16, 3, 3});
  EXPECT_THAT(StepOps(m.Build(), {{1, 16, 3, 3}}), Not(Contains("Mul")));
  m.Output("a", DataType::kFloat, {1, 16, 3, 3});
  EXPECT_THAT(StepOps(m.Build(), {{1, 16, 3, 3}}), Contains("Mul"));
}

}  // namespace
}  // namespace baton::engine
