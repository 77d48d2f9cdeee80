// Layer and RMS normalization that exporters spell out, back into one node:
//   (x - mean(x)) / √(mean((x - mean(x))²) + ε) · scale + bias,  or the same without the means
#include <algorithm>

#include "engine/rewrite/matcher.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

struct Norm {
  ValueId x = kNoValue;
  bool centred = false;
  int64_t axis = 0;
  float epsilon = 0;
  ValueId scale = kNoValue, bias = kNoValue;
};

// 1/√(mean(v²) + ε), as a denominator or a factor.
struct Deviation {
  ValueId squared = kNoValue;  // v
  int64_t axis = 0;
  float epsilon = 0;
};

class NormMatcher {
 public:
  NormMatcher(const Graph& graph, const std::vector<std::optional<Meta>>& metas)
      : graph_(graph), m_(graph, metas) {}

  std::optional<Norm> Match(const Node& node) const {
    if (!node.domain.empty() || node.inputs.size() != 2) return std::nullopt;
    if (node.op == "Div") return OfQuotient(node.inputs[0], node.inputs[1]);
    if (node.op == "Add") return OfExpanded(node);
    if (node.op != "Mul") return std::nullopt;
    for (const size_t i : {0, 1}) {
      if (auto norm = OfProduct(node.inputs[i], node.inputs[1 - i])) return norm;
    }
    return std::nullopt;
  }

  // A constant with one value for each element of `x` from `axis` on.
  bool IsAffine(ValueId id, const Shape& x, int64_t axis) const {
    if (!graph_.is_constant(id)) return false;
    const Tensor& constant = graph_.constant(id);
    Shape shape = constant.shape();
    if (constant.type() != DataType::kFloat || shape.size() > x.size()) return false;
    const Shape normalized(x.begin() + axis, x.end());
    while (shape.size() > normalized.size() && shape.front() == 1) shape.erase(shape.begin());
    return shape == normalized;
  }

  const Matcher& matcher() const { return m_; }

 private:
  std::optional<Norm> OfQuotient(ValueId dividend, ValueId divisor) const {
    const std::optional<Deviation> deviation = OfRoot(divisor);
    return deviation ? Centre(dividend, *deviation) : std::nullopt;
  }

  std::optional<Norm> OfProduct(ValueId x, ValueId inverse) const {
    const std::optional<Deviation> deviation = OfInverse(inverse);
    return deviation ? Centre(x, *deviation) : std::nullopt;
  }

  // √(mean(v²) + ε)
  std::optional<Deviation> OfRoot(ValueId id) const {
    const Node* root = m_.Maker(id, "Sqrt");
    return root == nullptr ? std::nullopt : OfVariance(root->inputs[0]);
  }

  // 1/√(mean(v²) + ε)
  std::optional<Deviation> OfInverse(ValueId id) const {
    if (const Node* inverse = m_.Maker(id, "Reciprocal")) return OfRoot(inverse->inputs[0]);
    if (const Node* div = m_.Maker(id, "Div")) {
      if (m_.IsNumber(div->inputs[0], 1)) return OfRoot(div->inputs[1]);
    }
    if (const Node* pow = m_.Maker(id, "Pow")) {
      if (m_.IsNumber(pow->inputs[1], -0.5)) return OfVariance(pow->inputs[0]);
    }
    return std::nullopt;
  }

  std::optional<Deviation> OfVariance(ValueId id) const {
    const Matcher::Sum sum = m_.Terms(id);
    if (!(sum.shift > 0) || sum.terms.size() != 1) return std::nullopt;
    ValueId squares = kNoValue;
    const std::optional<int64_t> axis = MeanAxis(sum.terms[0], &squares);
    if (!axis) return std::nullopt;
    for (const char* op : {"Pow", "Mul"}) {
      const Node* square = m_.Maker(squares, op);
      if (square == nullptr || !m_.IsPower(squares, square->inputs[0], 2)) continue;
      return Deviation{square->inputs[0], *axis, static_cast<float>(sum.shift)};
    }
    return std::nullopt;
  }

  // The first of the last axes over which `id` is the mean of `*of`, which stay as 1.
  std::optional<int64_t> MeanAxis(ValueId id, ValueId* of) const {
    const Node* mean = m_.Maker(id, "ReduceMean");
    if (mean == nullptr) return std::nullopt;
    const int64_t rank = m_.FloatRank(mean->inputs[0]);
    const auto keeps = mean->Int("keepdims", 1);
    if (rank < 1 || !keeps.ok() || *keeps == 0) return std::nullopt;
    if (!mean->has_input(1) || !graph_.is_constant(mean->inputs[1])) return std::nullopt;
    const Tensor& given = graph_.constant(mean->inputs[1]);
    if (given.type() != DataType::kInt64 || given.size() == 0) return std::nullopt;
    std::vector<int64_t> axes;
    for (const int64_t axis : given.values<int64_t>())
      axes.push_back(axis < 0 ? axis + rank : axis);
    std::sort(axes.begin(), axes.end());
    for (size_t i = 0; i < axes.size(); ++i) {
      if (axes[axes.size() - 1 - i] != rank - 1 - static_cast<int64_t>(i)) return std::nullopt;
    }
    *of = mean->inputs[0];
    return axes.front();
  }

  // x and its mean, if `id` is their difference.
  struct Difference {
    ValueId x, mean;
  };
  std::optional<Difference> Centred(ValueId id, int64_t axis) const {
    const Node* sub = m_.Maker(id, "Sub");
    ValueId of = kNoValue;
    if (sub == nullptr || MeanAxis(sub->inputs[1], &of) != axis || of != sub->inputs[0]) {
      return std::nullopt;
    }
    return Difference{sub->inputs[0], sub->inputs[1]};
  }

  // What is divided by the deviation: the very thing that it is the deviation of.
  std::optional<Norm> Centre(ValueId dividend, const Deviation& deviation) const {
    const auto top = Centred(dividend, deviation.axis);
    const auto below = Centred(deviation.squared, deviation.axis);
    if (top && below && top->x == below->x) {
      return Norm{top->x, true, deviation.axis, deviation.epsilon};
    }
    if (dividend != deviation.squared || m_.FloatRank(dividend) < 1) return std::nullopt;
    return Norm{dividend, false, deviation.axis, deviation.epsilon};
  }

  // x · m + (bias - mean(x) · m) with m = scale / deviation, as TensorFlow has it.
  std::optional<Norm> OfExpanded(const Node& node) const {
    for (const size_t i : {0, 1}) {
      const Node* scaled = m_.OnlyMaker(node.inputs[i], "Mul");
      const Node* shift = m_.OnlyMaker(node.inputs[1 - i], "Sub");
      const Node* mean_scaled = shift == nullptr ? nullptr : m_.OnlyMaker(shift->inputs[1], "Mul");
      if (scaled == nullptr || mean_scaled == nullptr) continue;
      for (const size_t j : {0, 1}) {
        const ValueId x = scaled->inputs[j], factor = scaled->inputs[1 - j];
        const bool same = mean_scaled->inputs[0] == factor || mean_scaled->inputs[1] == factor;
        const Node* product = same ? m_.Maker(factor, "Mul") : nullptr;
        if (product == nullptr) continue;
        const ValueId mean = mean_scaled->inputs[mean_scaled->inputs[0] == factor ? 1 : 0];
        for (const size_t k : {0, 1}) {
          const auto deviation = OfInverse(product->inputs[k]);
          const auto centred =
              deviation ? Centred(deviation->squared, deviation->axis) : std::nullopt;
          if (!centred || centred->x != x || centred->mean != mean) continue;
          const Shape& shape = m_.meta(x)->shape;
          if (!IsAffine(product->inputs[1 - k], shape, deviation->axis)) continue;
          if (!IsAffine(shift->inputs[0], shape, deviation->axis)) continue;
          return Norm{x,
                      true,
                      deviation->axis,
                      deviation->epsilon,
                      product->inputs[1 - k],
                      shift->inputs[0]};
        }
      }
    }
    return std::nullopt;
  }

  const Graph& graph_;
  const Matcher m_;
};

bool IsNorm(const Node& node) {
  return node.domain.empty() && (node.op == "LayerNormalization" || node.op == "RMSNormalization");
}

// A constant scale or bias after a normalization that has none yet becomes its own.
void AbsorbAffine(Graph& graph, const std::vector<std::optional<Meta>>& metas) {
  const std::vector<int> uses = CountUses(graph);
  std::vector<int> maker = Producers(graph);
  const NormMatcher matcher(graph, metas);
  for (Node& node : graph.nodes) {
    const bool scales = node.op == "Mul", shifts = node.op == "Add";
    if (!node.domain.empty() || (!scales && !shifts) || node.inputs.size() != 2) continue;
    for (const size_t i : {0, 1}) {
      const ValueId from = node.inputs[i], constant = node.inputs[1 - i];
      const int producer = maker[static_cast<size_t>(from)];
      if (producer < 0 || uses[static_cast<size_t>(from)] != 1) continue;
      Node& norm = graph.nodes[static_cast<size_t>(producer)];
      const bool takes = IsNorm(norm) && norm.outputs.size() == 1 && !norm.has_input(2) &&
                         (shifts ? norm.op == "LayerNormalization" : !norm.has_input(1));
      const Meta* x = takes ? matcher.matcher().meta(norm.inputs[0]) : nullptr;
      const auto given = norm.Int("axis", -1);
      if (x == nullptr || !given.ok()) continue;
      const auto rank = static_cast<int64_t>(x->shape.size());
      const int64_t axis = *given < 0 ? *given + rank : *given;
      if (axis < 0 || axis >= rank || !matcher.IsAffine(constant, x->shape, axis)) continue;
      norm.inputs.resize(shifts ? 3 : 2, kNoValue);
      norm.inputs[shifts ? 2 : 1] = constant;
      std::swap(norm.outputs, node.outputs);  // `node` is dead now
      maker[static_cast<size_t>(norm.outputs[0])] = producer;
      break;
    }
  }
}

}  // namespace

void FuseLayerNorm(Graph& graph, const std::vector<std::optional<Meta>>& metas) {
  std::vector<std::pair<Node*, Norm>> found;
  const NormMatcher matcher(graph, metas);
  for (Node& node : graph.nodes) {
    if (const std::optional<Norm> norm = matcher.Match(node)) found.emplace_back(&node, *norm);
  }
  for (const auto& [node, norm] : found) {
    node->op = norm.centred ? "LayerNormalization" : "RMSNormalization";
    node->inputs = {norm.x};
    if (norm.scale != kNoValue) node->inputs = {norm.x, norm.scale, norm.bias};
    node->attributes = {{"axis", norm.axis}, {"epsilon", norm.epsilon}};
  }
  RemoveDeadNodes(graph);
  AbsorbAffine(graph, metas);
  RemoveDeadNodes(graph);
}

}  // namespace baton::engine
