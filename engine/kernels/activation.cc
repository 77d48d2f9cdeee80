// Element-wise float activations that oneDNN has; they keep whatever layout their input has.
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"

namespace baton::engine {
namespace {

class ActivationKernel final : public Kernel {
 public:
  explicit ActivationKernel(Eltwise eltwise) : eltwise_(eltwise) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Meta x = c.input(0);
    if (x.type != DataType::kFloat) {
      return absl::UnimplementedError(
          absl::StrCat("element type ", DataTypeName(x.type), " is not supported; expected float"));
    }
    c.SetMaybeInPlace(0, 0, x);
    if (c.shapes_only()) return nullptr;
    if (NumElements(x.shape) == 0) {
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    }
    const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
    const ScopedThreads scope(threads);
    const std::optional<DnnlPrimitive> made = MakeEltwise(x.dnnl(), eltwise_, MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN cannot do this");
    return MakeDnnlStep(*made,
                        {{DNNL_ARG_SRC, made->src, DnnlArgument::From::kInput, 0},
                         {DNNL_ARG_DST, made->dst, DnnlArgument::From::kOutput, 0}},
                        threads, 0);
  }

 private:
  const Eltwise eltwise_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeActivation(const Node& node, const Graph&) {
  float default_alpha = 0;
  if (node.op == "LeakyRelu") default_alpha = 0.01f;
  if (node.op == "Elu") default_alpha = 1.0f;
  ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", default_alpha));
  const std::optional<Eltwise> eltwise = ToEltwise(node.op, alpha, 0);
  if (!eltwise) return absl::UnimplementedError("no such activation");
  return std::make_unique<ActivationKernel>(*eltwise);
}

}  // namespace baton::engine
