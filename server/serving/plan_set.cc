#include "server/serving/plan_set.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace baton::serving {

ShapeKey MakeShapeKey(absl::Span<const TensorView> inputs, bool batched) {
  ShapeKey key;
  for (const TensorView& input : inputs) {
    const auto first = input.shape.begin() + (batched && !input.shape.empty() ? 1 : 0);
    key.push_back(input.shape.end() - first);
    key.insert(key.end(), first, input.shape.end());
  }
  return key;
}

std::vector<Shape> ShapesOf(const ShapeKey& key, int64_t rows, bool batched) {
  std::vector<Shape> shapes;
  for (size_t i = 0; i < key.size();) {
    const auto rank = static_cast<size_t>(key[i++]);
    Shape shape;
    if (batched) shape.push_back(rows);
    shape.insert(shape.end(), key.begin() + i, key.begin() + i + rank);
    shapes.push_back(std::move(shape));
    i += rank;
  }
  return shapes;
}

PlanSet::PlanSet(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.rows < b.rows; });
  BATON_CHECK(!entries_.empty() && entries_.front().rows == 1);
}

const PlanSet::Entry* PlanSet::Find(int64_t rows) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), rows,
                                   [](const Entry& e, int64_t r) { return e.rows < r; });
  return it != entries_.end() && it->rows == rows ? &*it : nullptr;
}

std::vector<const PlanSet::Entry*> PlanSet::Split(int64_t rows) const {
  std::vector<const Entry*> pieces;
  for (auto it = entries_.rbegin(); rows > 0; ++it) {
    for (; it->rows <= rows; rows -= it->rows) pieces.push_back(&*it);
  }
  return pieces;
}

}  // namespace baton::serving
