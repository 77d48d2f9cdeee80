#include "engine/kernels/integer_product.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace baton::engine {
namespace {

absl::Status WrongInput(const char* name, const Meta& found, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      name, " is ", DataTypeName(found.type), ShapeToString(found.shape), ", expected ", expected));
}

bool IsByte(DataType type) { return type == DataType::kInt8 || type == DataType::kUint8; }

// The constant scales of input `i`: one, or `channels`.
absl::StatusOr<std::vector<float>> Scales(const PrepareContext& c, size_t i, int64_t channels,
                                          const char* name) {
  ASSIGN_OR_RETURN(const Tensor* data, c.Data(i));
  if (data->type() != DataType::kFloat || (data->size() != 1 && data->size() != channels)) {
    return WrongInput(name, c.input(i), absl::StrCat("one float or ", channels));
  }
  const auto values = data->values<float>();
  return std::vector<float>(values.begin(), values.end());
}

absl::StatusOr<int32_t> ZeroPoint(const PrepareContext& c, size_t i, const char* name) {
  if (i >= c.num_inputs() || !c.has_input(i)) return 0;
  ASSIGN_OR_RETURN(const Tensor* data, c.Data(i));
  if (!IsByte(data->type()) || data->size() != 1) {
    return WrongInput(name, c.input(i), "one int8 or uint8");
  }
  return IntegerAt(data->type(), data->data(), 0);
}

// True for what commutes with a change of units; its own numbers change then.
bool Rescale(PostOp& post_op, float unit) {
  if (post_op.kind == PostOp::Kind::kAddInput || post_op.op == "Relu" ||
      post_op.op == "LeakyRelu") {
    return true;
  }
  if (post_op.op != "Clip") return false;
  post_op.alpha /= unit;
  post_op.beta /= unit;
  return true;
}

}  // namespace

int32_t IntegerAt(DataType type, const void* data, int64_t i) {
  switch (type) {
    case DataType::kInt8:
      return static_cast<const int8_t*>(data)[i];
    case DataType::kUint8:
      return static_cast<const uint8_t*>(data)[i];
    default:
      return static_cast<const int32_t*>(data)[i];
  }
}

std::optional<Tensor> CenteredWeights(const Tensor& w, const Tensor* zero_points, size_t axis) {
  if (!IsByte(w.type()) || axis >= w.shape().size()) return std::nullopt;
  const int64_t channels = w.shape()[axis];
  if (zero_points != nullptr && (zero_points->type() != w.type() ||
                                 (zero_points->size() != 1 && zero_points->size() != channels))) {
    return std::nullopt;
  }
  const bool one_zero = zero_points == nullptr || zero_points->size() == 1;
  const int64_t inner = NumElements(absl::MakeConstSpan(w.shape()).subspan(axis + 1));
  Tensor centered(DataType::kInt8, w.shape());
  const auto to = centered.mutable_values<int8_t>();
  for (int64_t i = 0; i < w.size(); ++i) {
    const int64_t channel = one_zero ? 0 : i / inner % channels;
    const int32_t zero =
        zero_points == nullptr ? 0 : IntegerAt(w.type(), zero_points->data(), channel);
    const int32_t value = IntegerAt(w.type(), w.data(), i) - zero;
    if (value < std::numeric_limits<int8_t>::min() || value > std::numeric_limits<int8_t>::max()) {
      return std::nullopt;
    }
    to[static_cast<size_t>(i)] = static_cast<int8_t>(value);
  }
  return centered;
}

absl::StatusOr<IntegerProduct> ReadIntegerProduct(const PrepareContext& c, const Node& node,
                                                  int64_t channels) {
  if (!IsByte(c.input(kX).type)) return WrongInput("x", c.input(kX), "int8 or uint8");
  IntegerProduct p;
  const auto has = [&c](size_t i) { return i < c.num_inputs() && c.has_input(i); };
  const auto at_run_time = [&](size_t i) { return has(i) && c.known(i) == nullptr; };
  p.run_time = at_run_time(kXScale) || at_run_time(kXZeroPoint);
  Quantization& q = p.quantization;
  if (!p.run_time) {
    ASSIGN_OR_RETURN(q.src_zero_point, ZeroPoint(c, kXZeroPoint, "the zero point of x"));
  }
  q.scales = {1};
  if (!has(kXScale)) return p;
  p.y_type = DataType::kFloat;
  ASSIGN_OR_RETURN(q.scales, Scales(c, kWScale, channels, "the scale of w"));
  // A channel whose weights are all 0 may have a scale of 0; its bias is divided by that.
  for (float& scale : q.scales) scale = std::max(scale, 1e-20f);
  if (has(kBias)) {
    ASSIGN_OR_RETURN(p.bias, Scales(c, kBias, channels, "the bias"));
    p.bias.resize(static_cast<size_t>(channels), p.bias[0]);
  }
  p.post_ops = node.post_ops;
  if (p.run_time) return p;
  ASSIGN_OR_RETURN(const std::vector<float> x_scale, Scales(c, kXScale, 1, "the scale of x"));
  for (float& scale : q.scales) scale *= x_scale[0];
  ASSIGN_OR_RETURN(const float residual_scale, node.Float(kResidualScale, 1));
  ASSIGN_OR_RETURN(const int64_t residual_zero, node.Int(kResidualZeroPoint, 0));
  q.sum_scale = residual_scale;
  q.sum_zero_point = static_cast<int32_t>(residual_zero);
  if (!has(kYScale)) return p;

  p.y_type = has(kYZeroPoint) ? c.input(kYZeroPoint).type : DataType::kUint8;
  ASSIGN_OR_RETURN(q.dst_zero_point, ZeroPoint(c, kYZeroPoint, "the zero point of y"));
  ASSIGN_OR_RETURN(const std::vector<float> y_scale, Scales(c, kYScale, 1, "the scale of y"));
  const float unit = y_scale[0];
  std::vector<PostOp> rescaled = p.post_ops;
  const bool all = std::all_of(rescaled.begin(), rescaled.end(),
                               [unit](PostOp& post_op) { return Rescale(post_op, unit); });
  if (all) {
    p.post_ops = std::move(rescaled);
    for (float& scale : q.scales) scale /= unit;
    for (float& b : p.bias) b /= unit;
    q.sum_scale /= unit;
  } else {  // the units change last
    PostOp divide;
    divide.op = "Linear";
    divide.alpha = 1.0f / unit;
    p.post_ops.push_back(std::move(divide));
  }
  return p;
}

}  // namespace baton::engine
