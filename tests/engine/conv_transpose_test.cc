// ConvTranspose against a naive reference in double, over what decides how it is split into a
// convolution and DepthToSpace, and where it is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "engine/dnnl_util.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using ::testing::Contains;
using testing::ModelBuilder;
using ::testing::Not;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;
using testing::SetString;
using testing::StepOps;

struct Form {
  const char* name;
  Shape x, w;                                           // w: (C, M/g, …)
  std::vector<int64_t> strides, dilations, pads, more;  // more: output_padding
  int64_t groups = 1;
  bool constant = true, splits = true;
  const char* auto_pad = nullptr;
  bool norm = false, sigmoid = false;  // follow
};

void PrintTo(const Form& form, std::ostream* out) { *out << form.name; }

// Every position of `shape` in turn, row-major.
template <typename F>
void ForEach(const Shape& shape, const F& f) {
  Shape at(shape.size(), 0);
  for (int64_t n = NumElements(shape); n > 0; --n) {
    f(at);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++at[d] < shape[d]) break;
      at[d] = 0;
    }
  }
}

size_t Offset(const Shape& shape, const Shape& at) {
  int64_t offset = 0;
  for (size_t d = 0; d < shape.size(); ++d) offset = offset * shape[d] + at[d];
  return static_cast<size_t>(offset);
}

std::vector<double> Reference(const Form& f, const Tensor& x, const Tensor& w, const Tensor& b,
                              const Shape& y) {
  const int64_t outputs = f.w[1], inputs = f.w[0] / f.groups;
  std::vector<double> sums(static_cast<size_t>(NumElements(y)));
  ForEach(y, [&](const Shape& at) {
    sums[Offset(y, at)] = b.values<float>()[static_cast<size_t>(at[1])];
  });
  ForEach(f.x, [&](const Shape& from) {
    Shape window = {outputs};
    window.insert(window.end(), f.w.begin() + 2, f.w.end());
    ForEach(window, [&](const Shape& tap) {
      Shape to = {from[0], from[1] / inputs * outputs + tap[0]}, weight = {from[1], tap[0]};
      for (size_t d = 0; d + 2 < f.x.size(); ++d) {
        to.push_back(from[d + 2] * f.strides[d] + tap[d + 1] * f.dilations[d] - f.pads[d]);
        weight.push_back(tap[d + 1]);
        if (to.back() < 0 || to.back() >= y[d + 2]) return;
      }
      sums[Offset(y, to)] += static_cast<double>(x.values<float>()[Offset(f.x, from)]) *
                             w.values<float>()[Offset(f.w, weight)];
    });
  });
  return sums;
}

Shape OutputShape(const Form& f) {
  Shape y = {f.x[0], f.w[1] * f.groups};
  const size_t n = f.x.size() - 2;
  for (size_t d = 0; d < n; ++d) {
    y.push_back(f.strides[d] * (f.x[d + 2] - 1) + (f.w[d + 2] - 1) * f.dilations[d] + 1 +
                f.more[d] - f.pads[d] - f.pads[d + n]);
  }
  return y;
}

std::vector<int64_t> Dims(const Shape& shape) { return {shape.begin(), shape.end()}; }

std::vector<int64_t> AnyBatch(Shape shape) {
  shape[0] = -1;
  return Dims(shape);
}

class ConvTransposeTest : public ::testing::TestWithParam<Form> {};

TEST_P(ConvTransposeTest, EqualsTheReference) {
  const Form& f = GetParam();
  const Shape y = OutputShape(f);
  const Tensor x = RandomTensor(f.x, 1), w = RandomTensor(f.w, 2), b = RandomTensor({y[1]}, 3);
  ModelBuilder m;
  std::vector<Tensor> inputs = {x};
  m.Input("x", DataType::kFloat, AnyBatch(f.x));
  if (f.constant) {
    m.Constant("w", w);
  } else {
    m.Input("w", DataType::kFloat, Dims(f.w));
    inputs.push_back(w);
  }
  m.Constant("b", b);
  auto& conv = m.Node("ConvTranspose", {"x", "w", "b"}, {"c"});
  SetInts(conv, "strides", f.strides);
  SetInts(conv, "dilations", f.dilations);
  SetInts(conv, "output_padding", f.more);
  SetInt(conv, "group", f.groups);
  if (f.auto_pad != nullptr) {
    SetString(conv, "auto_pad", f.auto_pad);
  } else {
    SetInts(conv, "pads", f.pads);
  }
  std::vector<double> expected = Reference(f, x, w, b, y);
  std::string last = "c";
  if (f.norm) {
    const char* const names[] = {"scale", "shift", "mean", "variance"};
    std::vector<std::string> norm = {"c"};
    std::vector<Tensor> values;
    for (uint32_t i = 0; i < 4; ++i) {
      Tensor value = RandomTensor({y[1]}, 10 + i);
      for (float& v : value.mutable_values<float>()) v = i == 3 ? std::abs(v) + 1 : v;
      m.Constant(names[i], value);
      norm.push_back(names[i]);
      values.push_back(std::move(value));
    }
    m.Node("BatchNormalization", norm, {"n"});
    ForEach(y, [&](const Shape& at) {
      const auto c = static_cast<size_t>(at[1]);
      const auto of = [&](size_t i) { return static_cast<double>(values[i].values<float>()[c]); };
      double& v = expected[Offset(y, at)];
      v = (v - of(2)) / std::sqrt(of(3) + 1e-5) * of(0) + of(1);
    });
    last = "n";
  }
  if (f.sigmoid) {
    m.Node("Sigmoid", {last}, {"s"});
    for (double& v : expected) v = 1 / (1 + std::exp(-v));
    last = "s";
  }
  m.Output(last, DataType::kFloat, AnyBatch(y));
  const std::string onnx = m.Build();

  for (const int threads : {1, 2}) {
    const auto got = RunModel(onnx, inputs, threads);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ((*got)[0].shape(), y);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR((*got)[0].values<float>()[i], expected[i], 1e-4) << i;
    }
  }
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape());
  const std::vector<std::string> ops = StepOps(onnx, shapes);
  if (f.splits) {
    EXPECT_THAT(ops, Contains(f.sigmoid ? "Conv+Sigmoid" : "Conv"));
    EXPECT_THAT(ops, Not(Contains("ConvTranspose")));
    EXPECT_THAT(ops, Not(Contains("BatchNormalization")));
  } else {
    EXPECT_THAT(ops, Contains("ConvTranspose"));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Forms, ConvTransposeTest,
    ::testing::Values(Form{.name = "TwiceAsLarge",
                           .x = {2, 24, 5, 7},
                           .w = {24, 24, 2, 2},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {0, 0, 0, 0},
                           .more = {0, 0}},
                      Form{.name = "InBlocksOfChannels",
                           .x = {3, 16, 6, 5},
                           .w = {16, 32, 4, 4},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {1, 1, 1, 1},
                           .more = {0, 0},
                           .norm = true,
                           .sigmoid = true},
                      Form{.name = "OutputPadding",
                           .x = {1, 5, 4, 6},
                           .w = {5, 3, 3, 3},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {1, 1, 1, 1},
                           .more = {1, 1}},
                      Form{.name = "LessThanWholeBlocks",
                           .x = {2, 16, 5, 3},
                           .w = {16, 16, 3, 3},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {0, 0, 0, 0},
                           .more = {0, 0},
                           .sigmoid = true},
                      Form{.name = "UnevenEverything",
                           .x = {2, 3, 4, 5},
                           .w = {3, 4, 5, 3},
                           .strides = {3, 2},
                           .dilations = {1, 2},
                           .pads = {0, 2, 3, 1},
                           .more = {2, 1},
                           .norm = true},
                      Form{.name = "PadsBeyondTheWindow",
                           .x = {1, 3, 6, 6},
                           .w = {3, 2, 3, 2},
                           .strides = {1, 2},
                           .dilations = {1, 1},
                           .pads = {2, 2, 1, 1},
                           .more = {0, 0}},
                      Form{.name = "StrideOfOne",
                           .x = {2, 16, 8, 6},
                           .w = {16, 48, 3, 3},
                           .strides = {1, 1},
                           .dilations = {1, 1},
                           .pads = {1, 1, 1, 1},
                           .more = {0, 0},
                           .sigmoid = true},
                      Form{.name = "GroupsWithStrideOfOne",
                           .x = {2, 8, 4, 4},
                           .w = {8, 3, 3, 3},
                           .strides = {1, 1},
                           .dilations = {1, 1},
                           .pads = {1, 1, 1, 1},
                           .more = {0, 0},
                           .groups = 2},
                      Form{.name = "Signal",
                           .x = {2, 6, 9},
                           .w = {6, 5, 16},
                           .strides = {8},
                           .dilations = {1},
                           .pads = {4, 4},
                           .more = {0}},
                      Form{.name = "Volume",
                           .x = {1, 4, 3, 2, 4},
                           .w = {4, 3, 2, 3, 2},
                           .strides = {2, 1, 2},
                           .dilations = {1, 1, 1},
                           .pads = {0, 1, 0, 0, 1, 1},
                           .more = {0, 0, 0}},
                      Form{.name = "SameUpper",
                           .x = {1, 3, 4, 5},
                           .w = {3, 2, 3, 5},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {0, 1, 1, 2},
                           .more = {0, 0},
                           .auto_pad = "SAME_UPPER"},
                      Form{.name = "SameLower",
                           .x = {1, 3, 4, 5},
                           .w = {3, 2, 3, 5},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {1, 2, 0, 1},
                           .more = {0, 0},
                           .auto_pad = "SAME_LOWER"},
                      Form{.name = "GroupsApart",
                           .x = {2, 8, 4, 4},
                           .w = {8, 3, 2, 2},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {0, 0, 0, 0},
                           .more = {0, 0},
                           .groups = 4,
                           .splits = false},
                      Form{.name = "WeightsOfTheRequest",
                           .x = {2, 3, 4, 4},
                           .w = {3, 4, 2, 2},
                           .strides = {2, 2},
                           .dilations = {1, 1},
                           .pads = {0, 0, 0, 0},
                           .more = {0, 0},
                           .constant = false,
                           .splits = false},
                      Form{.name = "MostlyHoles",  // as a convolution it would multiply zeros
                           .x = {1, 3, 4, 4},
                           .w = {3, 4, 1, 1},
                           .strides = {3, 3},
                           .dilations = {1, 1},
                           .pads = {0, 0, 0, 0},
                           .more = {0, 0},
                           .splits = false}),
    [](const auto& info) { return info.param.name; });

// On bfloat16 a convolution's channels lie last, and stay so.
TEST(ConvTransposeOnBfloat16, IsNear) {
  if (!HasBfloat16()) GTEST_SKIP() << "this processor has no AVX-512 BF16";
  Form f{.name = "",
         .x = {2, 32, 6, 6},
         .w = {32, 32, 2, 2},
         .strides = {2, 2},
         .dilations = {1, 1},
         .pads = {0, 0, 0, 0},
         .more = {0, 0}};
  const Shape y = OutputShape(f);
  const Tensor x = RandomTensor(f.x, 1), w = RandomTensor(f.w, 2), b = RandomTensor({y[1]}, 3);
  ModelBuilder m;
  m.Input("x", DataType::kFloat, AnyBatch(f.x));
  m.Constant("w", w);
  m.Constant("b", b);
  SetInts(m.Node("ConvTranspose", {"x", "w", "b"}, {"c"}), "strides", f.strides);
  m.Node("Relu", {"c"}, {"y"});
  m.Output("y", DataType::kFloat, AnyBatch(y));
  ModelOptions options;
  options.precision = Precision::kBf16;
  const auto model = Model::Parse(m.Build(), "", options);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto got = RunModel(**model, {x});
  ASSERT_TRUE(got.ok()) << got.status();
  const std::vector<double> expected = Reference(f, x, w, b, y);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR((*got)[0].values<float>()[i], std::max(expected[i], 0.0), 0.1) << i;
  }
  EXPECT_THAT(StepOps(m.Build(), {f.x}, options), Not(Contains("ConvTranspose")));
}

}  // namespace
}  // namespace baton::engine
