// Head: the last products of a network, a row of numbers for each row of the batch. A batch that is
// run in pieces would read their weights for every piece; it reads them once where the head runs
// for the whole batch.
#pragma once

#include <memory>
#include <optional>

#include "engine/plan.h"

namespace baton::engine {

struct TrunkAndHead {
  std::shared_ptr<const LoadedGraph> trunk;  // all that comes before: one output
  std::shared_ptr<const LoadedGraph> head;   // which is this one's input
};

// Nullopt where there is no head whose weights are worth it. REQUIRES: RowsAreIndependent(loaded).
std::optional<TrunkAndHead> SplitHead(const LoadedGraph& loaded);

}  // namespace baton::engine
