// Products of integers, which rewrites make of what quantizers write: nodes QuantConv and
// QuantMatMul of the domain "baton".
//   y = quantize(post_ops(x_scale · w_scale[c] · Σ (x - x_zero_point) · (w - w_zero_point[c])
//                         + bias[c]))
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/dnnl_util.h"
#include "engine/kernel.h"

namespace baton::engine {

// A node's inputs by number. x and w are int8 or uint8, w is constant, scales are float, zero
// points have their operand's type; x has one scale, w one or one for each channel.
//   Without scales y is the sums themselves, int32. With kYScale y is of its zero point's type;
//   else float.
//   Where kXScale or kXZeroPoint are not constant, they come with each run; y is not quantized
//   then.
enum IntegerProductInput : size_t {
  kX,
  kXScale,
  kXZeroPoint,
  kW,
  kWScale,
  kWZeroPoint,
  kYScale,
  kYZeroPoint,
  kBias,                  // float, one for each channel
  kIntegerProductInputs,  // those of post-ops come from here on
};
// Attributes of such a node whose residual is quantized, as y is: its scale (float) and zero point.
inline constexpr char kResidualScale[] = "residual_scale";
inline constexpr char kResidualZeroPoint[] = "residual_zero_point";

// What those inputs say, in the units of the result.
struct IntegerProduct {
  DataType y_type = DataType::kInt32;
  bool run_time = false;      // the scale and zero point of x come with each run
  Quantization quantization;  // where that is so, scales are those of the weights
  std::vector<PostOp> post_ops;
  std::vector<float> bias;  // one for each channel, or none
};
absl::StatusOr<IntegerProduct> ReadIntegerProduct(const PrepareContext& c, const Node& node,
                                                  int64_t channels);

// The weights less their zero points, as int8. `axis` is that of the channels. nullopt where int8
// does not hold them, or the zero points are not of their type and number.
std::optional<Tensor> CenteredWeights(const Tensor& w, const Tensor* zero_points, size_t axis);

// A number of an integer type of 8 or 32 bits.
int32_t IntegerAt(DataType type, const void* data, int64_t i);

}  // namespace baton::engine
