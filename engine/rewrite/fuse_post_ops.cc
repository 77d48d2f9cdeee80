#include "engine/base/status.h"
#include "engine/kernels/integer_product.h"
#include "engine/kernels/kernels.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

class Fuser {
 public:
  Fuser(Graph& graph, const std::vector<std::optional<Meta>>& metas)
      : graph_(graph),
        metas_(metas),
        uses_(CountUses(graph)),
        maker_(Producers(graph)),
        removed_(graph.nodes.size(), false) {}

  absl::Status Run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      Node& node = graph_.nodes[i];
      if (!node.domain.empty() || node.outputs.size() != 1 || !node.has_input(0)) continue;
      if (node.op == "Add") {
        removed_[i] = FuseNumber(node) || FuseAdd(node);
      } else if (node.op == "Mul") {
        removed_[i] = FuseNumber(node);
      } else {
        removed_[i] = FuseActivation(node);
      }
    }
    size_t index = 0;
    std::erase_if(graph_.nodes, [&](const Node&) { return removed_[index++]; });
    return absl::OkStatus();
  }

 private:
  const Meta* meta(ValueId id) const {
    const size_t i = static_cast<size_t>(id);
    return i < metas_.size() && metas_[i] ? &*metas_[i] : nullptr;
  }

  // The node that makes `id`, if it takes post-ops and nobody else reads `id`; else -1.
  int Target(ValueId id) const {
    if (id == kNoValue || uses_[static_cast<size_t>(id)] != 1) return -1;
    const int producer = maker_[static_cast<size_t>(id)];
    if (producer < 0) return -1;
    const Node& node = graph_.nodes[static_cast<size_t>(producer)];
    if (meta(id) == nullptr || meta(id)->type != DataType::kFloat) return -1;
    if (node.domain == "baton") return node.has_input(kXScale) ? producer : -1;
    if (!node.domain.empty()) return -1;
    if (node.op == "Conv") return producer;
    const bool product = node.op == "Gemm" || node.op == "MatMul";
    return product && IsDense(node, graph_) ? producer : -1;
  }

  void TakeOver(int target, const Node& from) {
    Node& node = graph_.nodes[static_cast<size_t>(target)];
    node.outputs[0] = from.outputs[0];
    maker_[static_cast<size_t>(from.outputs[0])] = target;
  }

  // A convolution whose scale comes with each run takes no post-ops, but for a bias.
  bool TakesPostOps(int target) const {
    const Node& node = graph_.nodes[static_cast<size_t>(target)];
    return node.op != "QuantConv" || graph_.is_constant(node.inputs[kXScale]);
  }

  // Room for the weights' bias as input 2, so that post-ops' inputs come after it.
  static int AddInput(Node& node, ValueId id) {
    if (node.inputs.size() < 3) node.inputs.resize(3, kNoValue);
    node.inputs.push_back(id);
    return static_cast<int>(node.inputs.size() - 1);
  }

  bool FuseActivation(const Node& node) {
    const auto post_ops = ActivationPostOps(node, graph_);
    if (!post_ops.ok() || post_ops->empty()) return false;  // a bad attribute fails the kernel
    const int target = Target(node.inputs[0]);
    if (target < 0 || !TakesPostOps(target)) return false;
    std::vector<PostOp>& target_ops = graph_.nodes[static_cast<size_t>(target)].post_ops;
    target_ops.insert(target_ops.end(), post_ops->begin(), post_ops->end());
    TakeOver(target, node);
    return true;
  }

  // A convolution's result after its activation, times a number or plus one: what comes before an
  // activation is in the weights by now.
  bool FuseNumber(const Node& node) {
    if (node.inputs.size() != 2 || !node.has_input(1)) return false;
    const size_t which = graph_.is_constant(node.inputs[0]) ? 0 : 1;
    if (!graph_.is_constant(node.inputs[which])) return false;
    const Tensor& number = graph_.constant(node.inputs[which]);
    if (number.type() != DataType::kFloat || number.size() != 1) return false;
    const ValueId x = node.inputs[1 - which];
    const int target = Target(x);
    if (target < 0 || meta(x)->shape.size() < number.shape().size()) return false;
    Node& producer = graph_.nodes[static_cast<size_t>(target)];
    if (!producer.domain.empty() || producer.op != "Conv") return false;
    const float value = number.values<float>()[0];
    std::vector<PostOp>& post_ops = producer.post_ops;
    if (post_ops.empty() || post_ops.back().op != "Linear") {
      PostOp identity;
      identity.op = "Linear";
      identity.alpha = 1;
      post_ops.push_back(std::move(identity));
    }
    PostOp& linear = post_ops.back();
    if (node.op == "Mul") {
      linear.alpha *= value;
      linear.beta *= value;
    } else {
      linear.beta += value;
    }
    TakeOver(target, node);
    return true;
  }

  bool FuseAdd(const Node& node) {
    if (node.inputs.size() != 2) return false;
    // The later producer can read what the earlier one made.
    const int targets[2] = {Target(node.inputs[0]), Target(node.inputs[1])};
    const size_t which = targets[1] > targets[0] ? 1 : 0;
    const int target = targets[which];
    if (target < 0) return false;
    const ValueId own = node.inputs[which], other = node.inputs[1 - which];
    Node& producer = graph_.nodes[static_cast<size_t>(target)];
    const Meta* other_meta = meta(other);
    if (other_meta == nullptr || other_meta->type != DataType::kFloat) return false;
    const Shape& shape = meta(own)->shape;
    if (graph_.is_constant(other)) return FuseBias(target, producer, node, other, shape);
    if (!TakesPostOps(target)) return false;
    if (other_meta->shape != shape || maker_[static_cast<size_t>(other)] >= target) return false;
    for (const PostOp& post_op : producer.post_ops) {
      if (post_op.kind == PostOp::Kind::kAddInput)
        return false;  // one sum is what oneDNN does well
    }
    PostOp add;
    add.kind = PostOp::Kind::kAddInput;
    add.input = AddInput(producer, other);
    producer.post_ops.push_back(std::move(add));
    TakeOver(target, node);
    return true;
  }

  bool FuseBias(int target, Node& producer, const Node& node, ValueId bias, const Shape& shape) {
    const bool matmul = producer.op == "MatMul", integers = !producer.domain.empty();
    const size_t input = matmul ? 2 : size_t{kBias};
    if ((!matmul && !integers) || producer.has_input(input) || !producer.post_ops.empty()) {
      return false;
    }
    // One number for each channel: the last dimension, of a convolution the second.
    Shape channels = graph_.constant(bias).shape();
    if (channels.size() > shape.size()) return false;
    channels.insert(channels.begin(), shape.size() - channels.size(), 1);
    const size_t axis = producer.op == "QuantConv" ? 1 : shape.size() - 1;
    if (shape.empty() || channels[axis] != shape[axis] ||
        graph_.constant(bias).size() != shape[axis]) {
      return false;
    }
    producer.inputs.resize(std::max(producer.inputs.size(), input + 1), kNoValue);
    producer.inputs[input] = bias;
    TakeOver(target, node);
    return true;
  }

  Graph& graph_;
  const std::vector<std::optional<Meta>>& metas_;
  const std::vector<int> uses_;
  std::vector<int> maker_;
  std::vector<bool> removed_;
};

}  // namespace

absl::Status FusePostOps(Graph& graph, const std::vector<std::optional<Meta>>& metas) {
  return Fuser(graph, metas).Run();
}

}  // namespace baton::engine
