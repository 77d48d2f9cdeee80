#include "engine/rows.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "engine/kernels/axes.h"

namespace baton::engine {
namespace {

// Two sizes of the batch that hardly are the size of anything else.
constexpr int64_t kBatches[2] = {7, 11};

// How an operator treats dimension 0 of its inputs. An operator that is not listed mixes rows.
enum class Treats {
  kElements,    // each element by itself, with broadcasting
  kImages,      // input 0 by rows; the others are the same for all, or rows of the output's shape
  kProduct,     // rows of A times B, or a product for each row
  kOtherAxis,   // attribute axis, which must not be 0
  kReduction,   // axes as an input or attribute, which must not have 0
  kPermuted,    // attribute perm, which must keep dimension 0
  kReshaped,    // the elements in their order: the shapes say the rest
  kParameters,  // input 0; what is done along dimension 0 is among the other inputs
  kGather,      // picked along an axis by indices
};

const std::map<std::string, Treats>& Table() {
  using T = Treats;
  static const auto& table = *new std::map<std::string, Treats>{
      {"Abs", T::kElements},
      {"Add", T::kElements},
      {"And", T::kElements},
      {"Cast", T::kElements},
      {"Ceil", T::kElements},
      {"Clip", T::kElements},
      {"Div", T::kElements},
      {"Elu", T::kElements},
      {"Equal", T::kElements},
      {"Erf", T::kElements},
      {"Exp", T::kElements},
      {"Floor", T::kElements},
      {"Gelu", T::kElements},
      {"Greater", T::kElements},
      {"HardSigmoid", T::kElements},
      {"HardSwish", T::kElements},
      {"LeakyRelu", T::kElements},
      {"Less", T::kElements},
      {"Log", T::kElements},
      {"Max", T::kElements},
      {"Mean", T::kElements},
      {"Min", T::kElements},
      {"Mish", T::kElements},
      {"Mul", T::kElements},
      {"Neg", T::kElements},
      {"Not", T::kElements},
      {"Or", T::kElements},
      {"PRelu", T::kElements},
      {"Pow", T::kElements},
      {"Reciprocal", T::kElements},
      {"Relu", T::kElements},
      {"Round", T::kElements},
      {"Selu", T::kElements},
      {"Sigmoid", T::kElements},
      {"Softplus", T::kElements},
      {"Softsign", T::kElements},
      {"Sqrt", T::kElements},
      {"Sub", T::kElements},
      {"Sum", T::kElements},
      {"Swish", T::kElements},
      {"Tanh", T::kElements},
      {"Where", T::kElements},

      {"DequantizeLinear", T::kElements},
      {"QuantizeLinear", T::kElements},

      {"AveragePool", T::kImages},
      {"BatchNormalization", T::kImages},
      {"Conv", T::kImages},
      {"ConvTranspose", T::kImages},
      {"DepthToSpace", T::kImages},
      {"GlobalMaxPool", T::kImages},
      {"GlobalAveragePool", T::kImages},
      {"LRN", T::kImages},
      {"InstanceNormalization", T::kImages},
      {"MaxPool", T::kImages},
      {"QuantConv", T::kImages},
      {"QuantMatMul", T::kImages},

      {"Attention", T::kProduct},
      {"Gemm", T::kProduct},
      {"MatMul", T::kProduct},

      {"ArgMax", T::kOtherAxis},
      {"ArgMin", T::kOtherAxis},
      {"Concat", T::kOtherAxis},
      {"LayerNormalization", T::kOtherAxis},
      {"LogSoftmax", T::kOtherAxis},
      {"RMSNormalization", T::kOtherAxis},
      {"Softmax", T::kOtherAxis},
      {"Split", T::kOtherAxis},
      {"TopK", T::kOtherAxis},

      {"ReduceL1", T::kReduction},
      {"ReduceL2", T::kReduction},
      {"ReduceMax", T::kReduction},
      {"ReduceMean", T::kReduction},
      {"ReduceMin", T::kReduction},
      {"ReduceProd", T::kReduction},
      {"ReduceSum", T::kReduction},
      {"ReduceSumSquare", T::kReduction},

      {"Transpose", T::kPermuted},

      {"Flatten", T::kReshaped},
      {"Reshape", T::kReshaped},
      {"Squeeze", T::kReshaped},
      {"Unsqueeze", T::kReshaped},

      {"Resize", T::kParameters},
      {"Slice", T::kParameters},

      {"Gather", T::kGather},
  };
  return table;
}

class RowsFinder {
 public:
  explicit RowsFinder(const LoadedGraph& loaded) : graph_(loaded.graph) {
    for (size_t i = 0; i < 2; ++i) found_[i] = Infer(loaded, kBatches[i]);
  }

  bool Run() {
    has_rows_.assign(graph_.values.size(), false);
    for (const ValueId input : graph_.inputs) {
      if (!LooksLikeRows(input) || meta(input)->type == DataType::kString) return false;
      has_rows_[Index(input)] = true;
    }
    for (const Node& node : graph_.nodes) {
      if (!Keeps(node)) continue;
      for (const ValueId output : node.outputs) {
        if (output != kNoValue) has_rows_[Index(output)] = LooksLikeRows(output);
      }
    }
    return std::all_of(graph_.outputs.begin(), graph_.outputs.end(),
                       [this](ValueId id) { return has_rows_[Index(id)]; });
  }

 private:
  static size_t Index(ValueId id) { return static_cast<size_t>(id); }
  const std::optional<Meta>& meta(ValueId id, size_t sample = 0) const {
    return found_[sample].metas[Index(id)];
  }
  const Tensor& known(ValueId id, size_t sample = 0) const {
    return found_[sample].known[Index(id)];
  }

  // Dimension 0 is the batch and no other is.
  bool LooksLikeRows(ValueId id) const {
    const auto &a = meta(id, 0), &b = meta(id, 1);
    if (!a || !b || a->shape.empty() || a->shape.size() != b->shape.size()) return false;
    return a->shape[0] == kBatches[0] && b->shape[0] == kBatches[1] &&
           std::equal(a->shape.begin() + 1, a->shape.end(), b->shape.begin() + 1);
  }

  // The same whatever the batch, in its data too.
  bool IsSame(ValueId id) const {
    const Tensor &a = known(id, 0), &b = known(id, 1);
    if (a.empty() || b.empty() || a.type() != b.type() || a.shape() != b.shape()) return false;
    return a.type() != DataType::kString &&
           (a.data() == b.data() || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
  }

  // Known rows that are all alike, as Expand makes them.
  bool AreEqualRows(ValueId id) const {
    if (known(id, 0).empty() || known(id, 1).empty() || !LooksLikeRows(id)) return false;
    const char* const first = static_cast<const char*>(known(id, 0).data());
    for (size_t sample = 0; sample < 2; ++sample) {
      const Tensor& t = known(id, sample);
      const size_t row = t.bytes() / static_cast<size_t>(kBatches[sample]);
      for (int64_t i = 0; i < kBatches[sample]; ++i) {
        const char* const data = static_cast<const char*>(t.data()) + static_cast<size_t>(i) * row;
        if (std::memcmp(data, first, row) != 0) return false;
      }
    }
    return true;
  }

  bool HasRows(ValueId id) const { return has_rows_[Index(id)] || AreEqualRows(id); }

  // The same for all rows of an output of `rank`: not read along dimension 0.
  bool IsBroadcast(ValueId id, size_t rank) const {
    if (!IsSame(id)) return false;
    const Shape& shape = known(id).shape();
    return shape.size() < rank || (!shape.empty() && shape[0] == 1);
  }

  bool AreParameters(const Node& node, size_t from) const {
    for (size_t i = from; i < node.inputs.size(); ++i) {
      if (node.has_input(i) && known(node.inputs[i]).empty()) return false;
    }
    return true;
  }

  bool Keeps(const Node& node) const {
    const auto treats = Table().find(node.op);
    const bool known_domain = node.domain.empty() || node.domain == "baton";
    if (!known_domain || treats == Table().end()) return false;
    if (!node.has_input(0) || node.outputs[0] == kNoValue || !meta(node.outputs[0])) return false;
    switch (treats->second) {
      case Treats::kElements:
        return KeepsElements(node, 0);
      case Treats::kImages:
        return HasRows(node.inputs[0]) && OthersFit(node);
      case Treats::kProduct:
        return KeepsProduct(node);
      case Treats::kOtherAxis:
        return KeepsOtherAxis(node);
      case Treats::kReduction:
        return KeepsReduction(node);
      case Treats::kPermuted: {
        const auto perm = node.Ints("perm", {});
        return perm.ok() && !perm->empty() && (*perm)[0] == 0 && HasRows(node.inputs[0]);
      }
      case Treats::kReshaped:
        return HasRows(node.inputs[0]) && AreParameters(node, 1);
      case Treats::kParameters:
        return HasRows(node.inputs[0]) && AreParameters(node, 1) && LeavesRows(node);
      case Treats::kGather:
        return KeepsGather(node);
    }
    return false;
  }

  bool KeepsElements(const Node& node, size_t from) const {
    const size_t rank = meta(node.outputs[0])->shape.size();
    for (size_t i = from; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id == kNoValue || IsBroadcast(id, rank)) continue;
      if (!HasRows(id) || meta(id)->shape.size() != rank) return false;
    }
    return true;
  }

  bool OthersFit(const Node& node) const {
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id == kNoValue || IsSame(id)) continue;
      if (!HasRows(id) || meta(id)->shape != meta(node.outputs[0])->shape) return false;
    }
    return true;
  }

  bool KeepsProduct(const Node& node) const {
    const auto transpose_a = node.Int("transA", 0);
    if (!transpose_a.ok() || *transpose_a != 0 || !HasRows(node.inputs[0])) return false;
    const size_t rank = meta(node.inputs[0])->shape.size();
    const bool batched = node.op != "Gemm" && rank >= 3;
    const size_t operands = node.op == "Attention" ? 3 : 2;
    if (node.op == "Attention" && rank < 3) return false;
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id == kNoValue) continue;
      const bool rows = HasRows(id) && meta(id)->shape.size() == rank;
      if (i < operands) {
        const bool same = node.op != "Attention" && IsSame(id) && known(id).shape().size() == 2;
        if (!same && !(batched && rows)) return false;
      } else if (node.op == "Attention") {  // a mask [batch, heads, queries, keys]
        const bool own = HasRows(id) && meta(id)->shape.size() == 4;
        if (!own && !IsBroadcast(id, 4)) return false;
      } else if (!IsBroadcast(id, rank) &&
                 !(HasRows(id) && meta(id)->shape == meta(node.outputs[0])->shape)) {
        return false;
      }
    }
    return true;
  }

  bool KeepsOtherAxis(const Node& node) const {
    const bool first = node.op == "Concat" || node.op == "Split";
    const bool arg = node.op == "ArgMax" || node.op == "ArgMin";
    const auto given = node.Int("axis", arg || node.op == "Split" ? 0 : first ? 1 : -1);
    if (!given.ok() || !meta(node.inputs[0])) return false;
    const auto axis = NormalizeAxis(*given, meta(node.inputs[0])->shape.size());
    if (!axis.ok() || *axis == 0) return false;
    if (node.op != "Concat") return HasRows(node.inputs[0]) && AreParameters(node, 1);
    return std::all_of(node.inputs.begin(), node.inputs.end(),
                       [this](ValueId id) { return id != kNoValue && HasRows(id); });
  }

  bool KeepsReduction(const Node& node) const {
    if (!HasRows(node.inputs[0]) || !node.has_input(1) || !IsSame(node.inputs[1])) return false;
    const auto axes = ToInts(known(node.inputs[1]));
    if (!axes.ok() || axes->empty()) return false;
    for (const int64_t given : *axes) {
      const auto axis = NormalizeAxis(given, meta(node.inputs[0])->shape.size());
      if (!axis.ok() || *axis == 0) return false;
    }
    return true;
  }

  // Slice with axes that have no 0. Resize keeps a dimension's size only where it leaves it alone,
  // or with a region of its own.
  bool LeavesRows(const Node& node) const {
    if (node.op == "Resize") {
      const auto mode = node.String("coordinate_transformation_mode", "half_pixel");
      return mode.ok() && *mode != "tf_crop_and_resize";
    }
    if (!node.has_input(3) || !IsSame(node.inputs[3])) return false;
    const auto axes = ToInts(known(node.inputs[3]));
    if (!axes.ok()) return false;
    const auto rank = static_cast<int64_t>(meta(node.inputs[0])->shape.size());
    return std::none_of(axes->begin(), axes->end(),
                        [rank](int64_t axis) { return axis == 0 || axis == -rank; });
  }

  // Rows of words from a table, or the same places of each row.
  bool KeepsGather(const Node& node) const {
    const auto given = node.Int("axis", 0);
    const ValueId data = node.inputs[0], indices = node.inputs[1];
    if (!given.ok() || !meta(data)) return false;
    const auto axis = NormalizeAxis(*given, meta(data)->shape.size());
    if (!axis.ok()) return false;
    if (*axis == 0) return IsSame(data) && HasRows(indices);
    return HasRows(data) && IsSame(indices);
  }

  const Graph& graph_;
  Inference found_[2];
  std::vector<bool> has_rows_;  // by value
};

}  // namespace

bool RowsAreIndependent(const LoadedGraph& loaded) { return RowsFinder(loaded).Run(); }

}  // namespace baton::engine
