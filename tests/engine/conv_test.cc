// Conv against a naive reference in double, over the forms that choose different layouts and
// implementations.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInt;
using testing::SetInts;

struct ConvCase {
  Shape x;
  int64_t outputs, groups = 1;
  std::vector<int64_t> kernel, strides = {1, 1}, dilations = {1, 1}, pads = {0, 0, 0, 0};
  bool bias = true, constant_weights = true, residual = false, relu = false;
  std::string first = "";  // Softplus or Swish, before the residual
  std::string then = "";   // Swish, after it
};

double Activated(const std::string& op, double x) {
  if (op == "Softplus") return std::log1p(std::exp(x));
  return op == "Swish" ? x / (1 + std::exp(-x)) : x;
}

// Adds the activation of value `x`, if there is one; the name of what comes out.
std::string Activate(ModelBuilder& m, const std::string& op, const std::string& x) {
  if (op.empty()) return x;
  if (op == "Swish") {
    m.Node("Sigmoid", {x}, {x + "_sigmoid"});
    m.Node("Mul", {x, x + "_sigmoid"}, {x + "_done"});
  } else {
    m.Node(op, {x}, {x + "_done"});
  }
  return x + "_done";
}

std::vector<double> Reference(const ConvCase& c, absl::Span<const float> x,
                              absl::Span<const float> w, absl::Span<const float> b, int64_t oh,
                              int64_t ow) {
  std::vector<double> y;
  const int64_t in_group = c.x[1] / c.groups, out_group = c.outputs / c.groups;
  for (int64_t n = 0; n < c.x[0]; ++n) {
    for (int64_t o = 0; o < c.outputs; ++o) {
      for (int64_t i = 0; i < oh; ++i) {
        for (int64_t j = 0; j < ow; ++j) {
          double sum = c.bias ? b[static_cast<size_t>(o)] : 0;
          for (int64_t k = 0; k < in_group; ++k) {
            const int64_t channel = o / out_group * in_group + k;
            for (int64_t r = 0; r < c.kernel[0]; ++r) {
              for (int64_t s = 0; s < c.kernel[1]; ++s) {
                const int64_t h = i * c.strides[0] + r * c.dilations[0] - c.pads[0];
                const int64_t v = j * c.strides[1] + s * c.dilations[1] - c.pads[1];
                if (h < 0 || v < 0 || h >= c.x[2] || v >= c.x[3]) continue;
                sum += static_cast<double>(x[static_cast<size_t>(
                           ((n * c.x[1] + channel) * c.x[2] + h) * c.x[3] + v)]) *
                       w[static_cast<size_t>(((o * in_group + k) * c.kernel[0] + r) * c.kernel[1] +
                                             s)];
              }
            }
          }
          y.push_back(sum);
        }
      }
    }
  }
  return y;
}

class ConvTest : public ::testing::TestWithParam<ConvCase> {};

TEST_P(ConvTest, EqualsTheReference) {
  const ConvCase& c = GetParam();
  const Tensor x = RandomTensor(c.x, 1);
  const Tensor w = RandomTensor({c.outputs, c.x[1] / c.groups, c.kernel[0], c.kernel[1]}, 2);
  const Tensor b = RandomTensor({c.outputs}, 3);
  const auto size = [&](size_t d, int64_t in) {
    return (in + c.pads[d] + c.pads[d + 2] - (c.kernel[d] - 1) * c.dilations[d] - 1) /
               c.strides[d] +
           1;
  };
  const int64_t oh = size(0, c.x[2]), ow = size(1, c.x[3]);
  const Tensor residual = RandomTensor({c.x[0], c.outputs, oh, ow}, 4);

  ModelBuilder m;
  std::vector<Tensor> inputs = {x};
  m.Input("x", DataType::kFloat, {-1, c.x[1], c.x[2], c.x[3]});
  if (c.constant_weights) {
    m.Constant("w", w);
  } else {
    m.Input("w", DataType::kFloat, {w.shape().begin(), w.shape().end()});
    inputs.push_back(w);
  }
  std::vector<std::string> names = {"x", "w"};
  if (c.bias) {
    m.Constant("b", b);
    names.push_back("b");
  }
  auto& conv = m.Node("Conv", names, {"c"});
  SetInts(conv, "strides", c.strides);
  SetInts(conv, "dilations", c.dilations);
  SetInts(conv, "pads", c.pads);
  SetInt(conv, "group", c.groups);
  std::string last = Activate(m, c.first, "c");
  if (c.residual) {
    m.Input("r", DataType::kFloat, {-1, c.outputs, oh, ow});
    inputs.push_back(residual);
    m.Node("Add", {last, "r"}, {"a"});
    last = "a";
  }
  last = Activate(m, c.then, last);
  if (c.relu) {
    m.Node("Relu", {last}, {"z"});
    last = "z";
  }
  m.Output(last, DataType::kFloat, {-1, c.outputs, oh, ow});

  std::vector<double> expected =
      Reference(c, x.values<float>(), w.values<float>(), b.values<float>(), oh, ow);
  for (size_t i = 0; i < expected.size(); ++i) {
    expected[i] = Activated(c.first, expected[i]);
    if (c.residual) expected[i] += residual.values<float>()[i];
    expected[i] = Activated(c.then, expected[i]);
    if (c.relu) expected[i] = std::max(expected[i], 0.0);
  }
  const auto y = RunModel(m.Build(), inputs);
  ASSERT_TRUE(y.ok()) << y.status();
  ASSERT_EQ((*y)[0].shape(), (Shape{c.x[0], c.outputs, oh, ow}));
  const auto got = (*y)[0].values<float>();
  // Winograd's error grows with the number of products.
  const double tolerance =
      1e-5 * std::sqrt(static_cast<double>(c.x[1] / c.groups * c.kernel[0] * c.kernel[1])) + 1e-5;
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(got[i], expected[i], tolerance) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Forms, ConvTest,
    ::testing::Values(
        // First layer of an image net: 3 channels, stride 2.
        ConvCase{.x = {2, 3, 17, 19},
                 .outputs = 32,
                 .kernel = {7, 7},
                 .strides = {2, 2},
                 .pads = {3, 3, 3, 3},
                 .relu = true},
        // Winograd, with residual and activation.
        ConvCase{.x = {3, 32, 14, 14},
                 .outputs = 48,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .residual = true,
                 .relu = true},
        ConvCase{.x = {1, 64, 7, 9},
                 .outputs = 64,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .bias = false},
        // Winograd of channels that fill no block, alone and with what makes more of zeros.
        ConvCase{.x = {2, 24, 14, 14},
                 .outputs = 40,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .residual = true,
                 .relu = true},
        ConvCase{.x = {2, 12, 14, 14},
                 .outputs = 24,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .residual = true,
                 .relu = true,
                 .first = "Softplus"},
        // An activation in a step of its own, before and after the residual, and where the last
        // block is not full.
        ConvCase{.x = {2, 32, 14, 14},
                 .outputs = 48,
                 .kernel = {1, 1},
                 .residual = true,
                 .first = "Swish"},
        ConvCase{.x = {1, 24, 19, 17},
                 .outputs = 24,
                 .groups = 24,
                 .kernel = {5, 5},
                 .pads = {2, 2, 2, 2},
                 .residual = true,
                 .then = "Swish"},
        ConvCase{.x = {3, 16, 13, 13},
                 .outputs = 40,
                 .kernel = {3, 3},
                 .strides = {2, 2},
                 .pads = {1, 1, 1, 1},
                 .bias = false,
                 .first = "Swish"},
        ConvCase{.x = {2, 32, 14, 14},
                 .outputs = 48,
                 .kernel = {1, 1},
                 .residual = true,
                 .relu = true,
                 .first = "Swish"},
        // Few channels.
        ConvCase{
            .x = {2, 12, 9, 9}, .outputs = 96, .kernel = {1, 1}, .residual = true, .relu = true},
        // Winograd, with what it does not do itself.
        ConvCase{.x = {2, 32, 14, 14},
                 .outputs = 48,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .first = "Softplus"},
        ConvCase{.x = {1, 32, 15, 9},
                 .outputs = 32,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .residual = true,
                 .relu = true,
                 .first = "Softplus"},
        // 1×1, channels that do not fill a block.
        ConvCase{.x = {2, 24, 9, 9}, .outputs = 40, .kernel = {1, 1}, .residual = true},
        ConvCase{.x = {1, 5, 6, 7},
                 .outputs = 9,
                 .kernel = {3, 2},
                 .strides = {1, 2},
                 .pads = {1, 0, 0, 1},
                 .relu = true},
        // Depthwise, with and without full blocks.
        ConvCase{.x = {2, 32, 11, 11},
                 .outputs = 32,
                 .groups = 32,
                 .kernel = {3, 3},
                 .strides = {2, 2},
                 .pads = {1, 1, 1, 1},
                 .relu = true},
        ConvCase{.x = {1, 24, 8, 8},
                 .outputs = 24,
                 .groups = 24,
                 .kernel = {5, 5},
                 .pads = {2, 2, 2, 2},
                 .bias = false},
        // Groups.
        ConvCase{
            .x = {2, 64, 8, 8}, .outputs = 32, .groups = 2, .kernel = {3, 3}, .pads = {1, 1, 1, 1}},
        ConvCase{.x = {1, 6, 5, 5}, .outputs = 9, .groups = 3, .kernel = {3, 3}},
        // Dilation.
        ConvCase{.x = {1, 16, 15, 15},
                 .outputs = 16,
                 .kernel = {3, 3},
                 .dilations = {2, 2},
                 .pads = {2, 2, 2, 2},
                 .bias = false,
                 .relu = true},
        // Weights that are an input.
        ConvCase{.x = {1, 16, 8, 8},
                 .outputs = 32,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .constant_weights = false},
        ConvCase{.x = {1, 8, 6, 6},
                 .outputs = 8,
                 .groups = 2,
                 .kernel = {3, 3},
                 .pads = {1, 1, 1, 1},
                 .bias = false,
                 .constant_weights = false,
                 .relu = true}));

}  // namespace
}  // namespace baton::engine
