// Attention that exporters spell out, back into one node:
//   softmax(scale · Q Kᵀ + mask) V,  each of rank 4 [batch, heads, rows, size]
// Where heads are made by transposing [batch, rows, heads, size], the node reads and writes that
// (attribute heads_last), and the transposes vanish.
#include "engine/rewrite/matcher.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

using Permutation = std::vector<int64_t>;
const Permutation kSwapHeads = {0, 2, 1, 3};  // [b, rows, heads, size] ↔ [b, heads, rows, size]
const Permutation kTransposeKeys = {0, 1, 3, 2};
const Permutation kHeadsOfKeys = {0, 2, 3, 1};  // both at once

struct Found {
  ValueId q = kNoValue, k = kNoValue, v = kNoValue, mask = kNoValue;
  bool heads_last = false;  // q, k and v are before kSwapHeads
  float scale = 1;
};

class AttentionMatcher {
 public:
  AttentionMatcher(const Graph& graph, const std::vector<std::optional<Meta>>& metas)
      : m_(graph, metas) {}

  std::optional<Found> Match(const Node& node) const {
    if (!node.domain.empty() || node.op != "MatMul" || node.inputs.size() != 2) return std::nullopt;
    const Node* softmax = m_.OnlyMaker(node.inputs[0], "Softmax");
    const ValueId v = node.inputs[1];
    if (softmax == nullptr || m_.FloatRank(v) != 4) return std::nullopt;
    const auto axis = softmax->Int("axis", -1);
    if (!axis.ok() || (*axis != -1 && *axis != 3)) return std::nullopt;
    Found found;
    double scale = 1;
    const Node* product = Scores(softmax->inputs[0], &found.mask, &scale);
    if (product == nullptr) return std::nullopt;
    const ValueId q = Unscaled(product->inputs[0], &scale);
    const ValueId keys = Unscaled(product->inputs[1], &scale);
    if (m_.FloatRank(q) != 4 || m_.FloatRank(keys) != 4) return std::nullopt;
    found.scale = static_cast<float>(scale);
    if (!FindHeads(q, keys, v, found)) return std::nullopt;
    // Every batch and head by itself: nothing is broadcast.
    const Shape &a = m_.meta(q)->shape, &b = m_.meta(keys)->shape, &c = m_.meta(v)->shape;
    const bool fits = a[0] == b[0] && a[0] == c[0] && a[1] == b[1] && a[1] == c[1];
    if (!fits || !MaskFits(found.mask, {a[0], a[1], a[2], b[3]})) return std::nullopt;
    return found;
  }

 private:
  // The product in scale · Q Kᵀ [+ mask].
  const Node* Scores(ValueId id, ValueId* mask, double* scale) const {
    if (const Node* add = m_.OnlyMaker(id, "Add")) {
      for (const size_t i : {0, 1}) {
        *mask = add->inputs[1 - i];
        if (const Node* product = Scaled(add->inputs[i], scale)) return product;
      }
    }
    *mask = kNoValue;
    return Scaled(id, scale);
  }

  const Node* Scaled(ValueId id, double* scale) const {
    if (const Node* product = m_.OnlyMaker(id, "MatMul")) return product;
    const Matcher::Product p = m_.Factors(id);
    if (p.factors.size() != 1) return nullptr;
    *scale = p.scale;
    return m_.OnlyMaker(p.factors[0], "MatMul");
  }

  // x, where `id` is number · x; the number goes into `scale`.
  ValueId Unscaled(ValueId id, double* scale) const {
    const Matcher::Product p = m_.Factors(id);
    if (p.factors.size() != 1) return id;
    *scale *= p.scale;
    return p.factors[0];
  }

  // What `perm` was applied to, to make `id`; kNoValue if it was another one.
  ValueId Before(ValueId id, const Permutation& perm) const {
    const Node* transpose = m_.Maker(id, "Transpose");
    if (transpose == nullptr) return kNoValue;
    const auto given = transpose->Ints("perm", {});
    return given.ok() && *given == perm ? transpose->inputs[0] : kNoValue;
  }

  bool FindHeads(ValueId q, ValueId keys, ValueId v, Found& found) const {
    const ValueId k = Before(keys, kTransposeKeys);  // [batch, heads, rows, size]
    const ValueId k_rows = k != kNoValue ? Before(k, kSwapHeads) : Before(keys, kHeadsOfKeys);
    const ValueId q_rows = Before(q, kSwapHeads), v_rows = Before(v, kSwapHeads);
    found.heads_last = q_rows != kNoValue && k_rows != kNoValue && v_rows != kNoValue;
    if (found.heads_last) {
      found.q = q_rows;
      found.k = k_rows;
      found.v = v_rows;
      return true;
    }
    found.q = q;
    found.k = k;
    found.v = v;
    return k != kNoValue;
  }

  bool MaskFits(ValueId mask, const Shape& scores) const {
    if (mask == kNoValue) return true;
    const Meta* meta = m_.meta(mask);
    if (meta == nullptr || meta->type != DataType::kFloat || meta->shape.size() > 4) return false;
    for (size_t i = 0; i < meta->shape.size(); ++i) {
      const int64_t d = meta->shape[meta->shape.size() - 1 - i];
      if (d != 1 && d != scores[3 - i]) return false;
    }
    return true;
  }

  const Matcher m_;
};

// Two transposes in a row become one, or none.
void JoinTransposes(Graph& graph) {
  const std::vector<int> producers = Producers(graph);
  for (Node& node : graph.nodes) {
    if (!node.domain.empty() || node.op != "Transpose" || !node.has_input(0)) continue;
    const int producer = producers[static_cast<size_t>(node.inputs[0])];
    if (producer < 0) continue;
    const Node& first = graph.nodes[static_cast<size_t>(producer)];
    if (!first.domain.empty() || first.op != "Transpose") continue;
    const auto outer = node.Ints("perm", {}), inner = first.Ints("perm", {});
    if (!outer.ok() || !inner.ok() || outer->size() != inner->size() || outer->empty()) continue;
    Permutation perm;
    bool valid = true, identity = true;
    for (size_t i = 0; i < outer->size(); ++i) {
      const auto at = static_cast<size_t>((*outer)[i]);
      valid = valid && at < inner->size();
      if (!valid) break;
      perm.push_back((*inner)[at]);
      identity = identity && perm.back() == static_cast<int64_t>(i);
    }
    if (!valid) continue;
    node.inputs[0] = first.inputs[0];
    node.attributes["perm"] = perm;
    if (identity) ReplaceUses(graph, node.outputs[0], node.inputs[0]);
  }
  RemoveDeadNodes(graph);
}

}  // namespace

void FuseAttention(Graph& graph, const std::vector<std::optional<Meta>>& metas) {
  const AttentionMatcher matcher(graph, metas);
  std::vector<std::optional<Found>> found;
  for (const Node& node : graph.nodes) found.push_back(matcher.Match(node));
  std::vector<Node> nodes;
  for (size_t i = 0; i < found.size(); ++i) {
    Node& node = graph.nodes[i];
    if (!found[i]) {
      nodes.push_back(std::move(node));
      continue;
    }
    Node attention = node;
    attention.op = "Attention";
    attention.inputs = {found[i]->q, found[i]->k, found[i]->v};
    if (found[i]->mask != kNoValue) attention.inputs.push_back(found[i]->mask);
    attention.attributes = {{"scale", found[i]->scale}};
    if (found[i]->heads_last) {
      attention.attributes["heads_last"] = int64_t{1};
      attention.outputs = {graph.AddValue(node.name + "/rows")};
      node.op = "Transpose";
      node.inputs = attention.outputs;
      node.attributes = {{"perm", kSwapHeads}};
      nodes.push_back(std::move(attention));
      nodes.push_back(std::move(node));
    } else {
      nodes.push_back(std::move(attention));
    }
  }
  graph.nodes = std::move(nodes);
  RemoveDeadNodes(graph);
  JoinTransposes(graph);
}

}  // namespace baton::engine
