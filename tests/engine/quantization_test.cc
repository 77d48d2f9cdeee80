// What quantizers write: that it becomes products of integers, and computes what ONNX says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::AllOf;
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

// A scale and a zero point of int8 or uint8.
struct Scale {
  double scale = 1;
  int zero = 0;
  bool is_signed = false;

  double Quantize(double x) const {
    const double low = is_signed ? -128 : 0, high = is_signed ? 127 : 255;
    return std::clamp(std::nearbyint(x / scale) + zero, low, high);
  }
  // What is left of x.
  double Round(double x) const { return (Quantize(x) - zero) * scale; }
  Tensor scale_tensor() const { return Tensor::From<float>({}, {static_cast<float>(scale)}); }
  Tensor zero_tensor() const {
    return is_signed ? Tensor::From<int8_t>({}, {static_cast<int8_t>(zero)})
                     : Tensor::From<uint8_t>({}, {static_cast<uint8_t>(zero)});
  }
};

// QuantizeLinear and DequantizeLinear: `to` is what is left of `from`.
void AddPair(ModelBuilder& m, const std::string& from, const std::string& to, const Scale& s) {
  m.Constant(to + "_scale", s.scale_tensor());
  m.Constant(to + "_zero", s.zero_tensor());
  m.Node("QuantizeLinear", {from, to + "_scale", to + "_zero"}, {to + "_q"});
  m.Node("DequantizeLinear", {to + "_q", to + "_scale", to + "_zero"}, {to});
}

// Weights of int8 with a scale for each index along `axis`, as "w"; the values they stand for.
std::vector<double> AddWeights(ModelBuilder& m, const Shape& shape, size_t axis) {
  Tensor q(DataType::kInt8, shape);
  const int64_t channels = shape[axis];
  Tensor scales(DataType::kFloat, {channels}), zeros(DataType::kInt8, {channels});
  for (int64_t c = 0; c < channels; ++c) {
    scales.mutable_values<float>()[static_cast<size_t>(c)] =
        0.01f + 0.002f * static_cast<float>(c % 7);
  }
  const Tensor random = RandomTensor(shape, 2);
  const int64_t inner = NumElements(absl::MakeConstSpan(shape).subspan(axis + 1));
  std::vector<double> values;
  for (int64_t i = 0; i < q.size(); ++i) {
    const auto at = static_cast<size_t>(i);
    q.mutable_values<int8_t>()[at] = static_cast<int8_t>(random.values<float>()[at] * 127);
    const auto c = static_cast<size_t>(i / inner % channels);
    values.push_back(static_cast<double>(q.values<int8_t>()[at]) * scales.values<float>()[c]);
  }
  m.Constant("w_q", q);
  m.Constant("w_scale", scales);
  m.Constant("w_zero", zeros);
  SetInt(m.Node("DequantizeLinear", {"w_q", "w_scale", "w_zero"}, {"w"}), "axis",
         static_cast<int64_t>(axis));
  return values;
}

// Equal, but for what lies in the middle between two steps.
void ExpectEqualSteps(absl::Span<const float> got, const std::vector<double>& want, double step) {
  ASSERT_EQ(got.size(), want.size());
  size_t off = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1.001 * step) << i;
    off += std::abs(got[i] - want[i]) > 0.01 * step ? 1 : 0;
  }
  EXPECT_LE(off, want.size() / 100);
}

struct ProductCase {
  const char* name;
  Scale x, y;
  const char* activation = "";
  bool residual = false;
};
void PrintTo(const ProductCase& c, std::ostream* out) { *out << c.name; }

double Activate(const std::string& op, double x) {
  if (op == "Relu") return std::max(x, 0.0);
  if (op == "HardSwish") return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
  return x;
}

const Scale kImages = {2.0 / 255, 127, false};
const Scale kSignedImages = {2.0 / 255, 3, true};
const Scale kPositive = {0.02, 0, false};
const Scale kAround = {0.05, 120, false};
const Scale kResidual = {0.03, 100, false};

class QuantizedProductTest : public ::testing::TestWithParam<ProductCase> {
 protected:
  // "r_left", where the case has a residual.
  static void Begin(ModelBuilder& m, const std::vector<int64_t>& dims) {
    if (!GetParam().residual) return;
    m.Input("r", DataType::kFloat, dims);
    AddPair(m, "r", "r_left", kResidual);
  }

  // "p", a product of "x" → activation, residual → quantized "y".
  static void Finish(ModelBuilder& m, const std::vector<int64_t>& dims, std::vector<Tensor>& inputs,
                     std::vector<double>& expected, const Shape& shape) {
    const ProductCase& c = GetParam();
    std::string last = "p";
    if (c.residual) {
      const Tensor r = RandomTensor(shape, 5);
      inputs.push_back(r);
      m.Node("Add", {last, "r_left"}, {"s"});
      last = "s";
      for (size_t i = 0; i < expected.size(); ++i) {
        expected[i] += kResidual.Round(r.values<float>()[i]);
      }
    }
    if (c.activation[0] != '\0') {
      m.Node(c.activation, {last}, {"a"});
      last = "a";
      for (double& v : expected) v = Activate(c.activation, v);
    }
    AddPair(m, last, "y", c.y);
    for (double& v : expected) v = c.y.Round(v);
    m.Output("y", DataType::kFloat, dims);
  }

  static void Expect(const std::string& onnx, const std::vector<Tensor>& inputs,
                     const std::vector<double>& expected, const std::string& op) {
    std::vector<Shape> shapes;
    for (const Tensor& input : inputs) shapes.push_back(input.shape());
    std::string wanted = op;
    if (GetParam().residual) wanted += "+Add";
    if (GetParam().activation[0] != '\0') wanted += absl::StrCat("+", GetParam().activation);
    // The product reads and writes integers: nothing is left beside it but for the frame.
    const std::vector<std::string> ops = StepOps(onnx, shapes);
    EXPECT_EQ(std::count_if(ops.begin(), ops.end(),
                            [&](const std::string& s) { return s.starts_with(wanted); }),
              1)
        << ::testing::PrintToString(ops);
    EXPECT_EQ(std::count(ops.begin(), ops.end(), "DequantizeLinear"), 1)
        << ::testing::PrintToString(ops);
    for (const int threads : {1, 2}) {
      const auto y = RunModel(onnx, inputs, threads);
      ASSERT_TRUE(y.ok()) << y.status();
      ExpectEqualSteps((*y)[0].values<float>(), expected, GetParam().y.scale);
    }
  }
};

TEST_P(QuantizedProductTest, MatMulIsOneStep) {
  ModelBuilder m;
  constexpr int64_t kRows = 19, kK = 70, kN = 45;
  m.Input("x", DataType::kFloat, {-1, kK});
  AddPair(m, "x", "x_left", GetParam().x);
  Begin(m, {-1, kN});
  const std::vector<double> w = AddWeights(m, {kK, kN}, 1);
  const Tensor b = RandomTensor({kN}, 3);
  m.Constant("b", b);
  m.Node("MatMul", {"x_left", "w"}, {"product"});
  m.Node("Add", {"product", "b"}, {"p"});
  const Tensor x = RandomTensor({kRows, kK}, 1);
  std::vector<double> expected;
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kN; ++j) {
      double sum = b.values<float>()[j];
      for (size_t k = 0; k < kK; ++k) {
        sum += GetParam().x.Round(x.values<float>()[i * kK + k]) * w[k * kN + j];
      }
      expected.push_back(sum);
    }
  }
  std::vector<Tensor> inputs = {x};
  Finish(m, {-1, kN}, inputs, expected, {kRows, kN});
  Expect(m.Build(), inputs, expected, "QuantMatMul");
}

TEST_P(QuantizedProductTest, ConvIsOneStep) {
  ModelBuilder m;
  constexpr int64_t kIn = 19, kOut = 35, kSize = 9;
  m.Input("x", DataType::kFloat, {-1, kIn, kSize, kSize});
  AddPair(m, "x", "x_left", GetParam().x);
  Begin(m, {-1, kOut, kSize, kSize});
  const std::vector<double> w = AddWeights(m, {kOut, kIn, 3, 3}, 0);
  const Tensor b = RandomTensor({kOut}, 3);
  m.Constant("b", b);
  SetInts(m.Node("Conv", {"x_left", "w", "b"}, {"p"}), "pads", {1, 1, 1, 1});
  constexpr int64_t kBatch = 2;
  const Tensor x = RandomTensor({kBatch, kIn, kSize, kSize}, 1);
  std::vector<double> expected;
  for (int64_t n = 0; n < kBatch; ++n) {
    for (int64_t o = 0; o < kOut; ++o) {
      for (int64_t at = 0; at < kSize * kSize; ++at) {
        double sum = b.values<float>()[static_cast<size_t>(o)];
        for (int64_t tap = 0; tap < kIn * 9; ++tap) {
          const int64_t h = at / kSize + tap % 9 / 3 - 1, v = at % kSize + tap % 3 - 1;
          if (h < 0 || v < 0 || h >= kSize || v >= kSize) continue;
          const int64_t from = ((n * kIn + tap / 9) * kSize + h) * kSize + v;
          sum += GetParam().x.Round(x.values<float>()[static_cast<size_t>(from)]) *
                 w[static_cast<size_t>(o * kIn * 9 + tap)];
        }
        expected.push_back(sum);
      }
    }
  }
  std::vector<Tensor> inputs = {x};
  Finish(m, {-1, kOut, kSize, kSize}, inputs, expected, {kBatch, kOut, kSize, kSize});
  Expect(m.Build(), inputs, expected, "QuantConv");
}

INSTANTIATE_TEST_SUITE_P(
    Forms, QuantizedProductTest,
    ::testing::Values(ProductCase{"Plain", kPositive, kAround},
                      ProductCase{"ZeroPoints", kImages, kAround},
                      ProductCase{"Signed", kSignedImages, Scale{0.05, -7, true}},
                      ProductCase{"Relu", kImages, kPositive, "Relu"},
                      ProductCase{"ReluWithZeroPoint", kImages, kAround, "Relu"},
                      ProductCase{"HardSwish", kImages, kAround, "HardSwish"},
                      ProductCase{"Residual", kImages, kAround, "", true},
                      ProductCase{"ResidualAndRelu", kImages, kPositive, "Relu", true},
                      ProductCase{"ResidualAndHardSwish", kImages, kAround, "HardSwish", true}),
    [](const auto& info) { return std::string(info.param.name); });

// Where the residual's type is not the result's, or where the result stays float.
TEST(QuantizationTest, AResidualOfAnotherTypeIsDequantizedBefore) {
  for (const bool quantized : {true, false}) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, 16});
    m.Input("r", DataType::kFloat, {-1, 16});
    AddPair(m, "x", "x_left", kImages);
    Tensor q(DataType::kInt8, {16, 16});
    for (size_t i = 0; i < 16; ++i) q.mutable_values<int8_t>()[i * 17] = 100;
    m.Constant("w_q", q);
    m.Constant("w_scale", Tensor::From<float>({}, {0.01f}));
    m.Node("DequantizeLinear", {"w_q", "w_scale"}, {"w"});
    m.Node("MatMul", {"x_left", "w"}, {"p"});
    // A signed residual that someone else reads, too: it stays int8.
    const Scale residual = {0.03, 5, true};
    AddPair(m, "r", "r_left", residual);
    m.Node("Add", {"p", "r_left"}, {"s"});
    std::string last = "s";
    if (quantized) AddPair(m, "s", last = "y", kAround);
    m.Output(last, DataType::kFloat, {-1, 16});
    m.Output("r_left_q", DataType::kInt8, {-1, 16});
    const Tensor x = RandomTensor({3, 16}, 1), r = RandomTensor({3, 16}, 2);
    const auto y = RunModel(m.Build(), {x, r});
    ASSERT_TRUE(y.ok()) << y.status();
    std::vector<double> expected;
    for (size_t i = 0; i < 48; ++i) {
      const double sum = kImages.Round(x.values<float>()[i]) + residual.Round(r.values<float>()[i]);
      expected.push_back(quantized ? kAround.Round(sum) : sum);
      EXPECT_EQ((*y)[1].values<int8_t>()[i], residual.Quantize(r.values<float>()[i]));
    }
    ExpectEqualSteps((*y)[0].values<float>(), expected, quantized ? kAround.scale : 1e-4);
  }
}

// QuantizeLinear that only rounds between operators on floats goes; one that cuts off at 0 is Relu.
TEST(QuantizationTest, PairsBetweenFloatsGoButWhatTheyCutOffStays) {
  for (const bool cuts : {false, true}) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, 40});
    m.Node("Tanh", {"x"}, {"t"});
    AddPair(m, "t", "t_left", cuts ? Scale{0.1, 0, false} : Scale{0.1, 10, false});
    m.Node("Sin", {"t_left"}, {"y"});
    m.Output("y", DataType::kFloat, {-1, 40});
    const Tensor x = RandomTensor({2, 40}, 1);
    const std::vector<std::string> without = {"Tanh", "Sin"}, with = {"Tanh", "Relu", "Sin"};
    EXPECT_EQ(StepOps(m.Build(), {x.shape()}), cuts ? with : without);
    const auto y = RunModel(m.Build(), {x});
    ASSERT_TRUE(y.ok()) << y.status();
    for (size_t i = 0; i < 80; ++i) {
      const double t = std::tanh(x.values<float>()[i]);
      EXPECT_NEAR((*y)[0].values<float>()[i], std::sin(cuts ? std::max(t, 0.0) : t), 1e-6);
    }
  }
}

// Operators that only move elements let QuantizeLinear pass to the product before them.
TEST(QuantizationTest, MovesIntegersWhereTheyAreMovedAnyway) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 16, 8, 8});
  AddPair(m, "x", "x_left", kImages);
  AddWeights(m, {32, 16, 1, 1}, 0);
  m.Node("Conv", {"x_left", "w"}, {"c"});
  AddPair(m, "c", "c_left", kAround);
  auto& pool = m.Node("MaxPool", {"c_left"}, {"p"});
  SetInts(pool, "kernel_shape", {2, 2});
  SetInts(pool, "strides", {2, 2});
  AddPair(m, "p", "p_left", kAround);
  SetInts(m.Node("Transpose", {"p_left"}, {"t"}), "perm", {0, 2, 3, 1});
  AddPair(m, "t", "t_left", kAround);
  const Tensor v = Tensor::From<int8_t>({32, 1}, std::vector<int8_t>(32, 3));
  m.Constant("v_q", v);
  m.Constant("v_scale", Tensor::From<float>({}, {0.5f}));
  m.Node("DequantizeLinear", {"v_q", "v_scale"}, {"v"});
  m.Node("MatMul", {"t_left", "v"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 4, 4, 1});
  EXPECT_THAT(StepOps(m.Build(), {{2, 16, 8, 8}}),
              AllOf(Contains("QuantConv"), Contains("MaxPool"), Contains("Transpose"),
                    Contains("QuantMatMul"), Not(Contains("DequantizeLinear"))));
  const auto y = RunModel(m.Build(), {RandomTensor({2, 16, 8, 8}, 1)});
  ASSERT_TRUE(y.ok()) << y.status();
}

// DynamicQuantizeLinear → MatMulInteger or ConvInteger → Cast → Mul → Add.
class DynamicTest : public ::testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(DynamicTest, IsOneProductOfIntegers) {
  const auto& [conv, positive] = GetParam();
  constexpr int64_t kK = 50, kN = 33, kSize = 6;
  const std::vector<int64_t> dims =
      conv ? std::vector<int64_t>{-1, kK, kSize, kSize} : std::vector<int64_t>{-1, kK};
  const Shape weights = conv ? Shape{kN, kK, 1, 1} : Shape{kK, kN};
  ModelBuilder m;
  m.Input("x", DataType::kFloat, dims);
  m.Node("DynamicQuantizeLinear", {"x"}, {"q", "scale", "zero"});
  Tensor w(DataType::kInt8, weights);
  const Tensor random = RandomTensor(weights, 2), b = RandomTensor({kN}, 3);
  for (size_t i = 0; i < w.values<int8_t>().size(); ++i) {
    w.mutable_values<int8_t>()[i] = static_cast<int8_t>(random.values<float>()[i] * 120);
  }
  m.Constant("w", w);
  m.Constant("w_scale", Tensor::From<float>({}, {0.02f}));
  m.Constant("w_zero", Tensor::From<int8_t>({}, {int8_t{4}}));
  m.Constant("b", conv ? b.Reshaped({1, kN, 1, 1}) : b);
  m.Node(conv ? "ConvInteger" : "MatMulInteger", {"q", "w", "zero", "w_zero"}, {"sums"});
  SetInt(m.Node("Cast", {"sums"}, {"floats"}), "to", 1);
  m.Node("Mul", {"scale", "w_scale"}, {"both"});
  m.Node("Mul", {"floats", "both"}, {"p"});
  m.Node("Add", {"p", "b"}, {"s"});
  m.Node("Relu", {"s"}, {"y"});
  const std::vector<int64_t> y_dims =
      conv ? std::vector<int64_t>{-1, kN, kSize, kSize} : std::vector<int64_t>{-1, kN};
  m.Output("y", DataType::kFloat, y_dims);

  constexpr int64_t kBatch = 3, kImage = kSize * kSize;
  Tensor x = RandomTensor(conv ? Shape{kBatch, kK, kSize, kSize} : Shape{kBatch, kK}, 1);
  if (positive) {
    for (float& v : x.mutable_values<float>()) v = std::abs(v);
  }
  const std::vector<std::string> ops = StepOps(m.Build(), {x.shape()});
  EXPECT_THAT(ops, Contains(conv ? "QuantConv" : "QuantMatMul+Relu"));
  EXPECT_THAT(ops, AllOf(Not(Contains("Mul")), Not(Contains("Cast")), Not(Contains("Add"))));

  double least = 0, most = 0;
  for (const float v : x.values<float>()) {
    least = std::min<double>(least, v);
    most = std::max<double>(most, v);
  }
  Scale s;
  s.scale = static_cast<float>((most - least) / 255);
  s.zero = static_cast<int>(std::nearbyint(-least / s.scale));
  const int64_t places = conv ? kImage : 1;
  std::vector<double> expected;
  for (int64_t i = 0; i < kBatch; ++i) {
    for (int64_t o = 0; o < kN; ++o) {
      for (int64_t at = 0; at < places; ++at) {
        double sum = 0;
        for (int64_t k = 0; k < kK; ++k) {
          const auto from = static_cast<size_t>((i * kK + k) * places + at);
          const auto weight = static_cast<size_t>(conv ? o * kK + k : k * kN + o);
          sum += s.Round(x.values<float>()[from]) * (w.values<int8_t>()[weight] - 4) * 0.02;
        }
        expected.push_back(std::max(0.0, sum + b.values<float>()[static_cast<size_t>(o)]));
      }
    }
  }
  for (const int threads : {1, 2}) {
    const auto y = RunModel(m.Build(), {x}, threads);
    ASSERT_TRUE(y.ok()) << y.status();
    for (size_t i = 0; i < expected.size(); ++i) {
      // A value between two steps may fall to either.
      ASSERT_NEAR((*y)[0].values<float>()[i], expected[i], 0.02) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, DynamicTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool()));

// Numbers of all signs, in the middle between steps, far outside, and not numbers.
TEST(QuantizationTest, QuantizeLinearRoundsToEvenAndSaturates) {
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1});
  m.Constant("scale", Tensor::From<float>({}, {2.0f}));
  m.Constant("zero", Tensor::From<int8_t>({}, {int8_t{10}}));
  m.Node("QuantizeLinear", {"x", "scale", "zero"}, {"y"});
  m.Output("y", DataType::kInt8, {-1});
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x =
      Tensor::From<float>({19}, {0, 1, 3, 5, -1, -3, 2.5f, 233, 234, 235, 1e30f, infinity, -276,
                                 -277, -1e30f, -infinity, std::nanf(""), 4.99f, -4.99f});
  const auto y = RunModel(m.Build(), {x});
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_THAT((*y)[0].values<int8_t>(), ElementsAre(10, 10, 12, 12, 10, 8, 11, 126, 127, 127, 127,
                                                    127, -128, -128, -128, -128, -128, 12, 8));
}

TEST(QuantizationTest, WordsOfSixteenBitsAndScalesAlongAnAxis) {
  ModelBuilder m(21);
  m.Input("x", DataType::kFloat, {-1, 3, 5});
  m.Constant("scale", Tensor::From<float>({3}, {0.5f, 1.0f, 2.0f}));
  m.Constant("zero", Tensor::From<uint16_t>({3}, {0, 1000, 30000}));
  SetInt(m.Node("QuantizeLinear", {"x", "scale", "zero"}, {"q"}), "axis", 1);
  SetInt(m.Node("DequantizeLinear", {"q", "scale", "zero"}, {"y"}), "axis", 1);
  m.Output("q", DataType::kUint16, {-1, 3, 5});
  m.Output("y", DataType::kFloat, {-1, 3, 5});
  Tensor x = RandomTensor({2, 3, 5}, 1);
  for (float& v : x.mutable_values<float>()) v *= 1000;
  const auto y = RunModel(m.Build(), {x});
  ASSERT_TRUE(y.ok()) << y.status();
  const double scales[] = {0.5, 1, 2}, zeros[] = {0, 1000, 30000};
  for (size_t i = 0; i < 30; ++i) {
    const size_t c = i / 5 % 3;
    const double q =
        std::clamp(std::nearbyint(x.values<float>()[i] / scales[c]) + zeros[c], 0.0, 65535.0);
    EXPECT_EQ((*y)[0].values<uint16_t>()[i], q);
    EXPECT_EQ((*y)[1].values<float>()[i], (q - zeros[c]) * scales[c]);
  }
}

// Nodes without what they need, in every place that a rewrite looks at, are errors of their own.
TEST(QuantizationTest, BrokenNodesAreReported) {
  for (const char* op : {"QuantizeLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger",
                         "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"}) {
    for (const bool has_input : {true, false}) {
      ModelBuilder m;
      m.Input("x", DataType::kFloat, {-1, 3});
      m.Node("DequantizeLinear", {has_input ? "x" : ""}, {"d"});
      m.Node(op, {has_input ? "d" : ""}, {"q"});
      m.Node("DequantizeLinear", {"q"}, {"e"});
      m.Node("MatMul", {"e", "d"}, {"y"});
      m.Output("y", DataType::kFloat, {-1, 3});
      EXPECT_FALSE(RunModel(m.Build(), {RandomTensor({2, 3}, 1)}).ok()) << op;
    }
  }
  for (const char* op : {"QLinearAdd", "QGemm", "QLinearConcat", "QLinearSigmoid"}) {
    ModelBuilder m;
    m.Input("x", DataType::kUint8, {-1, 3});
    m.Node(op, {"x"}, {"y"}, "com.microsoft");
    m.Output("y", DataType::kUint8, {-1, 3});
    EXPECT_FALSE(RunModel(m.Build(), {Tensor::From<uint8_t>({1, 3}, {1, 2, 3})}).ok()) << op;
  }
}

TEST(QuantizationTest, SaysWhatDoesNotFit) {
  const auto error = [](const Tensor& scale, const Tensor& zero) {
    ModelBuilder m;
    m.Input("x", DataType::kFloat, {-1, 3});
    m.Constant("scale", scale);
    m.Constant("zero", zero);
    m.Node("QuantizeLinear", {"x", "scale", "zero"}, {"y"});
    m.Output("y", zero.type(), {-1, 3});
    return std::string(RunModel(m.Build(), {RandomTensor({2, 3}, 1)}).status().message());
  };
  const Tensor one = Tensor::From<float>({}, {1.0f});
  EXPECT_THAT(
      error(Tensor::From<float>({4}, {1, 1, 1, 1}), Tensor::From<uint8_t>({4}, {0, 0, 0, 0})),
      ::testing::HasSubstr("the scale is [4] for axis 1 of [2,3]"));
  EXPECT_THAT(error(one, Tensor::From<uint8_t>({2}, {0, 0})),
              ::testing::HasSubstr("the zero point is [2], the scale []"));
  EXPECT_THAT(error(one, Tensor::From<int32_t>({}, {0})),
              ::testing::HasSubstr("element type int32 is not supported"));
}

}  // namespace
}  // namespace baton::engine
