// Models whose numbers are stored as float16 or bfloat16 are computed on floats: no processor that
// the engine runs on is faster on float16, and bfloat16 is what --precision=bf16 chooses.
#include <iterator>
#include <numeric>
#include <utility>

#include "engine/rewrite/rewrite.h"

namespace baton::engine {
namespace {

bool IsHalf(DataType type) { return type == DataType::kFloat16 || type == DataType::kBfloat16; }

Tensor ToFloats(const Tensor& halves) {
  Tensor floats(DataType::kFloat, halves.shape());
  const auto values = floats.mutable_values<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = halves.type() == DataType::kFloat16 ? halves.values<Float16>()[i].ToFloat()
                                                    : halves.values<Bfloat16>()[i].ToFloat();
  }
  return floats;
}

// Attributes that name a type, and tensors that say what an operator fills its output with.
void WidenAttributes(Node& node) {
  for (auto& [key, value] : node.attributes) {
    if (auto* const type = std::get_if<int64_t>(&value)) {
      const bool names_type = key == "to" || key == "dtype" || key == "output_dtype";
      if (names_type && IsHalf(static_cast<DataType>(*type))) {
        *type = static_cast<int64_t>(DataType::kFloat);
      }
    } else if (auto* const tensor = std::get_if<Tensor>(&value)) {
      if (IsHalf(tensor->type())) *tensor = ToFloats(*tensor);
    }
  }
}

}  // namespace

void WidenHalves(Graph& graph) {
  std::vector<Node> casts;
  std::vector<ValueId> wide(graph.values.size());  // of each value
  std::iota(wide.begin(), wide.end(), 0);
  const auto widen = [&](ValueId id) {
    casts.push_back(MakeCast(graph, id, DataType::kFloat));
    wide[static_cast<size_t>(id)] = casts.back().outputs[0];
  };
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    if (IsHalf(graph.signature.inputs[i].type)) widen(graph.inputs[i]);
  }
  for (size_t i = 0; i < wide.size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    if (graph.is_constant(id) && IsHalf(graph.constant(id).type())) widen(id);
  }
  for (Node& node : graph.nodes) {
    WidenAttributes(node);
    for (ValueId& id : node.inputs) {
      if (id != kNoValue) id = wide[static_cast<size_t>(id)];
    }
  }
  graph.nodes.insert(graph.nodes.begin(), std::make_move_iterator(casts.begin()),
                     std::make_move_iterator(casts.end()));
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const DataType type = graph.signature.outputs[i].type;
    if (!IsHalf(type)) continue;
    const ValueId id = wide[static_cast<size_t>(graph.outputs[i])];
    graph.nodes.push_back(MakeCast(graph, id, type));
    graph.outputs[i] = graph.nodes.back().outputs[0];
  }
}

}  // namespace baton::engine
