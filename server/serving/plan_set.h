// PlanSet: the plans compiled for one set of input shapes, by number of rows. Immutable; a new
// size makes a new set, so that a worker may keep the one it started with.
#pragma once

#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "engine/model.h"
#include "engine/tensor.h"

namespace baton::serving {

// The shapes of a task's inputs, without the rows where requests are batched: tasks of equal keys
// may run together. Each shape is preceded by its rank.
using ShapeKey = absl::InlinedVector<int64_t, 16>;
ShapeKey MakeShapeKey(absl::Span<const TensorView> inputs, bool batched);

// The input shapes behind `key`, with `rows` put back in front where requests are batched.
std::vector<Shape> ShapesOf(const ShapeKey& key, int64_t rows, bool batched);

class PlanSet {
 public:
  struct Entry {
    int64_t rows = 1;
    std::shared_ptr<const engine::Plan> plan;      // one thread
    std::shared_ptr<const engine::Plan> parallel;  // all cores; null where that is no faster
  };

  // REQUIRES: `entries` not empty, rows differ, and one of them has 1 row.
  explicit PlanSet(std::vector<Entry> entries);

  // The entry for exactly `rows`, or null.
  const Entry* Find(int64_t rows) const;
  // Entries whose rows add up to `rows`: the largest that fits, again and again.
  std::vector<const Entry*> Split(int64_t rows) const;
  int64_t largest() const { return entries_.back().rows; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;  // by rows, ascending
};

}  // namespace baton::serving
