// Conv and ConvTranspose on oneDNN, and on our own Winograd. Convolutions choose their layout:
// channels in blocks of 16, which beat oneDNN's own default on AVX-512 (measured).
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/integer_product.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/vector_activation.h"
#include "engine/kernels/window.h"
#include "engine/kernels/winograd.h"

namespace baton::engine {
namespace {

using From = DnnlArgument::From;

// What one request to oneDNN leaves open or fixes.
struct Candidate {
  Layout src, dst;
};

bool IsSlow(const std::string& implementation) {
  return absl::StrContains(implementation, "ref") || absl::StrContains(implementation, "gemm:");
}

// What a convolution computes with.
struct Numbers {
  DataType src = DataType::kFloat, weights = DataType::kFloat, dst = DataType::kFloat;
  std::vector<PostOp> post_ops;
  std::optional<IntegerProduct> integers;
};

// A convolution of integers whose scale and zero point of x come with each run, with the result
// channels last: float, with its bias, or the sums.
class RunTimeStep final : public Step {
 public:
  struct Parts {
    DnnlPrimitive made;
    std::vector<DnnlArgument> arguments;  // src, dst, then fixed ones
    DataType x_type = DataType::kUndefined;
    bool has_scale = false, has_zero = false;
    std::vector<float> bias;  // one for each channel, or none
    int64_t rows = 0, channels = 0;
    int threads = 1;
    double flops = 0;
  };
  explicit RunTimeStep(Parts parts) : p_(std::move(parts)) {}

  std::unique_ptr<StepState> MakeState() const override {
    auto state = std::make_unique<State>(p_.made.primitive);
    for (const DnnlArgument& a : p_.arguments) {
      state->call.Add(a.dnnl_arg, a.layout, a.fixed.get());
    }
    if (p_.has_zero) {
      state->call.Add(SrcZeroPointArgument(), PlainLayout(DataType::kInt32, {1}), &state->zero);
    }
    if (p_.made.scratchpad.get_size() > 0) {
      state->call.Add(DNNL_ARG_SCRATCHPAD, p_.made.scratchpad);
    }
    return state;
  }

  absl::Status Run(const RunContext& r) const override {
    State& state = static_cast<State&>(*r.state);
    if (p_.has_zero) state.zero = IntegerAt(p_.x_type, r.input<char>(kXZeroPoint), 0);
    state.call.SetData(0, r.input<char>(kX));
    state.call.SetData(1, r.output<char>(0));
    if (p_.made.scratchpad.get_size() > 0) state.call.SetData(state.call.size() - 1, r.scratch);
    SetThreads(p_.threads);
    const dnnl_status_t status = state.call.Run(r.stream);
    if (status != dnnl_success)
      return DnnlErrorStatus(implementation(), status, "execution failed");
    if (!p_.has_scale) return absl::OkStatus();
    const float scale = *r.input<float>(kXScale);
    float* const y = r.output<float>(0);
    ParallelFor(p_.threads, p_.rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* const to = y + row * p_.channels;
        if (p_.bias.empty()) {
          for (int64_t i = 0; i < p_.channels; ++i) to[i] *= scale;
        } else {
          for (int64_t i = 0; i < p_.channels; ++i) {
            to[i] = to[i] * scale + p_.bias[static_cast<size_t>(i)];
          }
        }
      }
    });
    return absl::OkStatus();
  }

  size_t scratch_bytes() const override { return p_.made.scratchpad.get_size(); }
  const char* implementation() const override { return p_.made.implementation.c_str(); }
  double flops() const override { return p_.flops; }

 private:
  struct State final : StepState {
    explicit State(dnnl::primitive primitive) : call(std::move(primitive)) {}
    DnnlCall call;
    int32_t zero = 0;
  };
  const Parts p_;
};

absl::StatusOr<Tensor> Int8Weights(const Tensor& w, const Tensor* zero_points) {
  std::optional<Tensor> centered = CenteredWeights(w, zero_points, 0);
  if (centered) return *std::move(centered);
  return absl::UnimplementedError(
      absl::StrCat("weights of ", DataTypeName(w.type()),
                   " that int8 does not hold, less their zero point, are not supported"));
}

// Conv, or QuantConv (see integer_product.h).
class ConvKernel final : public Kernel {
 public:
  // `weights`: empty if not constant; of integers, less their zero points.
  ConvKernel(Window window, int64_t groups, const Node& node, Tensor weights)
      : window_(std::move(window)),
        groups_(groups),
        node_(node),
        has_integers_(!node.domain.empty()),
        w_(has_integers_ ? size_t{kW} : 1),
        packed_(std::move(weights)) {}

  bool AcceptsLayouts() const override { return true; }
  bool HasConstant(size_t i) const override { return i == w_ && !packed_.empty(); }
  size_t weight_bytes() const override { return packed_.bytes() + winograd_.bytes(); }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Shape x = c.input(0).shape, w = c.input(w_).shape;
    RETURN_IF_ERROR(CheckShapes(x, w));
    ASSIGN_OR_RETURN(const Numbers numbers, has_integers_ ? Integers(c, w[0]) : Floats(c, w[0]));
    const size_t spatial = x.size() - 2;
    const absl::Span<const int64_t> kernel = window_.kernel.empty()
                                                 ? absl::MakeConstSpan(w).subspan(2)
                                                 : absl::MakeConstSpan(window_.kernel);
    ASSIGN_OR_RETURN(const FittedWindow fitted,
                     FitWindow(window_, kernel, absl::MakeConstSpan(x).subspan(2)));
    Shape y = {x[0], w[0]};
    y.insert(y.end(), fitted.output.begin(), fitted.output.end());
    if (c.shapes_only() || NumElements(y) == 0) {
      c.SetOutput(0, numbers.dst, y);
      if (c.shapes_only()) return nullptr;
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    }

    ConvSpec spec;
    spec.strides = fitted.strides;
    spec.dilations = fitted.dilations;
    spec.pads_begin = fitted.pads_begin;
    spec.pads_end = fitted.pads_end;
    Shape grouped = w;
    if (groups_ > 1) {
      grouped[0] /= groups_;
      grouped.insert(grouped.begin(), groups_);
    }
    // Weights that are not constant are packed on each run, unless a group dimension would have to
    // be split off: those are taken as they are.
    PackedWeights once;  // integers that come with each run
    if (has_integers_ && packed_.empty()) {
      ASSIGN_OR_RETURN(Tensor integers, RunTimeIntegers(c));
      once.Set(std::move(integers));
    }
    const PackedWeights& weights = once.empty() ? packed_ : once;
    const bool packs = !weights.empty() || groups_ == 1;
    spec.weights =
        packs ? AnyLayout(numbers.weights, grouped) : PlainLayout(numbers.weights, grouped);
    const bool run_time = numbers.integers && numbers.integers->run_time;
    const bool has_bias =
        has_integers_ ? !run_time && !numbers.integers->bias.empty() : c.has_input(2);
    if (has_bias) spec.bias = PlainLayout(DataType::kFloat, {w[0]});

    double flops = 2.0 * static_cast<double>(NumElements(y)) * static_cast<double>(w[1]);
    for (size_t i = 0; i < spatial; ++i) flops *= static_cast<double>(kernel[i]);
    const WinogradSpec as_winograd = {x[0],
                                      x[1],
                                      x[2],
                                      x.back(),
                                      y[1],
                                      y[2],
                                      y.back(),
                                      fitted.pads_begin[0],
                                      fitted.pads_begin.back()};
    if (IsWinograd(numbers, w) && WinogradTile(as_winograd) != 0) {
      return PrepareWinograd(c, as_winograd, x, y, flops);
    }
    const int threads = c.ThreadsFor(flops, 0);
    const ScopedThreads scope(threads);
    const auto post_ops = absl::MakeConstSpan(numbers.post_ops);
    const size_t done = PostOpsInside(numbers, y);
    const dnnl::primitive_attr attr = MakeAttr(
        post_ops.first(done), numbers.integers ? &numbers.integers->quantization : nullptr);
    const std::optional<DnnlPrimitive> made = Choose(spec, attr, c.input(0), numbers, x, w, y);
    if (!made) return absl::UnimplementedError("oneDNN has no convolution of this form");

    RETURN_IF_ERROR(c.SetInputLayout(0, made->src));
    std::vector<DnnlArgument> arguments = {{DNNL_ARG_SRC, made->src, From::kInput, 0},
                                           {DNNL_ARG_DST, made->dst, From::kOutput, 0}};
    if (!weights.empty()) {
      const DataType type = has_integers_ ? DataType::kInt8 : DataType::kFloat;
      ASSIGN_OR_RETURN(auto packed, weights.Get(PlainLayout(type, grouped), made->weights));
      arguments.push_back({DNNL_ARG_WEIGHTS, made->weights, From::kFixed, 0, std::move(packed)});
    } else {
      if (groups_ == 1) RETURN_IF_ERROR(c.SetInputLayout(w_, made->weights));
      arguments.push_back({DNNL_ARG_WEIGHTS, made->weights, From::kInput, static_cast<int>(w_)});
    }
    if (has_bias && has_integers_) {
      arguments.push_back(
          {DNNL_ARG_BIAS, made->bias, From::kFixed, 0, ScaledBias(*numbers.integers)});
    } else if (has_bias) {
      arguments.push_back({DNNL_ARG_BIAS, made->bias, From::kInput, 2});
    }
    const Meta output{numbers.dst, y, made->dst};
    const int added = ResidualInput(post_ops.subspan(done));
    if (added >= 0) RETURN_IF_ERROR(c.SetInputLayout(static_cast<size_t>(added), made->dst));
    const int residual = ResidualInput(post_ops.first(done));
    if (residual >= 0) {
      RETURN_IF_ERROR(c.SetOverwrite(0, static_cast<size_t>(residual), output));
    } else {
      c.SetOutput(0, output);
    }
    if (run_time) {
      RunTimeStep::Parts parts;
      parts.made = *made;
      parts.arguments = std::move(arguments);
      AddFixed(QuantizationArguments(numbers.integers->quantization), parts.arguments);
      parts.x_type = numbers.src;
      parts.has_scale = c.has_input(kXScale);
      parts.has_zero = c.has_input(kXZeroPoint);
      parts.bias = numbers.integers->bias;
      parts.rows = NumElements(y) / w[0];
      parts.channels = w[0];
      parts.threads = threads;
      parts.flops = flops;
      return std::make_unique<RunTimeStep>(std::move(parts));
    }
    if (has_integers_) AddFixed(QuantizationArguments(numbers.integers->quantization), arguments);
    std::vector<std::unique_ptr<Step>> steps;
    steps.push_back(MakeDnnlStep(*made, std::move(arguments), threads, flops));
    return Finish(std::move(steps), post_ops.subspan(done), output, c);
  }

 private:
  bool IsWinograd(const Numbers& numbers, const Shape& w) const {
    if (!HasAvx512() || numbers.src != DataType::kFloat || packed_.empty()) return false;
    if (groups_ != 1 || w.size() != 4 || w[2] != 3 || w[3] != 3) return false;
    if (!FillBlocks(w[0]) || !FillBlocks(w[1])) return false;
    const auto all_one = [](const std::vector<int64_t>& values) {
      return std::all_of(values.begin(), values.end(), [](int64_t v) { return v == 1; });
    };
    return all_one(window_.strides) && all_one(window_.dilations);
  }

  absl::StatusOr<std::unique_ptr<Step>> PrepareWinograd(PrepareContext& c, const WinogradSpec& spec,
                                                        const Shape& x, const Shape& y,
                                                        double flops) const {
    const Meta output{DataType::kFloat, y, ChannelBlockedLayout(DataType::kFloat, y)};
    RETURN_IF_ERROR(c.SetInputLayout(0, ChannelBlockedLayout(DataType::kFloat, x)));
    const auto post_ops = absl::MakeConstSpan(node_.post_ops);
    const size_t done = Winograd::PostOpsDone(post_ops, spec.outputs);
    const int added = ResidualInput(post_ops);
    if (added >= 0) RETURN_IF_ERROR(c.SetInputLayout(static_cast<size_t>(added), *output.layout));
    const int residual = ResidualInput(post_ops.first(done));
    if (residual >= 0) {
      c.SetMaybeInPlace(0, static_cast<size_t>(residual), output);
    } else {
      c.SetOutput(0, output);
    }
    const int tile = WinogradTile(spec);
    ASSIGN_OR_RETURN(const Tensor weights,
                     packed_.Plain(PlainLayout(DataType::kFloat, packed_.shape())));
    std::vector<std::unique_ptr<Step>> steps;
    steps.push_back(
        MakeWinogradStep(Winograd(spec, tile, post_ops.first(done), c.ThreadsFor(flops, 0)),
                         winograd_.Get(weights, tile), c.has_input(2) ? 2 : -1, residual, flops));
    return Finish(std::move(steps), post_ops.subspan(done), output, c);
  }

  // How many post-ops oneDNN's convolution does itself: not those from an activation on that is
  // faster as a step of its own, where only the residual may follow.
  static size_t PostOpsInside(const Numbers& numbers, const Shape& y) {
    constexpr int64_t kFew = 4096;  // elements for which a step of its own costs more than it saves
    const auto& ops = numbers.post_ops;
    if (numbers.integers || NumElements(y) < kFew || BestIsa() == Isa::kPlain) return ops.size();
    for (size_t i = 0; i < ops.size(); ++i) {
      const std::optional<VectorActivation> activation = ToVectorActivation(ops[i]);
      const auto after = absl::MakeConstSpan(ops).subspan(i + 1);
      const bool last = after.empty() || (after.size() == 1 && ResidualInput(after) >= 0);
      if (activation && last && activation->kind == VectorActivation::Kind::kSwish) return i;
    }
    return ops.size();
  }

  // `steps`, and after them the post-ops that they leave, in place.
  static absl::StatusOr<std::unique_ptr<Step>> Finish(std::vector<std::unique_ptr<Step>> steps,
                                                      absl::Span<const PostOp> post_ops,
                                                      const Meta& output, const PrepareContext& c) {
    const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(output.bytes()));
    for (size_t i = 0; i < post_ops.size(); ++i) {
      const std::optional<VectorActivation> activation = ToVectorActivation(post_ops[i]);
      if (activation && IsFasterAsVector(*activation, output)) {
        int added = -1;
        if (i + 1 < post_ops.size()) added = ResidualInput(post_ops.subspan(i + 1, 1));
        steps.push_back(MakeActivationStep(*activation, output, /*from=*/-1, added, threads));
        if (added >= 0) ++i;
      } else {
        ASSIGN_OR_RETURN(steps.emplace_back(), MakePostStep(post_ops[i], *output.layout, threads));
      }
    }
    return steps.size() == 1 ? std::move(steps[0]) : MakeSequence(std::move(steps));
  }

  // A post-op in a step of its own, in place.
  static absl::StatusOr<std::unique_ptr<Step>> MakePostStep(const PostOp& op, const Layout& layout,
                                                            int threads) {
    const ScopedThreads scope(threads);
    const bool adds = op.kind == PostOp::Kind::kAddInput;
    const auto made =
        adds ? MakeBinary(dnnl::algorithm::binary_add, layout, layout, layout, MakeAttr({}))
             : MakeEltwise(layout, *ToEltwise(op.op, op.alpha, op.beta), MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN cannot do this");
    std::vector<DnnlArgument> arguments = {{DNNL_ARG_SRC, made->src, From::kOutput, 0},
                                           {DNNL_ARG_DST, made->dst, From::kOutput, 0}};
    if (adds) arguments.push_back({DNNL_ARG_SRC_1, made->src1, From::kInput, op.input});
    return MakeDnnlStep(*made, std::move(arguments), threads, 0);
  }

  // int8, less their zero points.
  absl::StatusOr<Tensor> RunTimeIntegers(const PrepareContext& c) const {
    ASSIGN_OR_RETURN(const Tensor* w, c.Data(w_));
    const Tensor* zero = nullptr;
    if (c.has_input(kWZeroPoint)) {
      ASSIGN_OR_RETURN(zero, c.Data(kWZeroPoint));
    }
    return Int8Weights(*w, zero);
  }

  absl::Status CheckShapes(const Shape& x, const Shape& w) const {
    if (x.size() < 3 || x.size() > 5 || w.size() != x.size()) {
      return absl::InvalidArgumentError(absl::StrCat("input ", ShapeToString(x), " and weights ",
                                                     ShapeToString(w),
                                                     " must have the same rank, from 3 to 5"));
    }
    if (x[1] != w[1] * groups_ || w[0] % groups_ != 0) {
      return absl::InvalidArgumentError(absl::StrCat("input ", ShapeToString(x), " and weights ",
                                                     ShapeToString(w),
                                                     " do not fit group=", groups_));
    }
    return absl::OkStatus();
  }

  // float, or bfloat16 with constant weights, which are float in the graph and rounded.
  absl::StatusOr<Numbers> Floats(const PrepareContext& c, int64_t channels) const {
    Numbers n;
    n.src = n.weights = n.dst = c.input(0).type;
    const bool half = n.src == DataType::kBfloat16 && !packed_.empty();
    if (node_.has_attribute(kFloatOutput)) n.dst = DataType::kFloat;
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      if (!c.has_input(i) || (half && i == 0)) continue;
      const DataType type = c.input(i).type, expected = i > 2 ? n.dst : DataType::kFloat;
      if (type != expected || (!half && type != DataType::kFloat)) {
        return absl::UnimplementedError(
            absl::StrCat("element type ", DataTypeName(type), " is not supported; expected float"));
      }
    }
    if (c.has_input(2) && c.input(2).shape != Shape{channels}) {
      return absl::InvalidArgumentError(
          absl::StrCat("bias ", ShapeToString(c.input(2).shape), ": expected [", channels, "]"));
    }
    n.post_ops = node_.post_ops;
    return n;
  }

  absl::StatusOr<Numbers> Integers(const PrepareContext& c, int64_t channels) const {
    Numbers n;
    ASSIGN_OR_RETURN(n.integers, ReadIntegerProduct(c, node_, channels));
    Quantization& q = n.integers->quantization;
    q.grouped = groups_ > 1;
    q.run_time_src_zero_point = n.integers->run_time && c.has_input(kXZeroPoint);
    n.src = c.input(kX).type;
    n.weights = DataType::kInt8;
    n.dst = n.integers->y_type;
    n.post_ops = n.integers->post_ops;
    return n;
  }

  static std::shared_ptr<const void> ScaledBias(const IntegerProduct& p) {
    auto bias = std::make_shared<std::vector<float>>(p.bias);
    const std::vector<float>& scales = p.quantization.scales;
    for (size_t i = 0; i < bias->size(); ++i) {
      (*bias)[i] = BiasFor((*bias)[i], scales[scales.size() > 1 ? i : 0]);
    }
    return {bias, bias->data()};
  }

  // The first candidate that oneDNN runs with generated code; else the first that it runs at all.
  std::optional<DnnlPrimitive> Choose(ConvSpec spec, const dnnl::primitive_attr& attr,
                                      const Meta& src, const Numbers& numbers, const Shape& x,
                                      const Shape& w, const Shape& y) const {
    std::optional<DnnlPrimitive> fallback;
    for (const Candidate& candidate : Candidates(src, numbers, x, w, y)) {
      spec.src = candidate.src;
      spec.dst = candidate.dst;
      std::optional<DnnlPrimitive> made = MakeConvolution(spec, attr);
      if (!made) continue;
      if (!IsSlow(made->implementation)) return made;
      if (!fallback) fallback = std::move(made);
    }
    return fallback;
  }

  // Zeros that fill the last block are no more than half as many.
  static bool FillBlocks(int64_t channels) {
    const int64_t block = HasAvx512() ? 16 : 8;
    return (channels + block - 1) / block * block * 2 <= channels * 3;
  }

  std::vector<Candidate> Candidates(const Meta& src, const Numbers& numbers, const Shape& x,
                                    const Shape& w, const Shape& y) const {
    constexpr auto kFloat = DataType::kFloat;
    std::vector<Candidate> candidates;
    if (numbers.src != kFloat) {
      // Shorter numbers want channels last, which is what oneDNN chooses.
      const Layout dst = numbers.integers && numbers.integers->run_time
                             ? ChannelsLastLayout(numbers.dst, y)
                             : AnyLayout(numbers.dst, y);
      candidates.push_back({AnyLayout(numbers.src, x), dst});
      candidates.push_back({PlainLayout(numbers.src, x), PlainLayout(numbers.dst, y)});
      return candidates;
    }
    const Layout any_src = AnyLayout(kFloat, x), any_dst = AnyLayout(kFloat, y);
    const int64_t block = HasAvx512() ? 16 : 8;
    const bool depthwise = groups_ == x[1] && groups_ == w[0];
    const bool blocks_in = depthwise || (groups_ == 1 ? FillBlocks(x[1]) : w[1] % block == 0);
    const bool blocks_out =
        depthwise || (groups_ == 1 ? FillBlocks(w[0]) : (w[0] / groups_) % block == 0);
    const Layout blocked_dst = ChannelBlockedLayout(kFloat, y);
    if (HasAvx512() && blocks_in && blocks_out) {
      candidates.push_back({ChannelBlockedLayout(kFloat, x), blocked_dst});
    } else if (HasAvx512() && blocks_out && groups_ == 1 && x[1] <= 3) {
      // The first layer of an image net reads the image as it comes.
      candidates.push_back({PlainLayout(kFloat, x), blocked_dst});
    }
    candidates.push_back({any_src, any_dst});
    candidates.push_back({src.dnnl(), any_dst});
    return candidates;
  }

  const Window window_;
  const int64_t groups_;
  const Node node_;
  const bool has_integers_;
  const size_t w_;              // number of the weights among the inputs
  const PackedWeights packed_;  // empty if not constant
  WinogradWeights winograd_;
};

// output_shape, output_padding and pads of ConvTranspose, as ONNX computes them.
struct TransposedWindow {
  Window window;
  std::vector<int64_t> output_padding, output_shape;
};

absl::StatusOr<FittedWindow> FitTransposed(const TransposedWindow& t,
                                           absl::Span<const int64_t> kernel,
                                           absl::Span<const int64_t> spatial) {
  const size_t n = spatial.size();
  const auto or_default = [n](const std::vector<int64_t>& v, int64_t d) {
    return v.empty() ? std::vector<int64_t>(n, d) : v;
  };
  FittedWindow f;
  f.kernel.assign(kernel.begin(), kernel.end());
  f.strides = or_default(t.window.strides, 1);
  f.dilations = or_default(t.window.dilations, 1);
  const std::vector<int64_t> padding = or_default(t.output_padding, 0);
  std::vector<int64_t> pads =
      t.window.pads.empty() ? std::vector<int64_t>(2 * n, 0) : t.window.pads;
  const bool has_shape = !t.output_shape.empty();
  if (kernel.size() != n || f.strides.size() != n || f.dilations.size() != n ||
      padding.size() != n || pads.size() != 2 * n || (has_shape && t.output_shape.size() != n)) {
    return absl::InvalidArgumentError(
        absl::StrCat("attributes do not fit an input of ", n, " spatial dimensions"));
  }
  const bool same = absl::StartsWith(t.window.auto_pad, "SAME");
  for (size_t i = 0; i < n; ++i) {
    const int64_t reach = (f.kernel[i] - 1) * f.dilations[i] + 1;
    const int64_t full = f.strides[i] * (spatial[i] - 1) + padding[i] + reach;
    int64_t begin = pads[i], end = pads[i + n];
    if (has_shape || same) {
      const int64_t wanted = has_shape ? t.output_shape[i] : spatial[i] * f.strides[i];
      const int64_t total = std::max<int64_t>(0, full - wanted);
      // ONNX: all but SAME_UPPER put the odd one at the beginning.
      begin = t.window.auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
      f.output.push_back(has_shape ? wanted : full - total);
    } else {
      f.output.push_back(full - begin - end);
    }
    if (f.output.back() <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("spatial dimension ", i, " of the output is ", f.output.back()));
    }
    // oneDNN's rule for its right padding: the output is what the window reaches, less the pads.
    f.pads_begin.push_back(begin);
    f.pads_end.push_back(f.strides[i] * (spatial[i] - 1) + reach - begin - f.output.back());
  }
  return f;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeConv(const Node& node, const Graph& graph) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected inputs X and W");
  }
  ASSIGN_OR_RETURN(Window window, ParseWindow(node));
  ASSIGN_OR_RETURN(const int64_t groups, node.Int("group", 1));
  if (groups < 1) return absl::InvalidArgumentError(absl::StrCat("group is ", groups));
  Tensor weights;
  if (graph.is_constant(node.inputs[1])) weights = graph.constant(node.inputs[1]);
  return std::make_unique<ConvKernel>(std::move(window), groups, node, std::move(weights));
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeIntegerConv(const Node& node, const Graph& graph) {
  if (!node.has_input(kX) || !node.has_input(kW)) {
    return absl::InvalidArgumentError("expected an input and its weights");
  }
  ASSIGN_OR_RETURN(Window window, ParseWindow(node));
  ASSIGN_OR_RETURN(const int64_t groups, node.Int("group", 1));
  if (groups < 1) return absl::InvalidArgumentError(absl::StrCat("group is ", groups));
  const bool has_zero = node.has_input(kWZeroPoint);
  Tensor weights;
  if (graph.is_constant(node.inputs[kW]) &&
      (!has_zero || graph.is_constant(node.inputs[kWZeroPoint]))) {
    const Tensor* zero = has_zero ? &graph.constant(node.inputs[kWZeroPoint]) : nullptr;
    ASSIGN_OR_RETURN(weights, Int8Weights(graph.constant(node.inputs[kW]), zero));
  }
  return std::make_unique<ConvKernel>(std::move(window), groups, node, std::move(weights));
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeConvTranspose(const Node& node, const Graph&) {
  TransposedWindow t;
  ASSIGN_OR_RETURN(t.window, ParseWindow(node));
  ASSIGN_OR_RETURN(t.output_padding, node.Ints("output_padding", {}));
  ASSIGN_OR_RETURN(t.output_shape, node.Ints("output_shape", {}));
  ASSIGN_OR_RETURN(const int64_t groups, node.Int("group", 1));
  if (groups < 1) return absl::InvalidArgumentError(absl::StrCat("group is ", groups));
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape x = c.input(0).shape, w = c.input(1).shape;
    if (c.input(0).type != DataType::kFloat || c.input(1).type != DataType::kFloat) {
      return absl::UnimplementedError("only float is supported");
    }
    if (x.size() < 3 || x.size() > 5 || w.size() != x.size() || x[1] != w[0] ||
        w[0] % groups != 0) {
      return absl::InvalidArgumentError(absl::StrCat("input ", ShapeToString(x), " and weights ",
                                                     ShapeToString(w),
                                                     " do not fit group=", groups));
    }
    const absl::Span<const int64_t> kernel = t.window.kernel.empty()
                                                 ? absl::MakeConstSpan(w).subspan(2)
                                                 : absl::MakeConstSpan(t.window.kernel);
    ASSIGN_OR_RETURN(const FittedWindow fitted,
                     FitTransposed(t, kernel, absl::MakeConstSpan(x).subspan(2)));
    const int64_t out = w[1] * groups;
    Shape y = {x[0], out};
    y.insert(y.end(), fitted.output.begin(), fitted.output.end());
    c.SetOutput(0, DataType::kFloat, y);
    if (c.shapes_only()) return nullptr;
    // ONNX has the weights as (C, M/g, …); oneDNN wants (g,) M/g, C/g, …: a view with strides.
    dnnl::memory::dims dims, strides;
    int64_t inner = 1;
    for (size_t i = 2; i < w.size(); ++i) inner *= w[i];
    const int64_t per_group = w[0] / groups;
    if (groups > 1) {
      dims = {groups, w[1], per_group};
      strides = {per_group * w[1] * inner, inner, w[1] * inner};
    } else {
      dims = {w[1], per_group};
      strides = {inner, w[1] * inner};
    }
    for (size_t i = 2; i < w.size(); ++i) {
      inner /= w[i];
      dims.push_back(w[i]);
      strides.push_back(inner);
    }
    ConvSpec spec;
    spec.transposed = true;
    spec.src = PlainLayout(DataType::kFloat, x);
    spec.dst = PlainLayout(DataType::kFloat, y);
    spec.weights = Layout(dims, dnnl::memory::data_type::f32, strides);
    if (c.has_input(2)) spec.bias = PlainLayout(DataType::kFloat, {out});
    spec.strides = fitted.strides;
    spec.dilations = fitted.dilations;
    spec.pads_begin = fitted.pads_begin;
    spec.pads_end = fitted.pads_end;
    double flops = 2.0 * static_cast<double>(NumElements(x)) * static_cast<double>(w[1]);
    for (const int64_t k : kernel) flops *= static_cast<double>(k);
    const int threads = c.ThreadsFor(flops, 0);
    const ScopedThreads scope(threads);
    const std::optional<DnnlPrimitive> made = MakeConvolution(spec, MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN has no transposed convolution of this form");
    std::vector<DnnlArgument> arguments = {{DNNL_ARG_SRC, made->src, From::kInput, 0},
                                           {DNNL_ARG_WEIGHTS, made->weights, From::kInput, 1},
                                           {DNNL_ARG_DST, made->dst, From::kOutput, 0}};
    if (c.has_input(2)) arguments.push_back({DNNL_ARG_BIAS, made->bias, From::kInput, 2});
    return MakeDnnlStep(*made, std::move(arguments), threads, flops);
  });
}

}  // namespace baton::engine
