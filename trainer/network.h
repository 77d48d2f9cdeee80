// Network: what a neural network is (its layers) and what it has learned (its parameters). How it
// is computed is in pass.h, how it is written as ONNX in onnx_export.h.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tensor.h"

namespace baton::trainer {

// The kinds of layer. Shapes below are of one item, without the batch dimension.

// [n] → [units]: y = W x + b, W is [units, n].
struct Dense {
  int64_t units;
};
// [c, h, w] → [channels, h, w]: stride 1, zero padding of (kernel-1)/2 on each side; `kernel` odd.
struct Conv2D {
  int64_t channels;
  int64_t kernel;
};
// [c, h, w] → [c, h/size, w/size] (rounded down): maxima of size×size squares.
struct MaxPool {
  int64_t size;
};
struct Activation {
  enum class Kind { kSigmoid, kTanh, kRelu } kind;
};
// [c, h, w] → [c·h·w]
struct Flatten {};

using LayerSpec = std::variant<Dense, Conv2D, MaxPool, Activation, Flatten>;

// A learned tensor and the gradient of the loss with respect to it, both float.
struct Parameter {
  std::string name;
  Tensor value;
  Tensor gradient;
};

struct Layer {
  std::string name;  // "dense_1": the kind, and its number among all layers from 1
  LayerSpec spec;
  Shape input_shape, output_shape;    // of one item
  std::vector<Parameter> parameters;  // weights, bias; or none
};

// Movable, not copyable: tensors share their buffers.
class Network {
 public:
  // Chains `specs`, beginning with items of `input_shape`. Weights are drawn by `seed`, uniformly:
  // He's limits before a relu, Glorot's elsewhere; biases are zero. kInvalidArgument where a layer
  // does not fit the shape before it, or the last does not give [classes].
  static absl::StatusOr<Network> Create(Shape input_shape, std::vector<LayerSpec> specs,
                                        uint64_t seed);

  Network(Network&&) = default;
  Network& operator=(Network&&) = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const Shape& input_shape() const { return input_shape_; }
  int64_t classes() const { return layers_.back().output_shape[0]; }
  const std::vector<Layer>& layers() const { return layers_; }
  std::vector<Layer>& layers() { return layers_; }
  // All layers' parameters, in order. Pointers stay valid as long as the network does.
  std::vector<Parameter*> parameters();
  int64_t parameter_count() const;

 private:
  Network() = default;
  Shape input_shape_;
  std::vector<Layer> layers_;  // at least one; fixed after Create
};

}  // namespace baton::trainer
