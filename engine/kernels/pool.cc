// MaxPool, AveragePool and the global pools on oneDNN, in the layout of their input.
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/window.h"

namespace baton::engine {
namespace {

class PoolKernel final : public Kernel {
 public:
  PoolKernel(dnnl::algorithm algorithm, Window window, bool global)
      : algorithm_(algorithm), window_(std::move(window)), global_(global) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Meta x = c.input(0);
    const bool bytes_too = algorithm_ == dnnl::algorithm::pooling_max;
    const bool byte = x.type == DataType::kInt8 || x.type == DataType::kUint8;
    if (x.type != DataType::kFloat && x.type != DataType::kBfloat16 && !(bytes_too && byte)) {
      return absl::UnimplementedError(
          absl::StrCat("element type ", DataTypeName(x.type), " is not supported; expected float"));
    }
    if (c.has_output(1)) return absl::UnimplementedError("the output Indices is not supported");
    if (x.shape.size() < 3 || x.shape.size() > 5) {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", ShapeToString(x.shape), ": expected rank 3 to 5"));
    }
    const auto spatial = absl::MakeConstSpan(x.shape).subspan(2);
    const auto kernel = global_ ? spatial : absl::MakeConstSpan(window_.kernel);
    ASSIGN_OR_RETURN(const FittedWindow fitted, FitWindow(window_, kernel, spatial));
    Shape y = {x.shape[0], x.shape[1]};
    y.insert(y.end(), fitted.output.begin(), fitted.output.end());
    if (c.shapes_only() || NumElements(y) == 0) {
      c.SetOutput(0, x.type, y);
      if (c.shapes_only()) return nullptr;
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    }
    PoolSpec spec;
    spec.algorithm = algorithm_;
    spec.src = x.dnnl();
    spec.kernel = fitted.kernel;
    spec.strides = fitted.strides;
    spec.dilations = fitted.dilations;
    spec.pads_begin = fitted.pads_begin;
    spec.pads_end = fitted.pads_end;
    const double bytes = static_cast<double>(x.bytes());
    const int threads = c.ThreadsFor(0, bytes);
    const ScopedThreads scope(threads);
    // The layout of the input for the output too, where oneDNN has it; else its own choice.
    spec.dst = x.layout ? AnyLayout(x.type, y) : PlainLayout(x.type, y);
    const std::optional<DnnlPrimitive> made = MakePooling(spec, MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN has no pooling of this form");
    c.SetOutput(0, Meta{x.type, y, made->dst});
    return MakeDnnlStep(*made,
                        {{DNNL_ARG_SRC, made->src, DnnlArgument::From::kInput, 0},
                         {DNNL_ARG_DST, made->dst, DnnlArgument::From::kOutput, 0}},
                        threads, 0);
  }

 private:
  const dnnl::algorithm algorithm_;
  const Window window_;
  const bool global_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakePool(const Node& node, const Graph&) {
  using dnnl::algorithm;
  const bool global = node.op == "GlobalAveragePool" || node.op == "GlobalMaxPool";
  if (global) {
    const bool max = node.op == "GlobalMaxPool";
    return std::make_unique<PoolKernel>(
        max ? algorithm::pooling_max : algorithm::pooling_avg_include_padding, Window(), true);
  }
  ASSIGN_OR_RETURN(Window window, ParseWindow(node));
  if (window.kernel.empty()) {
    return absl::InvalidArgumentError("attribute \"kernel_shape\" is missing");
  }
  if (node.op == "MaxPool") {
    return std::make_unique<PoolKernel>(algorithm::pooling_max, std::move(window), false);
  }
  ASSIGN_OR_RETURN(const int64_t include, node.Int("count_include_pad", 0));
  if (include != 0 && window.ceil_mode) {
    // The part of the last window that ceil_mode adds does not count, the padding does.
    return absl::UnimplementedError("count_include_pad=1 with ceil_mode=1 is not supported");
  }
  return std::make_unique<PoolKernel>(include != 0 ? algorithm::pooling_avg_include_padding
                                                   : algorithm::pooling_avg_exclude_padding,
                                      std::move(window), false);
}

}  // namespace baton::engine
