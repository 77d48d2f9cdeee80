// What quantizers write, brought to products of integers (kernels/integer_product.h):
//   DequantizeLinear(x), DequantizeLinear(w) → Conv, MatMul, Gemm → QuantizeLinear
//   DynamicQuantizeLinear → MatMulInteger, ConvInteger → Cast → Mul by the scales
//   QLinearConv, QLinearMatMul, and those of domain com.microsoft: as the first form
// Jacob et al., "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", 2018.
#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/kernels/integer_product.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

constexpr int kNewest = 21;  // operator set of nodes that are made here

// A tensor with its scale and zero point.
struct Quantized {
  ValueId q = kNoValue, scale = kNoValue, zero = kNoValue;
};

// Operators on integers, spelled out as DequantizeLinear, the operator, QuantizeLinear.
class Expander {
 public:
  explicit Expander(Graph& graph) : graph_(graph) {}

  void Run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : nodes) {
      if (!Expand(node)) graph_.nodes.push_back(std::move(node));
    }
  }

 private:
  static ValueId Input(const Node& node, size_t i) {
    return node.has_input(i) ? node.inputs[i] : kNoValue;
  }
  static Quantized Triple(const Node& node, size_t i) {
    return {Input(node, i), Input(node, i + 1), Input(node, i + 2)};
  }

  bool Expand(Node& node) {
    if (!node.has_input(0) || !node.has_output(0)) return false;
    const bool own = node.domain.empty(), microsoft = node.domain == "com.microsoft";
    if (microsoft && (node.op == "QuantizeLinear" || node.op == "DequantizeLinear")) {
      node.domain.clear();
      node.opset = kNewest;
      return false;
    }
    if (own && node.op == "QLinearConv") {
      const Quantized x = Triple(node, 0), w = Triple(node, 3);
      std::vector<ValueId> inputs = {Dequantize(node, x, 0), Dequantize(node, w, 0)};
      if (node.has_input(8)) inputs.push_back(Bias(node, x.scale, w.scale, node.inputs[8]));
      return Finish(node, "Conv", std::move(inputs), 6);
    }
    if (own && node.op == "QLinearMatMul") {
      return Finish(node, "MatMul",
                    {Dequantize(node, Triple(node, 0), -2), Dequantize(node, Triple(node, 3), -1)},
                    6);
    }
    if (!microsoft) return false;
    if (node.op == "QLinearAdd" || node.op == "QLinearMul") {
      return Finish(node, node.op.substr(7),
                    {Dequantize(node, Triple(node, 0), 0), Dequantize(node, Triple(node, 3), 0)},
                    6);
    }
    if (node.op == "QGemm") {
      const Quantized a = Triple(node, 0), b = Triple(node, 3);
      const auto transposed = node.Int("transB", 0);
      if (!transposed.ok()) return false;
      std::vector<ValueId> inputs = {Dequantize(node, a, 0),
                                     Dequantize(node, b, *transposed != 0 ? 0 : 1)};
      if (node.has_input(6)) inputs.push_back(Bias(node, a.scale, b.scale, node.inputs[6]));
      return Finish(node, "Gemm", std::move(inputs), 7);
    }
    if (node.op == "QLinearConcat" && node.inputs.size() > 2) {
      std::vector<ValueId> inputs;
      for (size_t i = 2; i + 2 < node.inputs.size(); i += 3) {
        inputs.push_back(Dequantize(node, Triple(node, i), 0));
      }
      std::rotate(node.inputs.begin(), node.inputs.begin() + 2, node.inputs.end());
      return Finish(node, "Concat", std::move(inputs), node.inputs.size() - 2);
    }
    const auto channels_last = node.Int("channels_last", 0);
    if (!channels_last.ok() || *channels_last != 0) return false;
    for (const char* op : {"Sigmoid", "LeakyRelu", "GlobalAveragePool", "AveragePool", "Softmax"}) {
      if (node.op != absl::StrCat("QLinear", op)) continue;
      node.attributes.erase("channels_last");
      node.attributes.erase("opset");
      return Finish(node, op, {Dequantize(node, Triple(node, 0), 0)}, 3);
    }
    return false;
  }

  ValueId Add(const Node& from, const std::string& suffix, const std::string& op,
              std::vector<ValueId> inputs, std::map<std::string, AttributeValue> attributes = {}) {
    Node node;
    node.name = from.name + suffix;
    node.op = op;
    node.opset = kNewest;
    node.inputs = std::move(inputs);
    node.outputs = {graph_.AddValue(node.name)};
    node.attributes = std::move(attributes);
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back().outputs[0];
  }

  ValueId Dequantize(const Node& from, const Quantized& x, int64_t axis) {
    return Add(from, absl::StrCat("/dequantize_", x.q), "DequantizeLinear", {x.q, x.scale, x.zero},
               {{"axis", axis}});
  }
  // int32, with the scale of what it is added to.
  ValueId Bias(const Node& from, ValueId x_scale, ValueId w_scale, ValueId bias) {
    const ValueId scale = Add(from, "/bias_scale", "Mul", {x_scale, w_scale});
    return Add(from, "/bias", "DequantizeLinear", {bias, scale}, {{"axis", int64_t{0}}});
  }

  // `node` becomes `op` on these inputs; its result is quantized with the scale that is input
  // `y_scale`, where there is one.
  bool Finish(Node& node, const std::string& op, std::vector<ValueId> inputs, size_t y_scale) {
    const ValueId scale = Input(node, y_scale), zero = Input(node, y_scale + 1);
    const ValueId y = node.outputs[0];
    Node product = node;
    product.domain.clear();
    product.op = op;
    product.opset = kNewest;
    product.inputs = std::move(inputs);
    if (scale == kNoValue) {
      graph_.nodes.push_back(std::move(product));
      return true;
    }
    product.outputs = {graph_.AddValue(node.name + "/float")};
    const ValueId result = product.outputs[0];
    graph_.nodes.push_back(std::move(product));
    Node quantize;
    quantize.name = node.name + "/quantize";
    quantize.op = "QuantizeLinear";
    quantize.opset = kNewest;
    quantize.inputs = {result, scale, zero};
    quantize.outputs = {y};
    graph_.nodes.push_back(std::move(quantize));
    return true;
  }

  Graph& graph_;
};

// Each DequantizeLinear comes right after what makes its input, so that who reads it late can be
// computed early.
void HoistDequantize(Graph& graph) {
  std::vector<std::vector<size_t>> hoisted(graph.values.size());
  std::vector<bool> moves(graph.nodes.size(), false);
  const std::vector<int> producers = Producers(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (!node.domain.empty() || node.op != "DequantizeLinear" || !node.has_input(0) ||
        !node.has_input(1)) {
      continue;
    }
    const bool constants = graph.is_constant(node.inputs[1]) &&
                           (!node.has_input(2) || graph.is_constant(node.inputs[2]));
    if (!constants || producers[static_cast<size_t>(node.inputs[0])] < 0) continue;
    moves[i] = true;
    hoisted[static_cast<size_t>(node.inputs[0])].push_back(i);
  }
  std::vector<Node> ordered;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (moves[i]) continue;
    ordered.push_back(std::move(graph.nodes[i]));
    const std::vector<ValueId> outputs = ordered.back().outputs;
    for (const ValueId id : outputs) {
      if (id == kNoValue) continue;
      for (const size_t j : hoisted[static_cast<size_t>(id)]) {
        ordered.push_back(std::move(graph.nodes[j]));
      }
    }
  }
  graph.nodes = std::move(ordered);
}

// int8 with zero point z is uint8 with z + 128: the same numbers, for which there are faster
// products. Values that only DequantizeLinear reads.
class UnsignedMaker {
 public:
  explicit UnsignedMaker(Graph& graph) : graph_(graph) {}

  void Run() {
    const std::vector<int> uses = CountUses(graph_);
    std::vector<std::vector<Node*>> readers(graph_.values.size());
    for (Node& node : graph_.nodes) {
      if (IsSigned(node, "DequantizeLinear")) {
        readers[static_cast<size_t>(node.inputs[0])].push_back(&node);
      }
    }
    for (Node& node : graph_.nodes) {
      if (!IsSigned(node, "QuantizeLinear")) continue;
      const auto bytes = static_cast<size_t>(node.outputs[0]);
      if (uses[bytes] != static_cast<int>(readers[bytes].size())) continue;
      Shift(node);
      for (Node* reader : readers[bytes]) Shift(*reader);
    }
  }

 private:
  bool IsSigned(const Node& node, absl::string_view op) const {
    return node.domain.empty() && node.op == op && node.has_input(0) && node.has_input(2) &&
           node.has_output(0) && graph_.is_constant(node.inputs[2]) &&
           graph_.constant(node.inputs[2]).type() == DataType::kInt8;
  }

  void Shift(Node& node) {
    const auto [it, added] = shifted_.emplace(node.inputs[2], kNoValue);
    if (added) {
      const Tensor& zeros = graph_.constant(node.inputs[2]);
      Tensor tensor(DataType::kUint8, zeros.shape());
      const auto to = tensor.mutable_values<uint8_t>();
      for (size_t i = 0; i < to.size(); ++i) {
        to[i] = static_cast<uint8_t>(zeros.values<int8_t>()[i] + 128);
      }
      const std::string name = graph_.values[static_cast<size_t>(node.inputs[2])].name;
      it->second = graph_.AddConstant(name + "/unsigned", std::move(tensor));
    }
    node.inputs[2] = it->second;
    node.attributes.erase("output_dtype");
  }

  Graph& graph_;
  std::map<ValueId, ValueId> shifted_;
};

bool SameConstant(const Graph& graph, ValueId a, ValueId b) {
  if (a == b) return true;
  if (!graph.is_constant(a) || !graph.is_constant(b)) return false;
  const Tensor &x = graph.constant(a), &y = graph.constant(b);
  return x.type() == y.type() && x.size() == y.size() &&
         std::memcmp(x.data(), y.data(), x.bytes()) == 0;
}

bool IsFloatNumber(const Graph& graph, ValueId id) {
  return graph.is_constant(id) && graph.constant(id).type() == DataType::kFloat &&
         graph.constant(id).size() == 1;
}

// What a graph looks like around its quantized values. It changes under the rewrite: nodes stay
// where they are.
class QuantizationFuser {
 public:
  explicit QuantizationFuser(Graph& graph) : graph_(graph) { Index(); }

  void FuseProducts() {
    for (Node& node : graph_.nodes) FuseRunTimeProduct(node);
    Index();
    for (Node& node : graph_.nodes) {
      if (IsOp(node, "MatMulInteger") || IsOp(node, "ConvInteger")) TakeSums(node);
      FuseProduct(node);
    }
    RemoveDeadNodes(graph_);
  }

  void DropPairs() {
    for (Node& node : graph_.nodes) BypassToSum(node);
    Index();
    for (Node& node : graph_.nodes) DropPair(node);
    RemoveDeadNodes(graph_);
  }

 private:
  // A broken node is none: its kernel reports it.
  static bool IsOp(const Node& node, absl::string_view op) {
    static constexpr absl::string_view kOfTwo[] = {"QuantizeLinear", "DequantizeLinear",
                                                   "MatMulInteger", "ConvInteger"};
    const bool of_two = std::find(std::begin(kOfTwo), std::end(kOfTwo), op) != std::end(kOfTwo);
    return node.domain.empty() && node.op == op && node.has_input(0) && node.has_output(0) &&
           (!of_two || node.has_input(1));
  }

  void Index() {
    uses_ = CountUses(graph_);
    producers_ = Producers(graph_);
    readers_.assign(graph_.values.size(), {});
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      for (const ValueId id : graph_.nodes[i].inputs) {
        if (id != kNoValue) readers_[static_cast<size_t>(id)].push_back(i);
      }
    }
  }

  const Node* Maker(ValueId id, absl::string_view op) const {
    const int producer = id == kNoValue ? -1 : producers_[static_cast<size_t>(id)];
    if (producer < 0) return nullptr;
    const Node& node = graph_.nodes[static_cast<size_t>(producer)];
    return IsOp(node, op) && node.outputs[0] == id ? &node : nullptr;
  }
  int uses(ValueId id) const { return uses_[static_cast<size_t>(id)]; }

  // A constant number: of a scale or a zero point. Absent is one, too.
  bool IsNumber(ValueId id) const {
    return id == kNoValue || (graph_.is_constant(id) && graph_.constant(id).size() == 1);
  }
  bool IsByte(ValueId id) const {
    if (!graph_.is_constant(id)) return false;
    const DataType type = graph_.constant(id).type();
    return type == DataType::kInt8 || type == DataType::kUint8;
  }

  static Quantized Operands(const Node& node) {
    return {node.inputs[0], node.inputs[1], node.has_input(2) ? node.inputs[2] : kNoValue};
  }

  // What DequantizeLinear reads to make `id`: bytes with one constant scale.
  std::optional<Quantized> Activation(ValueId id) const {
    const Node* node = Maker(id, "DequantizeLinear");
    if (node == nullptr) return std::nullopt;
    const Quantized x = Operands(*node);
    // Without a zero point the type is unknown here: quantizers always give one.
    if (!IsFloatNumber(graph_, x.scale) || x.zero == kNoValue || !IsNumber(x.zero) ||
        !IsByte(x.zero)) {
      return std::nullopt;
    }
    return x;
  }

  // Constant bytes with one scale, or one for each index along `axis`, that int8 holds.
  std::optional<Quantized> Weights(ValueId id, size_t rank, size_t axis) const {
    const Node* node = Maker(id, "DequantizeLinear");
    if (node == nullptr) return std::nullopt;
    const Quantized w = Operands(*node);
    if (!graph_.is_constant(w.q) || !graph_.is_constant(w.scale)) return std::nullopt;
    const Tensor &q = graph_.constant(w.q), &scale = graph_.constant(w.scale);
    if (scale.type() != DataType::kFloat || (rank > 0 && q.shape().size() != rank) ||
        axis >= q.shape().size()) {
      return std::nullopt;
    }
    if (scale.size() != 1) {
      const auto given = node->Int("axis", 1);
      if (!given.ok()) return std::nullopt;
      const int64_t at = *given < 0 ? *given + static_cast<int64_t>(q.shape().size()) : *given;
      if (at != static_cast<int64_t>(axis) || scale.size() != q.shape()[axis]) return std::nullopt;
    }
    if (!Centers(w.q, w.zero, axis)) return std::nullopt;
    return w;
  }

  bool Centers(ValueId q, ValueId zero, size_t axis) const {
    if (!graph_.is_constant(q) || (zero != kNoValue && !graph_.is_constant(zero))) return false;
    const Tensor* zeros = zero == kNoValue ? nullptr : &graph_.constant(zero);
    return CenteredWeights(graph_.constant(q), zeros, axis).has_value();
  }

  // A constant int32 of zeros, or absent.
  bool IsZero(ValueId id) const {
    if (id == kNoValue) return true;
    if (!graph_.is_constant(id) || graph_.constant(id).type() != DataType::kInt32) return false;
    const auto values = graph_.constant(id).values<int32_t>();
    return std::all_of(values.begin(), values.end(), [](int32_t v) { return v == 0; });
  }

  // The bias as a float constant: `id` is one, or DequantizeLinear of one. nullopt: it is neither.
  std::optional<ValueId> Bias(ValueId id, int64_t channels) {
    if (graph_.is_constant(id)) {
      const Tensor& bias = graph_.constant(id);
      if (bias.type() != DataType::kFloat || bias.size() != channels) return std::nullopt;
      return id;
    }
    const Node* node = Maker(id, "DequantizeLinear");
    if (node == nullptr) return std::nullopt;
    const Quantized b = Operands(*node);
    if (!graph_.is_constant(b.q) || !graph_.is_constant(b.scale)) return std::nullopt;
    const Tensor &q = graph_.constant(b.q), &scale = graph_.constant(b.scale);
    if (q.type() != DataType::kInt32 || q.size() != channels || scale.type() != DataType::kFloat ||
        (scale.size() != 1 && scale.size() != channels) || !IsZero(b.zero)) {
      return std::nullopt;
    }
    Tensor bias(DataType::kFloat, {channels});
    for (size_t i = 0; i < static_cast<size_t>(channels); ++i) {
      bias.mutable_values<float>()[i] = static_cast<float>(q.values<int32_t>()[i]) *
                                        scale.values<float>()[scale.size() == 1 ? 0 : i];
    }
    return graph_.AddConstant(node->name + "/bias", std::move(bias));
  }

  static void Become(Node& node, const char* op, const Quantized& x, const Quantized& w,
                     ValueId bias) {
    node.domain = "baton";
    node.op = op;
    node.opset = 1;
    node.inputs.assign(kIntegerProductInputs, kNoValue);
    node.inputs[kX] = x.q;
    node.inputs[kXScale] = x.scale;
    node.inputs[kXZeroPoint] = x.zero;
    node.inputs[kW] = w.q;
    node.inputs[kWScale] = w.scale;
    node.inputs[kWZeroPoint] = w.zero;
    node.inputs[kBias] = bias;
  }

  // Conv, MatMul or Gemm of two dequantized operands, the second constant.
  void FuseProduct(Node& node) {
    const bool conv = IsOp(node, "Conv"), gemm = IsOp(node, "Gemm");
    if ((!conv && !gemm && !IsOp(node, "MatMul")) || !node.has_input(1)) return;
    size_t axis = conv ? 0 : 1;
    if (gemm) {
      const auto alpha = node.Float("alpha", 1), beta = node.Float("beta", 1);
      const auto transposed_a = node.Int("transA", 0), transposed_b = node.Int("transB", 0);
      if (!alpha.ok() || *alpha != 1 || !beta.ok() || *beta != 1 || !transposed_a.ok() ||
          *transposed_a != 0 || !transposed_b.ok()) {
        return;
      }
      axis = *transposed_b != 0 ? 0 : 1;
    }
    const std::optional<Quantized> x = Activation(node.inputs[0]);
    const std::optional<Quantized> w = Weights(node.inputs[1], conv ? 0 : 2, axis);
    if (!x || !w) return;
    std::optional<ValueId> bias = kNoValue;
    if (node.has_input(2)) bias = Bias(node.inputs[2], graph_.constant(w->q).shape()[axis]);
    if (bias) Become(node, conv ? "QuantConv" : "QuantMatMul", *x, *w, *bias);
  }

  // Mul(Cast(MatMulInteger(x, w)), x_scale · w_scale), or ConvInteger.
  void FuseRunTimeProduct(Node& node) {
    if (!IsOp(node, "Mul") || node.inputs.size() != 2) return;
    for (const size_t i : {0, 1}) {
      const Node* cast = Maker(node.inputs[i], "Cast");
      if (cast == nullptr || uses(node.inputs[i]) != 1) continue;
      const auto to = cast->Int("to", 0);
      if (!to.ok() || static_cast<DataType>(*to) != DataType::kFloat) continue;
      const Node* product = Maker(cast->inputs[0], "MatMulInteger");
      if (product == nullptr) product = Maker(cast->inputs[0], "ConvInteger");
      if (product == nullptr || uses(cast->inputs[0]) != 1) continue;
      if (TakeScales(node, *product, node.inputs[1 - i])) return;
    }
  }

  bool TakeScales(Node& node, const Node& product, ValueId scales) {
    const bool conv = product.op == "ConvInteger";
    const size_t axis = conv ? 0 : 1;
    const Quantized x = {product.inputs[0], kNoValue,
                         product.has_input(2) ? product.inputs[2] : kNoValue};
    Quantized w = {product.inputs[1], kNoValue,
                   product.has_input(3) ? product.inputs[3] : kNoValue};
    const Node* both = Maker(scales, "Mul");
    if (both == nullptr || !graph_.is_constant(w.q)) return false;
    const Tensor& weights = graph_.constant(w.q);
    if ((!conv && weights.shape().size() != 2) || !Centers(w.q, w.zero, axis)) return false;
    for (const size_t i : {0, 1}) {
      const ValueId own = both->inputs[i], other = both->inputs[1 - i];
      if (!graph_.is_constant(own)) continue;
      const Tensor& scale = graph_.constant(own);
      if (scale.type() != DataType::kFloat ||
          (scale.size() != 1 && scale.size() != weights.shape()[axis])) {
        continue;
      }
      // The other is one number: what DynamicQuantizeLinear makes beside its bytes.
      const int maker = producers_[static_cast<size_t>(other)];
      if (maker < 0 || !IsOp(graph_.nodes[static_cast<size_t>(maker)], "DynamicQuantizeLinear")) {
        continue;
      }
      w.scale = own;
      const Node taken = product;
      Become(node, conv ? "QuantConv" : "QuantMatMul", {x.q, other, x.zero}, w, kNoValue);
      node.attributes = taken.attributes;
      return true;
    }
    return false;
  }

  // MatMulInteger or ConvInteger as it is.
  static void TakeSums(Node& node) {
    const bool conv = node.op == "ConvInteger";
    const Quantized x = {node.inputs[0], kNoValue, node.has_input(2) ? node.inputs[2] : kNoValue};
    const Quantized w = {node.inputs[1], kNoValue, node.has_input(3) ? node.inputs[3] : kNoValue};
    Become(node, conv ? "QuantConv" : "QuantMatMul", x, w, kNoValue);
  }

  // x, where `id` is DequantizeLinear(QuantizeLinear(x)) with the same numbers, all constant, which
  // nobody else reads.
  ValueId BeforeOwnPair(ValueId id) const {
    const std::optional<Quantized> d = uses(id) == 1 ? Activation(id) : std::nullopt;
    if (!d || uses(d->q) != 1) return kNoValue;
    return BeforePair(*d);
  }
  ValueId BeforePair(const Quantized& d) const {
    const Node* quantize = Maker(d.q, "QuantizeLinear");
    if (quantize == nullptr) return kNoValue;
    const Quantized q = Operands(*quantize);
    if (!SameConstant(graph_, q.scale, d.scale) || q.zero == kNoValue ||
        !SameConstant(graph_, q.zero, d.zero)) {
      return kNoValue;
    }
    return q.q;
  }
  // The product that makes `id`, perhaps with a bias, for one reader; else -1.
  int ProductOf(ValueId id) const {
    const int maker = id == kNoValue ? -1 : producers_[static_cast<size_t>(id)];
    if (maker < 0 || uses(id) != 1) return -1;
    const Node& node = graph_.nodes[static_cast<size_t>(maker)];
    if (IsOp(node, "Add") && node.inputs.size() == 2) {
      for (const size_t i : {0, 1}) {
        if (graph_.is_constant(node.inputs[i])) return ProductOf(node.inputs[1 - i]);
      }
    }
    return node.domain == "baton" && node.has_input(kXScale) ? maker : -1;
  }

  // An Add takes one of its terms as it comes from a product, which will make the sum; the other
  // stays quantized.
  void BypassToSum(Node& node) {
    if (!IsOp(node, "Add") || node.inputs.size() != 2) return;
    int latest = -1;
    size_t which = 0;
    ValueId term = kNoValue;
    for (const size_t i : {0, 1}) {
      const ValueId before = BeforeOwnPair(node.inputs[i]);
      const ValueId found = before == kNoValue ? node.inputs[i] : before;
      const int maker = ProductOf(found);
      if (maker <= latest) continue;
      latest = maker;
      which = i;
      term = found;
    }
    if (latest < 0 || !Activation(node.inputs[1 - which])) return;
    node.inputs[which] = term;
    sums_.push_back(node.outputs[0]);
  }

  // Numbers that are never negative, whatever the input.
  bool IsNonNegative(ValueId id, int depth = 0) const {
    const int maker = id == kNoValue || depth > 4 ? -1 : producers_[static_cast<size_t>(id)];
    if (maker < 0) {
      if (!graph_.is_constant(id) || graph_.constant(id).type() != DataType::kFloat) return false;
      const auto values = graph_.constant(id).values<float>();
      return std::all_of(values.begin(), values.end(), [](float v) { return v >= 0; });
    }
    const Node& node = graph_.nodes[static_cast<size_t>(maker)];
    if (!node.domain.empty()) return false;
    static constexpr const char* kAlways[] = {"Relu", "Sigmoid", "Softmax",    "Exp",
                                              "Abs",  "Sqrt",    "HardSigmoid"};
    static constexpr const char* kKeep[] = {"MaxPool", "AveragePool", "GlobalAveragePool",
                                            "Reshape", "Flatten",     "Transpose",
                                            "Squeeze", "Unsqueeze",   "ReduceMean"};
    const auto is = [&node](const char* op) { return node.op == op; };
    if (std::any_of(std::begin(kAlways), std::end(kAlways), is)) return true;
    if (std::any_of(std::begin(kKeep), std::end(kKeep), is)) {
      return IsNonNegative(node.inputs[0], depth + 1);
    }
    if (node.op == "Mul" && node.inputs[0] == node.inputs[1]) return true;
    if (node.op == "Pow" && graph_.is_constant(node.inputs[1]) &&
        graph_.constant(node.inputs[1]).type() == DataType::kFloat &&
        graph_.constant(node.inputs[1]).size() == 1) {
      return graph_.constant(node.inputs[1]).values<float>()[0] == 2.0f;
    }
    if (node.op != "Add" || node.inputs.size() != 2) return false;
    for (const size_t i : {0, 1}) {  // 1 + erf(x), 1 + tanh(x)
      const bool bounded = Maker(node.inputs[i], "Erf") || Maker(node.inputs[i], "Tanh");
      const ValueId other = node.inputs[1 - i];
      if (!bounded || !graph_.is_constant(other) || graph_.constant(other).size() != 1 ||
          graph_.constant(other).type() != DataType::kFloat) {
        continue;
      }
      if (graph_.constant(other).values<float>()[0] >= 1) return true;
    }
    return IsNonNegative(node.inputs[0], depth + 1) && IsNonNegative(node.inputs[1], depth + 1);
  }

  // QuantizeLinear whose readers all compute with floats only rounds: they read what it reads. What
  // it cuts off on one side of 0 alone is an activation, and stays one. The model's own results
  // stay as they are.
  void DropPair(Node& quantize) {
    if (!IsOp(quantize, "QuantizeLinear")) return;
    const Quantized q = Operands(quantize);
    const ValueId bytes = quantize.outputs[0];
    const auto& readers = readers_[static_cast<size_t>(bytes)];
    if (readers.empty() || uses(bytes) != static_cast<int>(readers.size())) return;  // an output
    for (const size_t i : readers) {
      const Node& node = graph_.nodes[i];
      const std::optional<Quantized> d =
          IsOp(node, "DequantizeLinear") ? Activation(node.outputs[0]) : std::nullopt;
      if (!d || BeforePair(*d) == kNoValue || FeedsSum(node) || IsOutput(node.outputs[0])) return;
    }
    const Tensor& zeros = graph_.constant(q.zero);
    const int32_t zero = IntegerAt(zeros.type(), zeros.data(), 0);
    const bool is_signed = zeros.type() == DataType::kInt8;
    const int32_t least = is_signed ? -128 : 0, most = is_signed ? 127 : 255;
    const bool cuts = (least == zero || most == zero) && !(least == zero && IsNonNegative(q.q));
    const float scale = graph_.constant(q.scale).values<float>()[0];
    for (const size_t i : readers) {
      Node& node = graph_.nodes[i];
      if (!cuts) {
        ReplaceUses(graph_, node.outputs[0], q.q);
        continue;
      }
      node.attributes.clear();
      if (least == zero) {
        node.op = "Relu";
        node.inputs = {q.q};
      } else {
        const auto bound = [&](int32_t value) {
          Tensor tensor(DataType::kFloat, Shape());
          tensor.mutable_values<float>()[0] = static_cast<float>(value - zero) * scale;
          return graph_.AddConstant(absl::StrCat(node.name, "/bound_", value), std::move(tensor));
        };
        const ValueId low = bound(least), high = bound(most);
        node.op = "Clip";
        node.inputs = {q.q, low, high};
      }
      node.opset = kNewest;
    }
  }

  bool IsOutput(ValueId id) const {
    return std::find(graph_.outputs.begin(), graph_.outputs.end(), id) != graph_.outputs.end();
  }

  // True for the term of a sum that a product makes.
  bool FeedsSum(const Node& dequantize) const {
    const auto& readers = readers_[static_cast<size_t>(dequantize.outputs[0])];
    return std::any_of(readers.begin(), readers.end(), [this](size_t i) {
      return std::find(sums_.begin(), sums_.end(), graph_.nodes[i].outputs[0]) != sums_.end();
    });
  }

  Graph& graph_;
  std::vector<int> uses_, producers_;
  std::vector<std::vector<size_t>> readers_;  // nodes, by value
  std::vector<ValueId> sums_;                 // made by an Add that a product will take over
};

// QuantizeLinear moves into the product that makes its input, first past operators that only pick
// or move elements.
class QuantizeSinker {
 public:
  explicit QuantizeSinker(Graph& graph)
      : graph_(graph), uses_(CountUses(graph)), producers_(Producers(graph)) {}

  void Run() {
    // Backwards: what is moved up is met again.
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      if (IsQuantize(graph_.nodes[i])) MoveUp(i);
    }
    std::erase_if(graph_.nodes, [](const Node& node) { return node.op.empty(); });
  }

 private:
  bool IsQuantize(const Node& node) const {
    return node.domain.empty() && node.op == "QuantizeLinear" && HasConstantNumbers(node);
  }
  // One scale and zero point, of bytes.
  bool HasConstantNumbers(const Node& node) const {
    if (!node.has_input(0) || !node.has_input(2) || !IsFloatNumber(graph_, node.inputs[1]) ||
        !graph_.is_constant(node.inputs[2]) || graph_.constant(node.inputs[2]).size() != 1) {
      return false;
    }
    const DataType type = graph_.constant(node.inputs[2]).type();
    return type == DataType::kInt8 || type == DataType::kUint8;
  }

  void MoveUp(size_t i) {
    for (;;) {
      Node& quantize = graph_.nodes[i];
      const ValueId x = quantize.inputs[0];
      const int producer = producers_[static_cast<size_t>(x)];
      if (producer < 0 || uses_[static_cast<size_t>(x)] != 1) return;
      Node& node = graph_.nodes[static_cast<size_t>(producer)];
      if (Absorb(node, quantize)) return;
      if (!Moves(node)) return;
      // The two change places, each where the other was.
      const ValueId bytes = graph_.AddValue(quantize.name + "/moved");
      uses_.push_back(1);
      producers_.push_back(producer);
      Node mover = std::move(node), first = std::move(quantize);
      const ValueId result = first.outputs[0];
      first.inputs[0] = mover.inputs[0];
      first.outputs = {bytes};
      mover.inputs[0] = bytes;
      mover.outputs = {result};
      producers_[static_cast<size_t>(result)] = static_cast<int>(i);
      graph_.nodes[i] = std::move(mover);
      i = static_cast<size_t>(producer);
      graph_.nodes[i] = std::move(first);
    }
  }

  // Elements of the first input, or the largest of some.
  static bool Moves(const Node& node) {
    static constexpr const char* kMovers[] = {"MaxPool", "Reshape",   "Flatten", "Transpose",
                                              "Squeeze", "Unsqueeze", "Slice"};
    return node.domain.empty() && node.outputs.size() == 1 &&
           std::any_of(std::begin(kMovers), std::end(kMovers),
                       [&node](const char* op) { return node.op == op; });
  }

  bool Absorb(Node& product, Node& quantize) {
    if (product.domain != "baton" || !product.has_input(kXScale) || product.has_input(kYScale) ||
        !graph_.is_constant(product.inputs[kXScale]) ||
        (product.has_input(kXZeroPoint) && !graph_.is_constant(product.inputs[kXZeroPoint]))) {
      return false;
    }
    if (!AbsorbResidual(product, graph_.constant(quantize.inputs[2]).type())) return false;
    product.inputs[kYScale] = quantize.inputs[1];
    product.inputs[kYZeroPoint] = quantize.inputs[2];
    product.outputs = quantize.outputs;
    producers_[static_cast<size_t>(product.outputs[0])] =
        producers_[static_cast<size_t>(quantize.inputs[0])];
    quantize.op.clear();  // dead
    return true;
  }

  // The residual, if there is one, must be of the result's type.
  bool AbsorbResidual(Node& product, DataType type) {
    const int residual = ResidualInput(product.post_ops);
    if (residual < 0) return true;
    ValueId& input = product.inputs[static_cast<size_t>(residual)];
    const int producer = producers_[static_cast<size_t>(input)];
    if (producer < 0) return false;
    const Node& dequantize = graph_.nodes[static_cast<size_t>(producer)];
    if (!dequantize.domain.empty() || dequantize.op != "DequantizeLinear" ||
        !HasConstantNumbers(dequantize)) {
      return false;
    }
    const Tensor& zero = graph_.constant(dequantize.inputs[2]);
    if (zero.type() != type) return false;
    product.attributes[kResidualScale] = graph_.constant(dequantize.inputs[1]).values<float>()[0];
    product.attributes[kResidualZeroPoint] = int64_t{IntegerAt(zero.type(), zero.data(), 0)};
    input = dequantize.inputs[0];
    return true;
  }

  Graph& graph_;
  std::vector<int> uses_, producers_;
};

}  // namespace

void ExpandQuantizedOperators(Graph& graph) {
  Expander(graph).Run();
  HoistDequantize(graph);
  UnsignedMaker(graph).Run();
}

void FuseQuantizedProducts(Graph& graph) { QuantizationFuser(graph).FuseProducts(); }

void DropQuantization(Graph& graph) { QuantizationFuser(graph).DropPairs(); }

void FuseQuantize(Graph& graph) {
  QuantizeSinker(graph).Run();
  RemoveDeadNodes(graph);
}

}  // namespace baton::engine
