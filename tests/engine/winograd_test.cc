#include "engine/kernels/winograd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/kernel.h"
#include "tests/engine/run_model.h"
#include "tests/support/model_builder.h"

namespace baton::engine {
namespace {

using testing::ModelBuilder;
using testing::RandomTensor;
using testing::RunModel;
using testing::SetInts;

std::vector<Isa> IsasHere() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= BestIsa()) isas.push_back(isa);
  }
  return isas;
}

// `image` [batch, channels, height, width] to channels in blocks of 16, the last filled with zeros.
Tensor InBlocks(const Tensor& image) {
  const Shape& s = image.shape();
  const int64_t area = s[2] * s[3], blocks = (s[1] + 15) / 16;
  Tensor result(DataType::kFloat, {s[0], blocks, area, 16});
  const auto from = image.values<float>();
  const auto to = result.mutable_values<float>();
  std::fill(to.begin(), to.end(), 0.0f);
  for (int64_t i = 0; i < image.size(); ++i) {
    const int64_t n = i / area / s[1], c = i / area % s[1];
    to[static_cast<size_t>(((n * blocks + c / 16) * area + i % area) * 16 + c % 16)] =
        from[static_cast<size_t>(i)];
  }
  return result;
}

// And back. The zeros are there.
Tensor OutOfBlocks(const Tensor& blocked, const Shape& s) {
  const int64_t area = s[2] * s[3], blocks = (s[1] + 15) / 16;
  Tensor image(DataType::kFloat, s);
  const auto from = blocked.values<float>();
  const auto to = image.mutable_values<float>();
  for (int64_t i = 0; i < blocked.size(); ++i) {
    const int64_t n = i / 16 / area / blocks, c = i / 16 / area % blocks * 16 + i % 16;
    const float value = from[static_cast<size_t>(i)];
    if (c < s[1]) {
      to[static_cast<size_t>((n * s[1] + c) * area + i / 16 % area)] = value;
    } else {
      EXPECT_EQ(value, 0) << "channel " << c;
    }
  }
  return image;
}

std::vector<double> Reference(const WinogradSpec& s, absl::Span<const float> x,
                              absl::Span<const float> w) {
  std::vector<double> y;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t o = 0; o < s.outputs; ++o) {
      for (int64_t i = 0; i < s.out_height; ++i) {
        for (int64_t j = 0; j < s.out_width; ++j) {
          double sum = 0;
          for (int64_t c = 0; c < s.channels; ++c) {
            for (int64_t k = 0; k < 9; ++k) {
              const int64_t h = i + k / 3 - s.pad_top, v = j + k % 3 - s.pad_left;
              if (h < 0 || v < 0 || h >= s.height || v >= s.width) continue;
              sum +=
                  static_cast<double>(
                      x[static_cast<size_t>(((n * s.channels + c) * s.height + h) * s.width + v)]) *
                  w[static_cast<size_t>((o * s.channels + c) * 9 + k)];
            }
          }
          y.push_back(sum);
        }
      }
    }
  }
  return y;
}

// A layer with random numbers.
struct Layer {
  explicit Layer(const WinogradSpec& s)
      : spec(s),
        x(RandomTensor({s.batch, s.channels, s.height, s.width}, 1)),
        w(RandomTensor({s.outputs, s.channels, 3, 3}, 2)),
        bias(RandomTensor({s.outputs}, 3)),
        residual(RandomTensor({s.batch, s.outputs, s.out_height, s.out_width}, 4)),
        sums(Reference(s, x.values<float>(), w.values<float>())) {}

  // The layer with bias, and the residual added where `post_ops` say so.
  Tensor Run(int tile, const std::vector<PostOp>& post_ops, int threads, Isa isa) const {
    const Winograd winograd(spec, tile, post_ops, threads, isa);
    const WinogradWeights weights;
    const Tensor blocked = InBlocks(x);
    // In place, as a plan may do it.
    Tensor y = InBlocks(residual);
    const std::shared_ptr<void> scratch = AllocateAligned(winograd.scratch_bytes());
    const auto transformed = weights.Get(w, tile);
    winograd.Run({blocked.values<float>().data(), transformed.get(), bias.values<float>().data(),
                  ResidualInput(post_ops) < 0 ? nullptr : y.values<float>().data(),
                  y.mutable_values<float>().data(), scratch.get()});
    return OutOfBlocks(y, residual.shape());
  }
  double Biased(size_t i) const {
    const auto area = static_cast<size_t>(spec.out_height * spec.out_width);
    return sums[i] + bias.values<float>()[i / area % static_cast<size_t>(spec.outputs)];
  }

  const WinogradSpec spec;
  const Tensor x, w, bias, residual;
  const std::vector<double> sums;
};

TEST(Winograd, EqualsTheReference) {
  const WinogradSpec specs[] = {
      // batch, channels, height, width, outputs, out_height, out_width, pad_top, pad_left
      {1, 16, 1, 1, 16, 1, 1, 1, 1},       // one result
      {1, 16, 8, 8, 16, 8, 8, 1, 1},       // whole tiles
      {1, 16, 9, 11, 32, 9, 11, 1, 1},     // tiles that reach beyond the results
      {1, 32, 9, 11, 48, 7, 9, 0, 0},      // no padding
      {1, 16, 7, 10, 80, 7, 9, 0, 1},      // more padding below than above, none on the right
      {1, 16, 7, 7, 64, 8, 8, 2, 0},       // none on the left, 3 on the right
      {3, 32, 13, 6, 144, 13, 6, 1, 1},    // images in a row, outputs that fill no panel
      {3, 48, 14, 14, 112, 14, 14, 1, 1},  // more than a block of tiles
      {2, 24, 10, 7, 12, 10, 7, 1, 1},     // channels that fill no block
      {1, 11, 6, 6, 77, 6, 6, 1, 1},
  };
  for (const WinogradSpec& spec : specs) {
    const Layer layer(spec);
    double scale = 0;
    for (const double sum : layer.sums) scale = std::max(scale, std::abs(sum));
    for (const Isa isa : IsasHere()) {
      for (const int tile : {2, 4}) {
        for (const int threads : {1, 2, 3}) {
          const Tensor y = layer.Run(tile, {}, threads, isa);
          const auto got = y.values<float>();
          for (size_t i = 0; i < layer.sums.size(); ++i) {
            ASSERT_NEAR(got[i], layer.Biased(i), 1e-5 * scale)
                << spec.channels << "x" << spec.height << "x" << spec.width << ", tile " << tile
                << ", " << threads << " threads, isa " << static_cast<int>(isa) << ", element "
                << i;
          }
        }
      }
    }
  }
}

TEST(Winograd, DoesWhatFollows) {
  const Layer layer({2, 16, 6, 5, 32, 6, 5, 1, 1});
  constexpr auto kActivation = PostOp::Kind::kActivation;
  const PostOp add = {PostOp::Kind::kAddInput, "", 0, 0, 3};
  const struct {
    PostOp op;
    double (*expected)(double);
  } activations[] = {
      {{kActivation, "Relu"}, [](double x) { return std::max(x, 0.0); }},
      {{kActivation, "LeakyRelu", 0.25f}, [](double x) { return x < 0 ? x / 4 : x; }},
      {{kActivation, "Clip", -0.5f, 2}, [](double x) { return std::clamp(x, -0.5, 2.0); }},
      {{kActivation, "Sigmoid"}, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {{kActivation, "Tanh"}, [](double x) { return std::tanh(x); }},
      {{kActivation, "Swish", 1.5f}, [](double x) { return x / (1 + std::exp(-1.5 * x)); }},
      {{kActivation, "HardSwish"}, [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
  };
  for (const Isa isa : IsasHere()) {
    for (const auto& [op, expected] : activations) {
      const Tensor before = layer.Run(4, {add, op}, 1, isa),
                   after = layer.Run(4, {op, add}, 2, isa);
      const auto residual = layer.residual.values<float>();
      for (size_t i = 0; i < layer.sums.size(); ++i) {
        ASSERT_NEAR(before.values<float>()[i], expected(layer.Biased(i) + residual[i]), 1e-4)
            << op.op << " after the sum, element " << i;
        ASSERT_NEAR(after.values<float>()[i], expected(layer.Biased(i)) + residual[i], 1e-4)
            << op.op << " before the sum, element " << i;
      }
    }
  }
  const PostOp other = {kActivation, "Softplus"};
  EXPECT_EQ(Winograd::PostOpsDone({}, 16), 0u);
  EXPECT_EQ(Winograd::PostOpsDone({add, activations[0].op, other, add}, 16), 2u);
  // What fills a block is to stay zero.
  const PostOp sigmoid = {kActivation, "Sigmoid"}, from_one = {kActivation, "Clip", 1, 6};
  EXPECT_EQ(Winograd::PostOpsDone({add, activations[0].op, sigmoid}, 48), 3u);
  EXPECT_EQ(Winograd::PostOpsDone({add, activations[0].op, sigmoid}, 40), 2u);
  EXPECT_EQ(Winograd::PostOpsDone({from_one}, 40), 0u);
  EXPECT_EQ(Winograd::PostOpsDone({activations[2].op}, 40), 1u);
}

TEST(Winograd, TransformsWeightsOnce) {
  const Tensor w = RandomTensor({32, 16, 3, 3}, 1);
  const WinogradWeights weights;
  EXPECT_EQ(weights.bytes(), 0u);
  const auto first = weights.Get(w, 4);
  EXPECT_EQ(weights.Get(w, 4), first);
  EXPECT_EQ(weights.bytes(), 36u * 32 * 16 * sizeof(float));
  EXPECT_NE(weights.Get(w, 2), first);
  EXPECT_EQ(weights.bytes(), (36u + 16) * 32 * 16 * sizeof(float));
}

TEST(Winograd, IsTakenWhereItSavesTime) {
  const auto tile = [](int64_t batch, int64_t channels, int64_t size) {
    return WinogradTile({batch, channels, size, size, channels, size, size, 1, 1});
  };
  EXPECT_EQ(tile(1, 64, 56), 4);
  EXPECT_EQ(tile(1, 256, 14), 2) << "reading twice the weights takes longer";
  EXPECT_EQ(tile(2, 256, 14), 4);
  EXPECT_EQ(tile(1, 512, 7), 2);
  EXPECT_EQ(tile(8, 512, 7), 4);
  EXPECT_EQ(tile(1, 512, 2), 0);
}

// A convolution in a model: its own input is the residual, too.
TEST(Winograd, MayAddItsOwnInput) {
  const WinogradSpec spec = {2, 32, 12, 12, 32, 12, 12, 1, 1};
  const Layer layer(spec);
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 32, 12, 12});
  m.Constant("w", layer.w);
  m.Constant("b", layer.bias);
  m.Node("Abs", {"x"}, {"a"});
  SetInts(m.Node("Conv", {"a", "w", "b"}, {"c"}), "pads", {1, 1, 1, 1});
  m.Node("Add", {"c", "a"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 32, 12, 12});
  Tensor magnitude = Tensor::Copy(layer.x.view());
  for (float& value : magnitude.mutable_values<float>()) value = std::abs(value);
  const std::vector<double> sums =
      Reference(spec, magnitude.values<float>(), layer.w.values<float>());
  for (const int threads : {1, 2}) {
    const auto y = RunModel(m.Build(), {layer.x}, threads);
    ASSERT_TRUE(y.ok()) << y.status();
    for (size_t i = 0; i < sums.size(); ++i) {
      const double expected =
          sums[i] + layer.bias.values<float>()[i / 144 % 32] + magnitude.values<float>()[i];
      ASSERT_NEAR((*y)[0].values<float>()[i], expected, 1e-4) << i;
    }
  }
}

TEST(Winograd, RunsConvolutionsOf3x3) {
  if (!HasAvx512()) GTEST_SKIP() << "blocks are of 8 channels here";
  ModelBuilder m;
  m.Input("x", DataType::kFloat, {-1, 32, 20, 20});
  m.Constant("w", RandomTensor({64, 32, 3, 3}, 1));
  SetInts(m.Node("Conv", {"x", "w"}, {"c"}), "pads", {1, 1, 1, 1});
  m.Node("Relu", {"c"}, {"y"});
  m.Output("y", DataType::kFloat, {-1, 64, 20, 20});
  const auto model = Model::Parse(m.Build(), "", {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto plan = (*model)->GetPlan({{1, 32, 20, 20}}, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const auto& steps = (*plan)->steps();
  EXPECT_TRUE(std::any_of(steps.begin(), steps.end(), [](const StepInfo& step) {
    return step.op == "Conv+Relu" && step.implementation == "baton:winograd_4x4_avx512";
  }));
}

}  // namespace
}  // namespace baton::engine
