#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/rewrite/rewrite.h"

namespace baton::engine {

std::vector<int> CountUses(const Graph& graph) {
  std::vector<int> uses(graph.values.size(), 0);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses[static_cast<size_t>(id)];
    }
  }
  for (const ValueId id : graph.outputs) ++uses[static_cast<size_t>(id)];
  return uses;
}

std::vector<int> Producers(const Graph& graph) {
  std::vector<int> producers(graph.values.size(), -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].outputs) {
      if (id != kNoValue) producers[static_cast<size_t>(id)] = static_cast<int>(i);
    }
  }
  return producers;
}

void ReplaceUses(Graph& graph, ValueId from, ValueId to) {
  for (Node& node : graph.nodes) {
    for (ValueId& id : node.inputs) {
      if (id == from) id = to;
    }
  }
  for (ValueId& id : graph.outputs) {
    if (id == from) id = to;
  }
}

Node MakeCast(Graph& graph, ValueId from, DataType to) {
  Node cast;
  cast.name = absl::StrCat(graph.values[static_cast<size_t>(from)].name, "/", DataTypeName(to));
  cast.op = "Cast";
  cast.opset = 21;
  cast.inputs = {from};
  cast.outputs = {graph.AddValue(cast.name)};
  cast.attributes = {{"to", static_cast<int64_t>(to)}};
  return cast;
}

void RemoveDeadNodes(Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  for (const ValueId id : graph.outputs) needed[static_cast<size_t>(id)] = true;
  std::vector<Node> kept;
  for (auto it = graph.nodes.rbegin(); it != graph.nodes.rend(); ++it) {
    bool used = false;
    for (ValueId& id : it->outputs) {
      if (id == kNoValue) continue;
      if (needed[static_cast<size_t>(id)]) {
        used = true;
      } else {
        id = kNoValue;  // nobody reads it: the kernel need not make it
      }
    }
    if (!used) continue;
    while (it->outputs.back() == kNoValue) it->outputs.pop_back();
    for (const ValueId id : it->inputs) {
      if (id != kNoValue) needed[static_cast<size_t>(id)] = true;
    }
    kept.push_back(std::move(*it));
  }
  graph.nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  for (const ValueId id : graph.outputs) needed[static_cast<size_t>(id)] = true;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!needed[i]) graph.values[i].constant = Tensor();
  }
}

}  // namespace baton::engine
