#include "engine/head.h"

#include <algorithm>
#include <iterator>
#include <set>

namespace baton::engine {
namespace {

// Fewer stay in a cache from one piece to the next.
constexpr size_t kLeastWeightBytes = 1 << 20;

constexpr int64_t kBatches[2] = {2, 3};

class HeadFinder {
 public:
  explicit HeadFinder(const LoadedGraph& loaded)
      : loaded_(loaded),
        graph_(loaded.graph),
        metas_{Infer(loaded, kBatches[0]).metas, Infer(loaded, kBatches[1]).metas} {}

  std::optional<TrunkAndHead> Run() const {
    std::set<ValueId> open;  // what nodes from `first` on, and the caller, take from nodes before
    for (const ValueId id : graph_.outputs) open.insert(id);
    const auto count = graph_.nodes.size();
    size_t first = count, best = count, bytes = 0, best_bytes = 0;
    ValueId between = kNoValue;
    while (first > 0 && MakesRows(graph_.nodes[first - 1])) {
      const Node& node = graph_.nodes[--first];
      for (const ValueId id : node.outputs) open.erase(id);
      for (const ValueId id : node.inputs) {
        if (id == kNoValue) continue;
        if (graph_.is_constant(id)) {
          bytes += graph_.constant(id).bytes();
        } else {
          open.insert(id);
        }
      }
      if (open.size() != 1 || !IsRows(*open.begin())) continue;
      best = first;
      best_bytes = bytes;
      between = *open.begin();
    }
    if (best_bytes < kLeastWeightBytes || best == 0 || IsOutput(between)) return std::nullopt;
    return Split(best, between);
  }

 private:
  // Numbers, a row for each row of the batch.
  bool IsRows(ValueId id) const {
    for (size_t i = 0; i < std::size(kBatches); ++i) {
      const std::optional<Meta>& meta = metas_[i][static_cast<size_t>(id)];
      if (!meta || meta->type == DataType::kString || meta->layout || meta->shape.size() != 2 ||
          meta->shape[0] != kBatches[i]) {
        return false;
      }
    }
    return true;
  }
  bool MakesRows(const Node& node) const {
    return std::all_of(node.outputs.begin(), node.outputs.end(),
                       [this](ValueId id) { return id == kNoValue || IsRows(id); });
  }
  bool IsOutput(ValueId id) const {
    return std::find(graph_.outputs.begin(), graph_.outputs.end(), id) != graph_.outputs.end();
  }

  TrunkAndHead Split(size_t at, ValueId between) const {
    const auto value = static_cast<size_t>(between);
    const Meta& meta = *metas_[0][value];
    const ValueInfo rows = {
        graph_.values[value].name, meta.type, /*has_rank=*/true, {{}, {meta.shape[1], ""}}};
    auto trunk = Part(0, at), head = Part(at, graph_.nodes.size());
    trunk->graph.outputs = {between};
    trunk->graph.signature.outputs = {rows};
    head->graph.inputs = {between};
    head->graph.signature.inputs = {rows};
    return {std::move(trunk), std::move(head)};
  }

  std::shared_ptr<LoadedGraph> Part(size_t begin, size_t end) const {
    auto part = std::make_shared<LoadedGraph>();
    for (const Value& value : graph_.values) part->graph.AddValue(value.name);
    part->graph.inputs = graph_.inputs;
    part->graph.outputs = graph_.outputs;
    part->graph.signature = graph_.signature;
    for (size_t i = begin; i < end; ++i) {
      part->graph.nodes.push_back(graph_.nodes[i]);
      part->kernels.push_back(loaded_.kernels[i]);
      for (const ValueId id : graph_.nodes[i].inputs) {
        if (!graph_.is_constant(id)) continue;
        part->graph.values[static_cast<size_t>(id)].constant = graph_.constant(id);
      }
    }
    return part;
  }

  const LoadedGraph& loaded_;
  const Graph& graph_;
  const std::vector<std::optional<Meta>> metas_[2];  // by size of the batch
};

}  // namespace

std::optional<TrunkAndHead> SplitHead(const LoadedGraph& loaded) {
  return HeadFinder(loaded).Run();
}

}  // namespace baton::engine
