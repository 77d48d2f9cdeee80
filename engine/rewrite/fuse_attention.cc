// Attention that exporters spell out, back into one node:
//   softmax(scale · Q Kᵀ + mask) V,  each of rank 4 [batch, heads, rows, size]
//   or of rank 3 [batch · heads, rows, size]
// Where heads are made by transposing [batch, rows, heads, size] (or, of rank 3, [rows, heads,
// size]), the node reads and writes that (attribute heads_last), and the transposes vanish.
#include "absl/strings/str_cat.h"
#include "engine/rewrite/matcher.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

using Permutation = std::vector<int64_t>;
const Permutation kSwapHeads = {0, 2, 1, 3};  // [b, rows, heads, size] ↔ [b, heads, rows, size]
const Permutation kTransposeKeys = {0, 1, 3, 2};
const Permutation kHeadsOfKeys = {0, 2, 3, 1};  // both at once

// The same of rank 4, or, without the first dimension, of rank 3.
Permutation OfRank(int rank, const Permutation& perm) {
  if (rank == 4) return perm;
  Permutation shorter;
  for (size_t i = 1; i < perm.size(); ++i) shorter.push_back(perm[i] - 1);
  return shorter;
}

struct Found {
  int rank = 4;
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
    Found found;
    found.rank = m_.FloatRank(v);
    if (softmax == nullptr || (found.rank != 3 && found.rank != 4)) return std::nullopt;
    const auto axis = softmax->Int("axis", -1);
    if (!axis.ok() || (*axis != -1 && *axis != found.rank - 1)) return std::nullopt;
    double scale = 1;
    const Node* product = Scores(softmax->inputs[0], &found.mask, &scale);
    if (product == nullptr) return std::nullopt;
    const ValueId q = Unscaled(product->inputs[0], &scale);
    const ValueId keys = Unscaled(product->inputs[1], &scale);
    if (m_.FloatRank(q) != found.rank || m_.FloatRank(keys) != found.rank) return std::nullopt;
    found.scale = static_cast<float>(scale);
    if (!FindHeads(q, keys, v, found)) return std::nullopt;
    // Every batch and head by itself: nothing is broadcast.
    const Shape &a = m_.meta(q)->shape, &b = m_.meta(keys)->shape, &c = m_.meta(v)->shape;
    for (size_t i = 0; i + 2 < a.size(); ++i) {
      if (a[i] != b[i] || a[i] != c[i]) return std::nullopt;
    }
    Shape scores = a;
    scores.back() = b.back();
    if (!MaskFits(found.mask, scores)) return std::nullopt;
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
    const Permutation swap = OfRank(found.rank, kSwapHeads);
    const ValueId k =
        Before(keys, OfRank(found.rank, kTransposeKeys));  // [batch, heads, rows, size]
    const ValueId k_rows =
        k != kNoValue ? Before(k, swap) : Before(keys, OfRank(found.rank, kHeadsOfKeys));
    const ValueId q_rows = Before(q, swap), v_rows = Before(v, swap);
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
    if (meta == nullptr || meta->type != DataType::kFloat) return false;
    if (meta->shape.size() > scores.size()) return false;
    for (size_t i = 0; i < meta->shape.size(); ++i) {
      const int64_t d = meta->shape[meta->shape.size() - 1 - i];
      if (d != 1 && d != scores[scores.size() - 1 - i]) return false;
    }
    return true;
  }

  const Matcher m_;
};

// Appends `op`, without attributes, whose output is a new value.
ValueId Append(Graph& graph, const Node& like, const char* op, std::vector<ValueId> inputs,
               std::vector<Node>& nodes) {
  Node& node = nodes.emplace_back(like);
  node.op = op;
  node.inputs = std::move(inputs);
  node.attributes.clear();
  node.outputs = {graph.AddValue(absl::StrCat(like.name, "/", op))};
  return node.outputs[0];
}

// Appends what takes the place of `product`, with its output. Of rank 3 there is one batch of many
// heads where heads are last, else many batches of one head.
void AppendAttention(Graph& graph, const std::vector<std::optional<Meta>>& metas,
                     const Found& found, const Node& product, std::vector<Node>& nodes) {
  std::vector<ValueId> inputs = {found.q, found.k, found.v};
  ValueId axes = kNoValue;
  if (found.rank == 3) {
    const int64_t axis = found.heads_last ? 0 : 1;
    axes = graph.AddConstant(product.name + "/axes", Tensor::From<int64_t>({1}, {axis}));
    for (ValueId& input : inputs) input = Append(graph, product, "Unsqueeze", {input, axes}, nodes);
  }
  if (found.mask != kNoValue) {
    const bool whole = metas[static_cast<size_t>(found.mask)]->shape.size() == 3;
    const bool of_heads = found.rank == 3 && !found.heads_last && whole;
    inputs.push_back(of_heads ? Append(graph, product, "Unsqueeze", {found.mask, axes}, nodes)
                              : found.mask);
  }
  ValueId y = Append(graph, product, "Attention", std::move(inputs), nodes);
  nodes.back().attributes["scale"] = found.scale;
  if (found.heads_last) nodes.back().attributes["heads_last"] = int64_t{1};
  if (found.rank == 3) y = Append(graph, product, "Squeeze", {y, axes}, nodes);
  if (found.heads_last) {
    Append(graph, product, "Transpose", {y}, nodes);
    nodes.back().attributes["perm"] = OfRank(found.rank, kSwapHeads);
  }
  nodes.back().outputs = product.outputs;
}

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
    if (found[i]) {
      AppendAttention(graph, metas, *found[i], graph.nodes[i], nodes);
    } else {
      nodes.push_back(std::move(graph.nodes[i]));
    }
  }
  graph.nodes = std::move(nodes);
  RemoveDeadNodes(graph);
  JoinTransposes(graph);
}

}  // namespace baton::engine
