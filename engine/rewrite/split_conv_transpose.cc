// A transposed convolution with stride s is a convolution that makes s pixels from one, each in
// channels of its own, and DepthToSpace, which puts them side by side. Along one dimension, with
// window w of taps t and padding p at the beginning,
//   y[s q + r] = Σ_t w[t] x[q + m],  m = (r + p - d t) / s where that is whole,
// so each tap belongs to one phase r, and each phase is a convolution over the offsets m.
// Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.
#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/window.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// One spatial dimension.
struct Dimension {
  int64_t stride = 1, dilation = 1, kernel = 1, pad = 0;  // of the transposed convolution
  int64_t first = 0, window = 1;         // the convolution's: offset of its first tap, its taps
  int64_t begin = 0, end = 0, crop = 0;  // its padding; what it makes too much

  // The offset m at which tap `t` reads, and the phase that does.
  int64_t Offset(int64_t t) const { return -FloorDivide(t * dilation - pad, stride); }
  int64_t Phase(int64_t t) const { return t * dilation - pad + stride * Offset(t); }
};

// `more`: what the output has beyond stride · input.
Dimension Fit(int64_t kernel, int64_t stride, int64_t dilation, int64_t pad, int64_t more) {
  Dimension d;
  d.kernel = kernel;
  d.stride = stride;
  d.dilation = dilation;
  d.pad = pad;
  const int64_t steps = -FloorDivide(-more, stride);
  const int64_t last = std::max({d.Offset(0), int64_t{0}, -steps});
  d.first = std::min(d.Offset(kernel - 1), int64_t{0});
  d.window = last - d.first + 1;
  d.begin = -d.first;
  d.end = steps + last;
  d.crop = stride * steps - more;
  return d;
}

std::optional<std::vector<Dimension>> Dimensions(const Node& node, const Shape& weights) {
  const absl::StatusOr<Window> window = ParseWindow(node);
  const auto padding = node.Ints("output_padding", {});
  if (!window.ok() || !padding.ok() || node.has_attribute("output_shape")) return std::nullopt;
  const size_t n = weights.size() - 2;
  const auto fits = [](const std::vector<int64_t>& v, size_t size) {
    return v.empty() || v.size() == size;
  };
  if (!fits(window->strides, n) || !fits(window->dilations, n) || !fits(window->pads, 2 * n) ||
      !fits(*padding, n) || !fits(window->kernel, n)) {
    return std::nullopt;  // the kernel says what is wrong
  }
  const auto at = [](const std::vector<int64_t>& v, size_t i, int64_t otherwise) {
    return v.empty() ? otherwise : v[i];
  };
  std::vector<Dimension> dimensions;
  double growth = 1;
  for (size_t i = 0; i < n; ++i) {
    const int64_t kernel = weights[2 + i], stride = at(window->strides, i, 1);
    const int64_t dilation = at(window->dilations, i, 1), more = at(*padding, i, 0);
    const int64_t reach = (kernel - 1) * dilation + 1 + more;
    constexpr int64_t kMost = 1 << 24;
    if (at(window->kernel, i, kernel) != kernel || more < 0 || more > kMost) return std::nullopt;
    int64_t begin = at(window->pads, i, 0), end = at(window->pads, i + n, 0);
    if (absl::StartsWith(window->auto_pad, "SAME")) {
      const int64_t total = std::max<int64_t>(0, reach - stride);
      begin = window->auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    }
    const Dimension d = Fit(kernel, stride, dilation, begin, reach - begin - end - stride);
    growth *= static_cast<double>(d.window * stride) / static_cast<double>(kernel);
    dimensions.push_back(d);
  }
  // Taps that no phase has are zeros, multiplied all the same.
  constexpr double kMaxGrowth = 4;
  if (growth > kMaxGrowth) return std::nullopt;
  return dimensions;
}

// Steps `index` through `sizes`, last dimension first.
void Next(std::vector<int64_t>& index, absl::Span<const int64_t> sizes) {
  for (size_t i = index.size(); i-- > 0;) {
    if (++index[i] < sizes[i]) return;
    index[i] = 0;
  }
}

// (C, M/g, …) to (phases · M, C/g, …). Channel phase · M + o of the convolution is channel o.
Tensor SplitWeights(const Tensor& weights, int64_t groups, absl::Span<const Dimension> dimensions) {
  const Shape& w = weights.shape();
  const int64_t inputs = w[0] / groups, outputs = w[1];
  std::vector<int64_t> kernel;
  Shape shape = {0, inputs};
  int64_t phases = 1, taps = 1, window = 1;
  for (const Dimension& d : dimensions) {
    kernel.push_back(d.kernel);
    shape.push_back(d.window);
    phases *= d.stride;
    taps *= d.kernel;
    window *= d.window;
  }
  const int64_t all = outputs * groups;
  shape[0] = phases * all;
  Tensor split(DataType::kFloat, shape);
  const float* const from = weights.values<float>().data();
  float* const to = split.mutable_values<float>().data();
  std::fill_n(to, split.size(), 0.f);
  std::vector<int64_t> t(dimensions.size(), 0);
  for (int64_t tap = 0; tap < taps; ++tap, Next(t, kernel)) {
    int64_t at = 0, phase = 0;
    for (size_t i = 0; i < dimensions.size(); ++i) {
      const Dimension& d = dimensions[i];
      at = at * d.window + d.Offset(t[i]) - d.first;
      phase = phase * d.stride + d.Phase(t[i]);
    }
    for (int64_t o = 0; o < all; ++o) {
      const int64_t first = o / outputs * inputs;  // input channel of its group
      for (int64_t c = 0; c < inputs; ++c) {
        to[((phase * all + o) * inputs + c) * window + at] =
            from[((first + c) * outputs + o % outputs) * taps + tap];
      }
    }
  }
  return split;
}

Tensor Repeat(const Tensor& bias, int64_t times) {
  Tensor repeated(DataType::kFloat, {bias.size() * times});
  const auto from = bias.values<float>();
  const auto to = repeated.mutable_values<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = from[i % from.size()];
  return repeated;
}

bool IsFloats(const Graph& graph, ValueId id) {
  return graph.is_constant(id) && graph.constant(id).type() == DataType::kFloat;
}

class Splitter {
 public:
  explicit Splitter(Graph& graph)
      : graph_(graph), uses_(CountUses(graph)), moved_(graph.nodes.size(), false) {}

  void Run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!moved_[i] && !Split(nodes, i)) graph_.nodes.push_back(std::move(nodes[i]));
    }
  }

 private:
  bool Split(std::vector<Node>& nodes, size_t i) {
    Node& node = nodes[i];
    if (!node.domain.empty() || node.op != "ConvTranspose" || node.inputs.size() < 2) return false;
    if (!IsFloats(graph_, node.inputs[1])) return false;
    const Tensor& weights = graph_.constant(node.inputs[1]);
    const Shape& w = weights.shape();
    const auto groups = node.Int("group", 1);
    if (w.size() < 3 || w.size() > 5 || weights.size() == 0) return false;
    if (!groups.ok() || *groups < 1 || w[0] % *groups != 0) return false;
    const bool has_bias = node.has_input(2);
    if (has_bias && (!IsFloats(graph_, node.inputs[2]) ||
                     graph_.constant(node.inputs[2]).shape() != Shape{w[1] * *groups})) {
      return false;
    }
    const std::optional<std::vector<Dimension>> dimensions = Dimensions(node, w);
    if (!dimensions) return false;
    std::vector<int64_t> strides, crop, pads;
    int64_t phases = 1;
    for (const Dimension& d : *dimensions) {
      strides.push_back(d.stride);
      crop.push_back(d.crop);
      pads.push_back(d.begin);
      phases *= d.stride;
    }
    for (const Dimension& d : *dimensions) pads.push_back(d.end);
    // Channels of one group would lie apart.
    if (phases > 1 && *groups > 1) return false;

    Node conv;
    conv.name = node.name;
    conv.op = "Conv";
    conv.opset = node.opset;
    conv.inputs = {node.inputs[0], graph_.AddConstant(node.name + "/weights",
                                                      SplitWeights(weights, *groups, *dimensions))};
    if (has_bias) {
      Tensor bias = Repeat(graph_.constant(node.inputs[2]), phases);
      conv.inputs.push_back(graph_.AddConstant(node.name + "/bias", std::move(bias)));
    }
    conv.outputs = {node.outputs[0]};
    conv.attributes = {{"pads", std::move(pads)}, {"group", *groups}};
    if (phases == 1) {
      graph_.nodes.push_back(std::move(conv));
      return true;
    }
    conv.outputs[0] = graph_.AddValue(node.name + "/phases");
    ValueId last = node.outputs[0], phases_of = conv.outputs[0];
    const std::string name = node.name;
    graph_.nodes.push_back(std::move(conv));
    // The activation that follows works on the convolution's result.
    if (const std::optional<size_t> next = Activation(nodes, i)) {
      Node activation = nodes[*next];
      moved_[*next] = true;
      last = activation.outputs[0];
      activation.inputs[0] = phases_of;
      phases_of = graph_.AddValue(name + "/activations");
      activation.outputs[0] = phases_of;
      graph_.nodes.push_back(std::move(activation));
    }
    Node shuffle;
    shuffle.name = name + "/pixels";
    shuffle.domain = "baton";
    shuffle.op = "DepthToSpace";
    shuffle.opset = 1;
    shuffle.inputs = {phases_of};
    shuffle.outputs = {last};
    shuffle.attributes = {{"blocks", std::move(strides)}, {"crop", std::move(crop)}};
    graph_.nodes.push_back(std::move(shuffle));
    return true;
  }

  // The activation that alone reads what node `i` makes.
  std::optional<size_t> Activation(const std::vector<Node>& nodes, size_t i) const {
    const ValueId made = nodes[i].outputs[0];
    if (uses_[static_cast<size_t>(made)] != 1) return std::nullopt;
    for (size_t j = i + 1; j < nodes.size(); ++j) {
      const Node& node = nodes[j];
      if (std::find(node.inputs.begin(), node.inputs.end(), made) == node.inputs.end()) continue;
      const auto post_ops = ActivationPostOps(node, graph_);
      const bool follows = node.inputs[0] == made && node.outputs.size() == 1 && post_ops.ok();
      return follows && !post_ops->empty() ? std::optional(j) : std::nullopt;
    }
    return std::nullopt;
  }

  Graph& graph_;
  const std::vector<int> uses_;
  std::vector<bool> moved_;
};

}  // namespace

void SplitConvTranspose(Graph& graph) { Splitter(graph).Run(); }

}  // namespace baton::engine
