// QuantMatMul (see integer_product.h): rows times a constant matrix of integers on oneDNN's inner
// product; what oneDNN has not, with loops of our own, for sums as they are only (MatMulInteger).
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/integer_product.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"

namespace baton::engine {
namespace {

using From = DnnlArgument::From;

// A product whose scale and zero point of x come with each run: scales and bias follow from them.
class RunTimeStep final : public Step {
 public:
  struct Parts {
    DnnlPrimitive made;
    std::shared_ptr<const void> weights;
    DataType x_type = DataType::kUndefined;
    bool has_scale = false, has_zero = false;
    std::vector<float> w_scales, bias;  // bias: one for each channel or none
    std::vector<int32_t> column_sums;   // of the weights
    int residual = -1;
    int threads = 1;
    double flops = 0;
  };
  explicit RunTimeStep(Parts parts) : p_(std::move(parts)), channels_(p_.column_sums.size()) {}

  std::unique_ptr<StepState> MakeState() const override {
    auto state = std::make_unique<State>(p_.made.primitive);
    DnnlCall& call = state->call;
    call.Add(DNNL_ARG_SRC, p_.made.src);
    call.Add(DNNL_ARG_DST, p_.made.dst);
    call.Add(DNNL_ARG_BIAS, p_.made.bias);
    call.Add(DNNL_ARG_WEIGHTS, p_.made.weights, p_.weights.get());
    if (p_.has_scale) {
      call.Add(ScalesArgument(),
               PlainLayout(DataType::kFloat, {static_cast<int64_t>(p_.w_scales.size())}));
    }
    if (p_.made.scratchpad.get_size() > 0) call.Add(DNNL_ARG_SCRATCHPAD, p_.made.scratchpad);
    return state;
  }

  absl::Status Run(const RunContext& r) const override {
    DnnlCall& call = static_cast<State&>(*r.state).call;
    char* const scratch = static_cast<char*>(r.scratch);
    float* const scales = reinterpret_cast<float*>(scratch);
    void* const bias = scratch + table_bytes();
    const float x_scale = p_.has_scale ? *r.input<float>(kXScale) : 1;
    const int32_t zero =
        p_.has_zero ? IntegerAt(p_.x_type, r.input<char>(kXZeroPoint), 0) : int32_t{0};
    if (p_.has_scale) {
      const size_t step = p_.w_scales.size() > 1 ? 1 : 0;
      for (size_t n = 0; n < p_.w_scales.size(); ++n) scales[n] = x_scale * p_.w_scales[n];
      for (size_t n = 0; n < channels_; ++n) {
        const float scale = scales[n * step];
        const float own = p_.bias.empty() ? 0 : p_.bias[n];
        const float shift = static_cast<float>(zero) * static_cast<float>(p_.column_sums[n]);
        static_cast<float*>(bias)[n] = BiasFor(own - shift * scale, scale);
      }
    } else {
      for (size_t n = 0; n < channels_; ++n) {
        static_cast<int32_t*>(bias)[n] = -zero * p_.column_sums[n];
      }
    }
    call.SetData(0, r.input<char>(kX));
    call.SetData(1, r.output<char>(0));
    call.SetData(2, bias);
    size_t next = 4;
    if (p_.has_scale) call.SetData(next++, scales);
    if (call.size() > next) call.SetData(next, scratch + 2 * table_bytes());
    SetThreads(p_.threads);
    const dnnl_status_t status = call.Run(r.stream);
    if (status == dnnl_success) [[likely]]
      return absl::OkStatus();
    return DnnlErrorStatus(implementation(), status, "execution failed");
  }

  size_t scratch_bytes() const override {
    return 2 * table_bytes() + p_.made.scratchpad.get_size();
  }
  const char* implementation() const override { return p_.made.implementation.c_str(); }
  double flops() const override { return p_.flops; }

 private:
  struct State final : StepState {
    explicit State(dnnl::primitive primitive) : call(std::move(primitive)) {}
    DnnlCall call;
  };
  // Of the scales or the bias, aligned.
  size_t table_bytes() const { return (channels_ * sizeof(float) + 63) / 64 * 64; }

  const Parts p_;
  const size_t channels_;
};

// Sums of products of any two operands of the rank of numpy.matmul.
absl::StatusOr<std::unique_ptr<Step>> PrepareSums(PrepareContext& c) {
  Shape a = c.input(kX).shape, b = c.input(kW).shape;
  const DataType a_type = c.input(kX).type, b_type = c.input(kW).type;
  for (const DataType type : {a_type, b_type}) {
    if (type == DataType::kInt8 || type == DataType::kUint8) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("operand is ", DataTypeName(type), ", expected int8 or uint8"));
  }
  if (a.size() < 2 || b.size() < 2 || a.back() != b[b.size() - 2]) {
    return absl::InvalidArgumentError(
        absl::StrCat("shapes ", ShapeToString(a), " and ", ShapeToString(b), " do not multiply"));
  }
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  const size_t rank = std::max(a.size(), b.size());
  a.insert(a.begin(), rank - a.size(), 1);
  b.insert(b.begin(), rank - b.size(), 1);
  Shape y;
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (a[i] != b[i] && a[i] != 1 && b[i] != 1) {
      return absl::InvalidArgumentError(absl::StrCat("shapes ", ShapeToString(c.input(kX).shape),
                                                     " and ", ShapeToString(c.input(kW).shape),
                                                     " do not multiply"));
    }
    y.push_back(a[i] == 1 ? b[i] : a[i]);
  }
  // Zero points: one, or one for each row of a and column of b.
  const auto zeros_of = [&c](size_t i) {
    return i < c.num_inputs() && c.has_input(i) ? NumElements(c.input(i).shape) : 0;
  };
  const int64_t a_zeros = zeros_of(kXZeroPoint), b_zeros = zeros_of(kWZeroPoint);
  if ((a_zeros > 1 && a_zeros != m) || (b_zeros > 1 && b_zeros != n)) {
    return absl::InvalidArgumentError(absl::StrCat("zero points are ", a_zeros, " and ", b_zeros,
                                                   " for ", m, " rows and ", n,
                                                   " columns; expected one or as many"));
  }
  const int64_t matrices = NumElements(y);
  std::vector<std::pair<int64_t, int64_t>> at;  // where each matrix's operands begin
  for (int64_t i = 0; i < matrices; ++i) {
    int64_t rest = i, a_at = 0, b_at = 0, a_stride = m * k, b_stride = k * n;
    for (size_t d = rank - 2; d-- > 0;) {
      const int64_t index = rest % y[d];
      rest /= y[d];
      if (a[d] != 1) a_at += index * a_stride;
      if (b[d] != 1) b_at += index * b_stride;
      a_stride *= a[d];
      b_stride *= b[d];
    }
    at.emplace_back(a_at, b_at);
  }
  y.push_back(m);
  y.push_back(n);
  c.SetOutput(0, DataType::kInt32, y);
  const double flops = 2.0 * static_cast<double>(matrices * m) * static_cast<double>(n * k);
  const int threads = c.ThreadsFor(flops, 0);
  return MakeStep([=](const RunContext& r) {
    const char *const x = r.input<char>(kX), *const w = r.input<char>(kW);
    ParallelFor(threads, matrices * m, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const auto& [a_at, b_at] = at[static_cast<size_t>(row / m)];
        const int64_t i = row % m;
        int32_t* const to = r.output<int32_t>(0) + row * n;
        std::fill(to, to + n, 0);
        const int32_t a_zero =
            a_zeros == 0 ? 0 : IntegerAt(a_type, r.input<char>(kXZeroPoint), a_zeros == 1 ? 0 : i);
        for (int64_t l = 0; l < k; ++l) {
          const int32_t left = IntegerAt(a_type, x, a_at + i * k + l) - a_zero;
          for (int64_t j = 0; j < n; ++j) {
            const int32_t b_zero =
                b_zeros == 0 ? 0
                             : IntegerAt(b_type, r.input<char>(kWZeroPoint), b_zeros == 1 ? 0 : j);
            to[j] += left * (IntegerAt(b_type, w, b_at + l * n + j) - b_zero);
          }
        }
      }
    });
    return absl::OkStatus();
  });
}

class IntegerMatMulKernel final : public Kernel {
 public:
  IntegerMatMulKernel(const Node& node, const Graph& graph, bool transposed)
      : node_(node), transposed_(transposed) {
    if (!graph.is_constant(node.inputs[kW])) return;
    const Tensor& w = graph.constant(node.inputs[kW]);
    const bool has_zero = node.has_input(kWZeroPoint);
    if (w.shape().size() != 2 || (has_zero && !graph.is_constant(node.inputs[kWZeroPoint]))) return;
    const Tensor* zero = has_zero ? &graph.constant(node.inputs[kWZeroPoint]) : nullptr;
    std::optional<Tensor> centered = CenteredWeights(w, zero, transposed ? 0 : 1);
    if (!centered || w.size() == 0) return;
    weights_ = *std::move(centered);
    packed_.Set(weights_);
    n_ = w.shape()[transposed ? 0 : 1];
    k_ = w.shape()[transposed ? 1 : 0];
    column_sums_.assign(static_cast<size_t>(n_), 0);
    const auto values = weights_.values<int8_t>();
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      column_sums_[static_cast<size_t>(transposed ? at / k_ : at % n_)] += values[i];
    }
  }

  bool HasConstant(size_t i) const override { return i == kW && !weights_.empty(); }
  size_t weight_bytes() const override { return packed_.bytes(); }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Shape x = c.input(kX).shape;
    const bool zero_for_rows =
        node_.has_input(kXZeroPoint) && NumElements(c.input(kXZeroPoint).shape) != 1;
    if (weights_.empty() || x.empty() || NumElements(x) == 0 || zero_for_rows) {
      if (node_.has_input(kXScale)) {
        return absl::InvalidArgumentError(absl::StrCat("x is ", ShapeToString(x)));
      }
      return PrepareSums(c);
    }
    if (x.back() != k_) {
      return absl::InvalidArgumentError(
          absl::StrCat("shapes ", ShapeToString(x), " and [", k_, ",", n_, "] do not multiply"));
    }
    ASSIGN_OR_RETURN(IntegerProduct p, ReadIntegerProduct(c, node_, n_));
    Shape shape = x;
    shape.back() = n_;
    const Meta y{p.y_type, shape, std::nullopt};
    if (c.shapes_only()) {
      c.SetOutput(0, y);
      return nullptr;
    }
    const int64_t rows = NumElements(x) / k_;
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(k_ * n_);
    const int threads = c.ThreadsFor(flops, static_cast<double>(k_ * n_));
    const ScopedThreads scope(threads);
    Quantization& q = p.quantization;
    // oneDNN's inner product has no zero points: that of x is a part of the bias, that of y is
    // added last.
    const int32_t zero = std::exchange(q.src_zero_point, 0);
    if (const int32_t y_zero = std::exchange(q.dst_zero_point, 0); y_zero != 0) {
      AddLast(static_cast<float>(y_zero), p);
    }
    const bool sums = p.y_type == DataType::kInt32;
    q.run_time_scales = p.run_time && !sums;
    const bool has_bias = p.run_time || zero != 0 || !p.bias.empty();
    const Layout bias =
        has_bias ? PlainLayout(sums ? DataType::kInt32 : DataType::kFloat, {n_}) : Layout();
    const std::optional<DnnlPrimitive> made = MakeInnerProduct(
        PlainLayout(c.input(kX).type, {rows, k_}), AnyLayout(DataType::kInt8, {n_, k_}), bias,
        PlainLayout(p.y_type, {rows, n_}), MakeAttr(p.post_ops, sums ? nullptr : &q));
    if (!made) return absl::UnimplementedError("oneDNN has no inner product of this form");
    const Layout from({n_, k_}, dnnl::memory::data_type::s8,
                      transposed_ ? dnnl::memory::dims{k_, 1} : dnnl::memory::dims{1, n_});
    ASSIGN_OR_RETURN(auto packed, packed_.Get(from, made->weights));
    const int residual = ResidualInput(p.post_ops);
    if (residual >= 0) {
      RETURN_IF_ERROR(c.SetOverwrite(0, static_cast<size_t>(residual), y));
    } else {
      c.SetOutput(0, y);
    }
    if (p.run_time) {
      RunTimeStep::Parts parts;
      parts.made = *made;
      parts.weights = std::move(packed);
      parts.x_type = c.input(kX).type;
      parts.has_scale = !sums;
      parts.has_zero = node_.has_input(kXZeroPoint);
      parts.w_scales = q.scales;
      parts.bias = std::move(p.bias);
      parts.column_sums = column_sums_;
      parts.threads = threads;
      parts.flops = flops;
      return std::make_unique<RunTimeStep>(std::move(parts));
    }
    std::vector<DnnlArgument> arguments = {
        {DNNL_ARG_SRC, made->src, From::kInput, kX},
        {DNNL_ARG_WEIGHTS, made->weights, From::kFixed, 0, std::move(packed)},
        {DNNL_ARG_DST, made->dst, From::kOutput, 0}};
    if (has_bias) {
      arguments.push_back({DNNL_ARG_BIAS, made->bias, From::kFixed, 0, Bias(p, zero, sums)});
    }
    AddFixed(QuantizationArguments(q), arguments);
    return MakeDnnlStep(*made, std::move(arguments), threads, flops);
  }

 private:
  void AddLast(float shift, IntegerProduct& p) const {
    if (p.post_ops.empty()) {
      p.bias.resize(static_cast<size_t>(n_), 0);
      for (float& b : p.bias) b += shift;
    } else if (p.post_ops.back().op == "Linear") {
      p.post_ops.back().beta += shift;
    } else {
      PostOp add;
      add.op = "Linear";
      add.alpha = 1;
      add.beta = shift;
      p.post_ops.push_back(std::move(add));
    }
  }

  std::shared_ptr<const void> Bias(const IntegerProduct& p, int32_t zero, bool sums) const {
    std::shared_ptr<void> bias = AllocateAligned(static_cast<size_t>(n_) * sizeof(float));
    const std::vector<float>& scales = p.quantization.scales;
    for (size_t n = 0; n < column_sums_.size(); ++n) {
      if (sums) {
        static_cast<int32_t*>(bias.get())[n] = -zero * column_sums_[n];
        continue;
      }
      const float scale = scales[scales.size() > 1 ? n : 0];
      const float own = p.bias.empty() ? 0 : p.bias[n];
      const float shift = static_cast<float>(zero) * static_cast<float>(column_sums_[n]);
      static_cast<float*>(bias.get())[n] = BiasFor(own - shift * scale, scale);
    }
    return bias;
  }

  const Node node_;
  const bool transposed_;
  Tensor weights_;  // int8 [k, n], or [n, k] where transposed; empty: loops of our own
  int64_t n_ = 0, k_ = 0;
  std::vector<int32_t> column_sums_;
  PackedWeights packed_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeIntegerMatMul(const Node& node, const Graph& graph) {
  if (!node.has_input(kX) || !node.has_input(kW)) {
    return absl::InvalidArgumentError("expected two operands");
  }
  ASSIGN_OR_RETURN(const int64_t transposed, node.Int("transB", 0));
  return std::make_unique<IntegerMatMulKernel>(node, graph, transposed != 0);
}

}  // namespace baton::engine
