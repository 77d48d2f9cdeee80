// Rows: whether a model treats the rows of its batch apart, so that a batch may be run in pieces
// with the same result.
#pragma once

#include "engine/plan.h"

namespace baton::engine {

// True if every output's row i depends on nothing but row i of each input: shown node by node from
// what operators do, at two sizes of the batch. False where that cannot be shown.
bool RowsAreIndependent(const LoadedGraph& loaded);

}  // namespace baton::engine
