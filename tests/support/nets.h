// Well-known networks with seeded weights, for tests against a reference and for benchmarks: the
// graphs that exporters write (BatchNormalization as a node of its own), weights scaled so that
// activations keep their size through all layers. The same arguments give the same bytes. The
// first dimension of the input "x" and of the output "y" is the symbol "batch".
#pragma once

#include <cstdint>
#include <string>

#include "engine/tensor.h"

namespace baton::testing {

// 784-64-16-10: float[batch,784], sigmoid, tanh, softmax.
std::string MlpModel(uint64_t seed = 1);

// ResNet-50 v1.5 (the stride is in the 3x3 convolution): float[batch,3,image,image] to 1000
// logits. 25.6 million parameters whatever the image's size.
std::string ResNet50Model(int64_t image = 224, uint64_t seed = 1);

// MobileNetV2, width 1: inverted residuals, depthwise convolutions, ReLU6 as Clip.
std::string MobileNetV2Model(int64_t image = 224, uint64_t seed = 1);

// SqueezeNet 1.1: fire modules with Concat, convolutions with bias, Dropout.
std::string SqueezeNetModel(int64_t image = 224, uint64_t seed = 1);

// Even in [low, high), the same for the same arguments.
Tensor RandomTensor(Shape shape, float low, float high, uint64_t seed);

}  // namespace baton::testing
