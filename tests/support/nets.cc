#include "tests/support/nets.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/support/model_builder.h"

namespace baton::testing {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers with every compiler and library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Even in [low, high).
  float Uniform(float low, float high) {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    return low + (high - low) * static_cast<float>(z >> 40) * 0x1p-24f;
  }
  Tensor Fill(Shape shape, float low, float high) {
    Tensor tensor(DataType::kFloat, std::move(shape));
    for (float& value : tensor.mutable_values<float>()) value = Uniform(low, high);
    return tensor;
  }

 private:
  uint64_t state_;
};

// A graph under construction: each method adds nodes after the value `x` and returns the name of
// what they give.
class Net {
 public:
  Net(uint64_t seed, const std::vector<int64_t>& input) : random_(seed) {
    model_.Input("x", DataType::kFloat, input);
  }

  // `gain` is the ratio of output to input variance: 2 before a ReLU (He et al. 2015), else 1.
  std::string Conv(const std::string& x, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                   int64_t pad, int64_t groups, float gain, bool bias) {
    const std::string id = Id("conv");
    const int64_t fan_in = in / groups * kernel * kernel;
    const float bound = std::sqrt(3 * gain / static_cast<float>(fan_in));
    std::vector<std::string> inputs = {x, id + ".weight"};
    model_.Constant(inputs[1], random_.Fill({out, in / groups, kernel, kernel}, -bound, bound));
    if (bias) {
      inputs.push_back(id + ".bias");
      model_.Constant(inputs[2], random_.Fill({out}, -0.1f, 0.1f));
    }
    auto& node = model_.Node("Conv", inputs, {id});
    SetInts(node, "kernel_shape", {kernel, kernel});
    SetInts(node, "strides", {stride, stride});
    SetInts(node, "pads", {pad, pad, pad, pad});
    SetInts(node, "dilations", {1, 1});
    SetInt(node, "group", groups);
    return id;
  }

  // Near the identity times `scale`, as after training; no parameter is trivial.
  std::string BatchNorm(const std::string& x, int64_t channels, float scale) {
    const std::string id = Id("bn");
    model_.Constant(id + ".scale", random_.Fill({channels}, 0.8f * scale, 1.2f * scale));
    model_.Constant(id + ".bias", random_.Fill({channels}, -0.1f, 0.1f));
    model_.Constant(id + ".mean", random_.Fill({channels}, -0.1f, 0.1f));
    model_.Constant(id + ".var", random_.Fill({channels}, 0.8f, 1.2f));
    auto& node = model_.Node("BatchNormalization",
                             {x, id + ".scale", id + ".bias", id + ".mean", id + ".var"}, {id});
    SetFloat(node, "epsilon", 1e-5f);
    return id;
  }

  std::string Relu(const std::string& x) { return Unary("Relu", x); }

  std::string Relu6(const std::string& x) {
    if (!has_clip_bounds_) {
      model_.Constant("zero", Tensor::From<float>({}, {0}));
      model_.Constant("six", Tensor::From<float>({}, {6}));
      has_clip_bounds_ = true;
    }
    const std::string id = Id("clip");
    model_.Node("Clip", {x, "zero", "six"}, {id});
    return id;
  }

  std::string MaxPool(const std::string& x, int64_t kernel, int64_t stride, int64_t pad) {
    const std::string id = Id("maxpool");
    auto& node = model_.Node("MaxPool", {x}, {id});
    SetInts(node, "kernel_shape", {kernel, kernel});
    SetInts(node, "strides", {stride, stride});
    SetInts(node, "pads", {pad, pad, pad, pad});
    return id;
  }

  std::string Unary(const std::string& op, const std::string& x) {
    const std::string id = Id(op);
    model_.Node(op, {x}, {id});
    return id;
  }

  std::string Binary(const std::string& op, const std::string& a, const std::string& b) {
    const std::string id = Id(op);
    model_.Node(op, {a, b}, {id});
    return id;
  }

  std::string Concat(const std::string& a, const std::string& b) {
    const std::string id = Id("concat");
    SetInt(model_.Node("Concat", {a, b}, {id}), "axis", 1);
    return id;
  }

  // PyTorch's Linear: weights [out,in], transB.
  std::string Gemm(const std::string& x, int64_t in, int64_t out, float gain) {
    const std::string id = Id("fc");
    const float bound = std::sqrt(3 * gain / static_cast<float>(in));
    model_.Constant(id + ".weight", random_.Fill({out, in}, -bound, bound));
    model_.Constant(id + ".bias", random_.Fill({out}, -0.1f, 0.1f));
    SetInt(model_.Node("Gemm", {x, id + ".weight", id + ".bias"}, {id}), "transB", 1);
    return id;
  }

  // TensorFlow's Dense: weights [in,out], MatMul and Add.
  std::string MatMulAdd(const std::string& x, int64_t in, int64_t out, float gain) {
    const std::string id = Id("dense");
    const float bound = std::sqrt(3 * gain / static_cast<float>(in));
    model_.Constant(id + ".weight", random_.Fill({in, out}, -bound, bound));
    model_.Constant(id + ".bias", random_.Fill({out}, -0.1f, 0.1f));
    return Binary("Add", Binary("MatMul", x, id + ".weight"), id + ".bias");
  }

  std::string Build(const std::string& y, int64_t classes) {
    model_.Node("Identity", {y}, {"y"});
    model_.Output("y", DataType::kFloat, {-1, classes});
    return model_.Build();
  }

 private:
  std::string Id(const std::string& kind) { return absl::StrCat(kind, "_", next_++); }

  ModelBuilder model_;
  Random random_;
  int next_ = 0;
  bool has_clip_bounds_ = false;
};

std::string ConvBnRelu(Net& net, const std::string& x, int64_t in, int64_t out, int64_t kernel,
                       int64_t stride, int64_t pad) {
  return net.Relu(net.BatchNorm(net.Conv(x, in, out, kernel, stride, pad, 1, 2, false), out, 1));
}

// A bottleneck: 1x1, 3x3, 1x1 to four times `width`, and the shortcut. The last normalisation
// scales down, so that sixteen sums do not let the activations grow.
std::string Bottleneck(Net& net, const std::string& x, int64_t in, int64_t width, int64_t stride) {
  const int64_t out = 4 * width;
  std::string y = ConvBnRelu(net, x, in, width, 1, 1, 0);
  y = ConvBnRelu(net, y, width, width, 3, stride, 1);
  y = net.BatchNorm(net.Conv(y, width, out, 1, 1, 0, 1, 1, false), out, 0.5f);
  const std::string shortcut =
      in == out && stride == 1
          ? x
          : net.BatchNorm(net.Conv(x, in, out, 1, stride, 0, 1, 1, false), out, 1);
  return net.Relu(net.Binary("Add", y, shortcut));
}

std::string InvertedResidual(Net& net, const std::string& x, int64_t in, int64_t out,
                             int64_t expansion, int64_t stride) {
  const int64_t hidden = in * expansion;
  std::string y = x;
  if (expansion != 1) {
    y = net.Relu6(net.BatchNorm(net.Conv(y, in, hidden, 1, 1, 0, 1, 2, false), hidden, 1));
  }
  y = net.Relu6(
      net.BatchNorm(net.Conv(y, hidden, hidden, 3, stride, 1, hidden, 2, false), hidden, 1));
  const bool residual = in == out && stride == 1;
  y = net.BatchNorm(net.Conv(y, hidden, out, 1, 1, 0, 1, 1, false), out, residual ? 0.5f : 1);
  return residual ? net.Binary("Add", y, x) : y;
}

std::string Fire(Net& net, const std::string& x, int64_t in, int64_t squeeze, int64_t expand) {
  const std::string s = net.Relu(net.Conv(x, in, squeeze, 1, 1, 0, 1, 2, true));
  const std::string narrow = net.Relu(net.Conv(s, squeeze, expand, 1, 1, 0, 1, 2, true));
  const std::string wide = net.Relu(net.Conv(s, squeeze, expand, 3, 1, 1, 1, 2, true));
  return net.Concat(narrow, wide);
}

}  // namespace

std::string MlpModel(uint64_t seed) {
  Net net(seed, {-1, 784});
  std::string x = net.Unary("Sigmoid", net.MatMulAdd("x", 784, 64, 1));
  x = net.Unary("Tanh", net.Gemm(x, 64, 16, 2));
  return net.Build(net.Unary("Softmax", net.Gemm(x, 16, 10, 2)), 10);
}

std::string ResNet50Model(int64_t image, uint64_t seed) {
  Net net(seed, {-1, 3, image, image});
  std::string x = net.MaxPool(ConvBnRelu(net, "x", 3, 64, 7, 2, 3), 3, 2, 1);
  constexpr int kBlocks[] = {3, 4, 6, 3};
  int64_t in = 64;
  for (int stage = 0; stage < 4; ++stage) {
    const int64_t width = int64_t{64} << stage;
    for (int block = 0; block < kBlocks[stage]; ++block) {
      x = Bottleneck(net, x, in, width, stage > 0 && block == 0 ? 2 : 1);
      in = 4 * width;
    }
  }
  x = net.Unary("Flatten", net.Unary("GlobalAveragePool", x));
  return net.Build(net.Gemm(x, in, 1000, 1), 1000);
}

std::string MobileNetV2Model(int64_t image, uint64_t seed) {
  struct Stage {
    int64_t expansion, channels, blocks, stride;
  };
  constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                               {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  Net net(seed, {-1, 3, image, image});
  int64_t in = 32;
  std::string x = net.Relu6(net.BatchNorm(net.Conv("x", 3, in, 3, 2, 1, 1, 2, false), in, 1));
  for (const Stage& stage : kStages) {
    for (int64_t block = 0; block < stage.blocks; ++block) {
      x = InvertedResidual(net, x, in, stage.channels, stage.expansion,
                           block == 0 ? stage.stride : 1);
      in = stage.channels;
    }
  }
  x = net.Relu6(net.BatchNorm(net.Conv(x, in, 1280, 1, 1, 0, 1, 2, false), 1280, 1));
  x = net.Unary("Flatten", net.Unary("GlobalAveragePool", x));
  return net.Build(net.Gemm(x, 1280, 1000, 1), 1000);
}

std::string SqueezeNetModel(int64_t image, uint64_t seed) {
  Net net(seed, {-1, 3, image, image});
  std::string x = net.Relu(net.Conv("x", 3, 64, 3, 2, 0, 1, 2, true));
  x = net.MaxPool(x, 3, 2, 0);
  x = Fire(net, Fire(net, x, 64, 16, 64), 128, 16, 64);
  x = net.MaxPool(x, 3, 2, 0);
  x = Fire(net, Fire(net, x, 128, 32, 128), 256, 32, 128);
  x = net.MaxPool(x, 3, 2, 0);
  x = Fire(net, Fire(net, x, 256, 48, 192), 384, 48, 192);
  x = Fire(net, Fire(net, x, 384, 64, 256), 512, 64, 256);
  x = net.Relu(net.Conv(net.Unary("Dropout", x), 512, 1000, 1, 1, 0, 1, 2, true));
  x = net.Unary("Flatten", net.Unary("GlobalAveragePool", x));
  return net.Build(net.Unary("Softmax", x), 1000);
}

Tensor RandomTensor(Shape shape, float low, float high, uint64_t seed) {
  return Random(seed).Fill(std::move(shape), low, high);
}

}  // namespace baton::testing
