// Element-wise float activations, by oneDNN or by vectors of our own; they keep whatever layout
// their input has.
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/vector_activation.h"

namespace baton::engine {
namespace {

class ActivationKernel final : public Kernel {
 public:
  // `other_types` prepares what is not float; null: nothing does.
  ActivationKernel(const PostOp& activation, std::unique_ptr<Kernel> other_types)
      : eltwise_(*ToEltwise(activation.op, activation.alpha, activation.beta)),
        vector_(ToVectorActivation(activation)),
        other_types_(std::move(other_types)) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Meta x = c.input(0);
    const bool has_eltwise = x.type == DataType::kFloat || x.type == DataType::kBfloat16;
    if (!has_eltwise && other_types_ != nullptr) {
      if (x.layout) RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(x.type, x.shape)));
      return other_types_->Prepare(c);
    }
    if (!has_eltwise) {
      return absl::UnimplementedError(
          absl::StrCat("element type ", DataTypeName(x.type), " is not supported; expected float"));
    }
    c.SetMaybeInPlace(0, 0, x);
    if (c.shapes_only()) return nullptr;
    if (NumElements(x.shape) == 0) {
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    }
    const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
    if (vector_ && IsFasterAsVector(*vector_, x)) {
      return MakeActivationStep(*vector_, x, /*from=*/0, /*added=*/-1, threads);
    }
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
  const std::optional<VectorActivation> vector_;
  const std::unique_ptr<Kernel> other_types_;
};

PostOp Activation(std::string op, float alpha = 0, float beta = 0) {
  PostOp post_op;
  post_op.op = std::move(op);
  post_op.alpha = alpha;
  post_op.beta = beta;
  return post_op;
}

// Clip with constant bounds; absent ones are the type's.
absl::StatusOr<std::vector<PostOp>> ClipPostOps(const Node& node, const Graph& graph) {
  float bounds[2] = {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()};
  for (size_t i = 1; i <= 2; ++i) {
    if (!node.has_input(i)) continue;
    if (!graph.is_constant(node.inputs[i])) return std::vector<PostOp>();
    const Tensor& bound = graph.constant(node.inputs[i]);
    if (bound.type() != DataType::kFloat || bound.size() != 1) return std::vector<PostOp>();
    bounds[i - 1] = bound.values<float>()[0];
  }
  if (!(bounds[0] <= bounds[1])) return std::vector<PostOp>();
  return std::vector<PostOp>{Activation("Clip", bounds[0], bounds[1])};
}

}  // namespace

absl::StatusOr<std::vector<PostOp>> ActivationPostOps(const Node& node, const Graph& graph) {
  const std::string& op = node.op;
  if (!node.domain.empty() || !node.has_input(0)) return std::vector<PostOp>();
  if (op == "Clip") return ClipPostOps(node, graph);
  if (op == "HardSigmoid") {
    ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 0.2f));
    ASSIGN_OR_RETURN(const float beta, node.Float("beta", 0.5f));
    return std::vector<PostOp>{Activation("Linear", alpha, beta), Activation("Clip", 0, 1)};
  }
  if (op == "Gelu") {
    ASSIGN_OR_RETURN(const std::string approximate, node.String("approximate", "none"));
    if (approximate == "none") return std::vector<PostOp>{Activation("Gelu")};
    if (approximate == "tanh") return std::vector<PostOp>{Activation("GeluTanh")};
    return absl::InvalidArgumentError(
        absl::StrCat("attribute \"approximate\" is \"", approximate, "\"; expected none or tanh"));
  }
  if (op == "LeakyRelu" || op == "Elu" || op == "Swish") {
    ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", op == "LeakyRelu" ? 0.01f : 1.0f));
    return std::vector<PostOp>{Activation(op, alpha)};
  }
  for (const char* plain : {"Relu", "Sigmoid", "Tanh", "Softplus", "HardSwish", "Mish"}) {
    if (op == plain) return std::vector<PostOp>{Activation(op)};
  }
  return std::vector<PostOp>();
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeActivation(const Node& node, const Graph& graph) {
  if (!node.has_input(0)) return absl::InvalidArgumentError("expected an input");
  ASSIGN_OR_RETURN(const std::vector<PostOp> post_ops, ActivationPostOps(node, graph));
  BATON_CHECK_MSG(post_ops.size() == 1, node.op);
  std::unique_ptr<Kernel> other_types;
  if (node.op == "HardSwish" || node.op == "Mish") {
    ASSIGN_OR_RETURN(other_types, MakeUnary(node, graph));
  }
  return std::make_unique<ActivationKernel>(post_ops[0], std::move(other_types));
}

}  // namespace baton::engine
