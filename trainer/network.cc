#include "trainer/network.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "trainer/random.h"

namespace baton::trainer {
namespace {

struct Geometry {
  Shape output_shape;
  Shape weights_shape;  // empty: no parameters. Its first dimension is the length of the bias.
};

absl::Status WrongRank(const Shape& input, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("its input is ", ShapeToString(input), ", expected ", expected));
}

absl::StatusOr<Geometry> GeometryOf(const Dense& dense, const Shape& input) {
  if (input.size() != 1) return WrongRank(input, "[n]; put Flatten before it");
  if (dense.units < 1) return absl::InvalidArgumentError("units must be at least 1");
  return Geometry{{dense.units}, {dense.units, input[0]}};
}

absl::StatusOr<Geometry> GeometryOf(const Conv2D& conv, const Shape& input) {
  if (input.size() != 3) return WrongRank(input, "[channels,height,width]");
  if (conv.channels < 1 || conv.kernel < 1 || conv.kernel % 2 == 0) {
    return absl::InvalidArgumentError("channels must be at least 1, kernel odd");
  }
  return Geometry{{conv.channels, input[1], input[2]},
                  {conv.channels, input[0], conv.kernel, conv.kernel}};
}

absl::StatusOr<Geometry> GeometryOf(const MaxPool& pool, const Shape& input) {
  if (input.size() != 3) return WrongRank(input, "[channels,height,width]");
  if (pool.size < 1 || pool.size > input[1] || pool.size > input[2]) {
    return absl::InvalidArgumentError(
        absl::StrCat("size ", pool.size, " does not fit into ", ShapeToString(input)));
  }
  return Geometry{{input[0], input[1] / pool.size, input[2] / pool.size}, {}};
}

absl::StatusOr<Geometry> GeometryOf(const Activation&, const Shape& input) {
  return Geometry{input, {}};
}

absl::StatusOr<Geometry> GeometryOf(const Flatten&, const Shape& input) {
  return Geometry{{NumElements(input)}, {}};
}

absl::string_view KindOf(const LayerSpec& spec) {
  if (const Activation* activation = std::get_if<Activation>(&spec)) {
    constexpr absl::string_view kActivations[] = {"sigmoid", "tanh", "relu"};
    return kActivations[static_cast<size_t>(activation->kind)];
  }
  constexpr absl::string_view kKinds[] = {"dense", "conv", "maxpool", "activation", "flatten"};
  return kKinds[spec.index()];
}

bool IsRelu(const LayerSpec& spec) {
  const Activation* activation = std::get_if<Activation>(&spec);
  return activation != nullptr && activation->kind == Activation::Kind::kRelu;
}

// The limit of the uniform distribution that weights are drawn from: Glorot and Bengio 2010, He et
// al. 2015.
double WeightLimit(const Shape& weights, bool before_relu) {
  const double field = static_cast<double>(NumElements(weights) / (weights[0] * weights[1]));
  const double fan_in = field * static_cast<double>(weights[1]);
  const double fan_out = field * static_cast<double>(weights[0]);
  return std::sqrt(6 / (before_relu ? fan_in : fan_in + fan_out));
}

Parameter MakeParameter(std::string name, const Shape& shape) {
  return {std::move(name), Tensor(DataType::kFloat, shape), Tensor(DataType::kFloat, shape)};
}

}  // namespace

absl::StatusOr<Network> Network::Create(Shape input_shape, std::vector<LayerSpec> specs,
                                        uint64_t seed) {
  Network network;
  network.input_shape_ = input_shape;
  Random random(seed);
  Shape shape = std::move(input_shape);
  for (size_t i = 0; i < specs.size(); ++i) {
    Layer layer{absl::StrCat(KindOf(specs[i]), "_", i + 1), specs[i], shape, {}, {}};
    absl::StatusOr<Geometry> geometry =
        std::visit([&](const auto& spec) { return GeometryOf(spec, shape); }, specs[i]);
    if (!geometry.ok()) return Annotate(geometry.status(), absl::StrCat("layer ", layer.name));
    layer.output_shape = geometry->output_shape;
    if (const Shape& weights = geometry->weights_shape; !weights.empty()) {
      layer.parameters.push_back(MakeParameter(layer.name + ".weight", weights));
      layer.parameters.push_back(MakeParameter(layer.name + ".bias", {weights[0]}));
      const bool before_relu = i + 1 < specs.size() && IsRelu(specs[i + 1]);
      const double limit = WeightLimit(weights, before_relu);
      for (float& w : layer.parameters[0].value.mutable_values<float>()) {
        w = static_cast<float>(random.Symmetric(limit));
      }
    }
    shape = layer.output_shape;
    network.layers_.push_back(std::move(layer));
  }
  if (network.layers_.empty() || shape.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("the network ends with ", ShapeToString(shape),
                                                   ", expected [classes]; end it with Dense"));
  }
  return network;
}

std::vector<Parameter*> Network::parameters() {
  std::vector<Parameter*> all;
  for (Layer& layer : layers_) {
    for (Parameter& parameter : layer.parameters) all.push_back(&parameter);
  }
  return all;
}

int64_t Network::parameter_count() const {
  int64_t count = 0;
  for (const Layer& layer : layers_) {
    for (const Parameter& parameter : layer.parameters) count += parameter.value.size();
  }
  return count;
}

}  // namespace baton::trainer
