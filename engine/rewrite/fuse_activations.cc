// Activations that exporters spell out, back into one node: Gelu, Swish, HardSwish, HardSigmoid,
// Mish. Each is a product; the node that makes the whole product becomes the activation.
#include <cmath>

#include "engine/rewrite/matcher.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

struct Found {
  ValueId x = kNoValue;
  std::string op;
  std::map<std::string, AttributeValue> attributes;
};

class ActivationMatcher {
 public:
  ActivationMatcher(const Graph& graph, const std::vector<std::optional<Meta>>& metas)
      : m_(graph, metas) {}

  std::optional<Found> Match(const Node& node) const {
    const bool product = node.op == "Mul" || node.op == "Div";
    if (!node.domain.empty() || !product || node.inputs.size() != 2) return std::nullopt;
    const Matcher::Product p = m_.Factors(node.outputs[0]);
    if (p.factors.size() == 1) return HardSigmoid(p.scale, p.factors[0]);
    if (p.factors.size() != 2) return std::nullopt;
    for (const size_t i : {0, 1}) {
      const ValueId x = p.factors[i], gate = p.factors[1 - i];
      if (m_.FloatRank(x) < 1) continue;
      if (auto found = Gated(p.scale, x, gate)) return found;
    }
    return std::nullopt;
  }

 private:
  // scale · x · gate
  std::optional<Found> Gated(double scale, ValueId x, ValueId gate) const {
    if (IsClose(scale, 0.5)) {
      if (IsErfGate(x, gate)) return Found{x, "Gelu", {{"approximate", std::string("none")}}};
      if (IsTanhGate(x, gate)) return Found{x, "Gelu", {{"approximate", std::string("tanh")}}};
    }
    if (IsClose(scale, 1.0 / 6) && IsShiftedClip(x, gate)) return Found{x, "HardSwish", {}};
    if (!IsClose(scale, 1)) return std::nullopt;
    if (const Node* sigmoid = m_.OnlyMaker(gate, "Sigmoid")) {
      const std::optional<double> alpha = m_.ScaleOf(sigmoid->inputs[0], x);
      if (alpha) return Found{x, "Swish", {{"alpha", static_cast<float>(*alpha)}}};
    }
    if (const Node* hard = m_.OnlyMaker(gate, "HardSigmoid")) {
      const auto alpha = hard->Float("alpha", 0.2f), beta = hard->Float("beta", 0.5f);
      const bool fits = hard->inputs[0] == x && alpha.ok() && beta.ok() &&
                        IsClose(*alpha, 1.0 / 6) && IsClose(*beta, 0.5);
      if (fits) return Found{x, "HardSwish", {}};
    }
    if (const Node* tanh = m_.OnlyMaker(gate, "Tanh")) {
      const Node* softplus = m_.OnlyMaker(tanh->inputs[0], "Softplus");
      if (softplus != nullptr && softplus->inputs[0] == x) return Found{x, "Mish", {}};
    }
    return std::nullopt;
  }

  // The one term beside 1 of 1 + f(…), if `op` makes it; else null.
  const Node* OnePlus(ValueId gate, absl::string_view op) const {
    const Matcher::Sum sum = m_.Terms(gate);
    if (!IsClose(sum.shift, 1) || sum.terms.size() != 1) return nullptr;
    return m_.OnlyMaker(sum.terms[0], op);
  }

  // 1 + erf(x / √2)
  bool IsErfGate(ValueId x, ValueId gate) const {
    const Node* erf = OnePlus(gate, "Erf");
    if (erf == nullptr) return false;
    const std::optional<double> scale = m_.ScaleOf(erf->inputs[0], x);
    return scale && IsClose(*scale, std::sqrt(0.5));
  }

  // 1 + tanh(√(2/π) · (x + 0.044715 · x³))
  bool IsTanhGate(ValueId x, ValueId gate) const {
    const Node* tanh = OnePlus(gate, "Tanh");
    if (tanh == nullptr) return false;
    const Matcher::Product scaled = m_.Factors(tanh->inputs[0]);
    if (!IsClose(scaled.scale, std::sqrt(2 / M_PI)) || scaled.factors.size() != 1) return false;
    const Matcher::Sum sum = m_.Terms(scaled.factors[0]);
    if (sum.shift != 0 || sum.terms.size() != 2) return false;
    for (const size_t i : {0, 1}) {
      if (sum.terms[i] == x && IsScaledCube(sum.terms[1 - i], x)) return true;
    }
    return false;
  }

  bool IsScaledCube(ValueId id, ValueId x) const {
    const Matcher::Product cube = m_.Factors(id);
    if (!IsClose(cube.scale, 0.044715)) return false;
    int degree = 0;
    for (const ValueId factor : cube.factors) {
      if (factor == x) {
        ++degree;
      } else if (m_.IsPower(factor, x, 2)) {
        degree += 2;
      } else if (m_.IsPower(factor, x, 3)) {
        degree += 3;
      } else {
        return false;
      }
    }
    return degree == 3;
  }

  // clip(x + 3, 0, 6); x is any where kNoValue, and is then what was found.
  bool IsShiftedClip(ValueId x, ValueId id) const { return ShiftedClip(id) == x; }
  ValueId ShiftedClip(ValueId id) const {
    const Node* clip = m_.OnlyMaker(id, "Clip");
    if (clip == nullptr || !clip->has_input(1) || !clip->has_input(2)) return kNoValue;
    if (m_.Number(clip->inputs[1]) != 0.0 || !m_.IsNumber(clip->inputs[2], 6)) return kNoValue;
    const Matcher::Sum sum = m_.Terms(clip->inputs[0]);
    return IsClose(sum.shift, 3) && sum.terms.size() == 1 ? sum.terms[0] : kNoValue;
  }

  // clip(x + 3, 0, 6) / 6
  std::optional<Found> HardSigmoid(double scale, ValueId clip) const {
    const ValueId x = ShiftedClip(clip);
    if (!IsClose(scale, 1.0 / 6) || m_.FloatRank(x) < 1) return std::nullopt;
    return Found{x, "HardSigmoid", {{"alpha", 1.0f / 6}, {"beta", 0.5f}}};
  }

  const Matcher m_;
};

}  // namespace

void FuseActivations(Graph& graph, const std::vector<std::optional<Meta>>& metas) {
  std::vector<std::pair<Node*, Found>> found;
  const ActivationMatcher matcher(graph, metas);
  for (Node& node : graph.nodes) {
    if (std::optional<Found> match = matcher.Match(node)) {
      found.emplace_back(&node, *std::move(match));
    }
  }
  for (auto& [node, match] : found) {
    node->op = match.op;
    node->inputs = {match.x};
    node->attributes = std::move(match.attributes);
  }
  RemoveDeadNodes(graph);
}

}  // namespace baton::engine
