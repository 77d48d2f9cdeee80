// Products and convolutions on bfloat16: weights are rounded when they are packed, activations stay
// bfloat16 between operators that can read them so. Casts stand where float and bfloat16 meet.
// Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019.
#include <algorithm>
#include <iterator>
#include <map>

#include "engine/kernels/kernels.h"
#include "engine/kernels/row_product.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

class Lowerer {
 public:
  Lowerer(Graph& graph, const std::vector<std::optional<Meta>>& metas)
      : graph_(graph), metas_(metas) {}

  void Run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : nodes) {
      if (IsProduct(node)) {
        for (size_t i = 0; i < node.inputs.size(); ++i) {
          if (IsActivation(node, i)) node.inputs[i] = ToHalf(node.inputs[i]);
        }
        MarkOutputs(node);
      } else if (Follows(node)) {
        MarkOutputs(node);
      } else if (!AsksForShape(node)) {
        for (ValueId& id : node.inputs) id = ToFloat(id);
      }
      graph_.nodes.push_back(std::move(node));
    }
    for (ValueId& id : graph_.outputs) id = ToFloat(id);
    TakeCasts();
  }

 private:
  const Meta* meta(ValueId id) const {
    const auto i = static_cast<size_t>(id);
    return id != kNoValue && i < metas_.size() && metas_[i] ? &*metas_[i] : nullptr;
  }
  bool IsFloat(ValueId id) const {
    return meta(id) != nullptr && meta(id)->type == DataType::kFloat;
  }
  bool is_half(ValueId id) const { return halves_.count(id) > 0; }

  // Worth a cast of what it reads.
  bool IsProduct(const Node& node) const {
    if (!node.domain.empty() || node.inputs.size() < 2 || !IsFloat(node.inputs[0])) return false;
    if (!IsFloat(node.outputs[0]) || !graph_.is_constant(node.inputs[1])) return false;
    if (node.op == "Conv") return !graph_.is_constant(node.inputs[0]);
    if ((node.op != "MatMul" && node.op != "Gemm") || !IsDense(node, graph_)) return false;
    const Shape& weights = graph_.constant(node.inputs[1]).shape();
    return !RowProduct::IsSmall(weights[0], weights[1]);
  }
  // What such a node reads that is not constant: its input and a residual.
  static bool IsActivation(const Node& node, size_t i) {
    return node.has_input(i) && (i == 0 || i > 2);
  }

  // Reads bfloat16 and makes it, where all that it reads of activations is that.
  bool Follows(const Node& node) const {
    const bool known = node.domain.empty() || node.op == "DepthToSpace";
    if (!known || !node.has_input(0)) return false;
    size_t activations = 1;
    if (node.op == "Attention") {
      activations = 3;
    } else if (node.op == "Concat") {
      activations = node.inputs.size();
    } else if (node.op == "Add" || node.op == "Sub" || node.op == "Mul") {
      activations = 2;
      if (node.inputs.size() != 2 || !HaveOneShape(node.inputs[0], node.inputs[1])) return false;
    } else if (!FollowsOneInput(node)) {
      return false;
    }
    const auto end = node.inputs.begin() + static_cast<std::ptrdiff_t>(activations);
    return std::all_of(node.inputs.begin(), end, [this](ValueId id) { return is_half(id); });
  }
  static bool FollowsOneInput(const Node& node) {
    static constexpr const char* kOps[] = {
        "AveragePool",       "DepthToSpace", "Elu",       "Flatten",   "Gather",   "Gelu",
        "GlobalAveragePool", "HardSwish",    "LeakyRelu", "MaxPool",   "Mish",     "Relu",
        "GlobalMaxPool",     "Reshape",      "Sigmoid",   "Slice",     "Softplus", "Split",
        "Squeeze",           "Swish",        "Tanh",      "Transpose", "Unsqueeze"};
    if (node.op == "LayerNormalization" || node.op == "RMSNormalization") {
      return node.outputs.size() == 1;
    }
    return std::any_of(std::begin(kOps), std::end(kOps),
                       [&node](const char* op) { return node.op == op; });
  }
  bool HaveOneShape(ValueId a, ValueId b) const {
    return meta(a) != nullptr && meta(b) != nullptr && meta(a)->shape == meta(b)->shape;
  }

  static bool AsksForShape(const Node& node) {
    return node.domain.empty() && (node.op == "Shape" || node.op == "Size");
  }

  void MarkOutputs(const Node& node) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) halves_.insert({id, kNoValue});
    }
  }

  // The value as bfloat16, cast the first time.
  ValueId ToHalf(ValueId id) {
    if (is_half(id)) return id;
    const auto [it, added] = rounded_.emplace(id, kNoValue);
    if (added) {
      it->second = AddCast(id, DataType::kBfloat16);
      halves_.insert({it->second, id});
    }
    return it->second;
  }
  // The value as float.
  ValueId ToFloat(ValueId id) {
    const auto half = halves_.find(id);
    if (half == halves_.end()) return id;
    if (half->second == kNoValue) half->second = AddCast(id, DataType::kFloat);
    return half->second;
  }

  ValueId AddCast(ValueId from, DataType to) {
    graph_.nodes.push_back(MakeCast(graph_, from, to));
    return graph_.nodes.back().outputs[0];
  }

  // A product whose result is read as float only makes that itself.
  void TakeCasts() {
    const std::vector<int> uses = CountUses(graph_), producers = Producers(graph_);
    for (Node& cast : graph_.nodes) {
      if (cast.op != "Cast" || !cast.domain.empty() || !is_half(cast.inputs[0]) ||
          uses[static_cast<size_t>(cast.inputs[0])] != 1) {
        continue;
      }
      const int producer = producers[static_cast<size_t>(cast.inputs[0])];
      if (producer < 0) continue;
      Node& product = graph_.nodes[static_cast<size_t>(producer)];
      if (!IsProduct(product) || ResidualInput(product.post_ops) >= 0) continue;
      product.outputs[0] = cast.outputs[0];
      product.attributes[kFloatOutput] = int64_t{1};
      cast.op.clear();  // dead
    }
    std::erase_if(graph_.nodes, [](const Node& node) { return node.op.empty(); });
  }

  Graph& graph_;
  const std::vector<std::optional<Meta>>& metas_;
  std::map<ValueId, ValueId> rounded_;  // float value → its bfloat16
  std::map<ValueId, ValueId> halves_;   // bfloat16 value → its float, where there is one
};

}  // namespace

void LowerPrecision(Graph& graph, const std::vector<std::optional<Meta>>& metas) {
  Lowerer(graph, metas).Run();
}

}  // namespace baton::engine
