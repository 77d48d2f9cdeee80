// TopK: the k largest (or smallest) of each row along an axis, and where they were.
#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

// Of two elements, which one comes first; of equal ones the one with the lower index. NaN is larger
// than any number.
template <typename T, bool kLargest>
struct Before {
  const T* row;
  int64_t stride;
  bool operator()(int64_t i, int64_t j) const {
    const T a = row[i * stride], b = row[j * stride];
    if (a == b) return i < j;
    const bool a_nan = a != a, b_nan = b != b;
    if (a_nan || b_nan) return a_nan && b_nan ? i < j : a_nan == kLargest;
    return kLargest ? a > b : a < b;
  }
};

// `indexes`: room for all indexes of a row.
template <typename T, bool kLargest>
void TopOfRow(const T* from, int64_t n, int64_t k, int64_t stride, int64_t* indexes, T* values,
              int64_t* places) {
  std::iota(indexes, indexes + n, 0);
  const Before<T, kLargest> before{from, stride};
  std::nth_element(indexes, indexes + std::max<int64_t>(k - 1, 0), indexes + n, before);
  std::sort(indexes, indexes + k, before);
  for (int64_t i = 0; i < k; ++i) {
    if (values != nullptr) values[i * stride] = from[indexes[i] * stride];
    if (places != nullptr) places[i * stride] = indexes[i];
  }
}

absl::StatusOr<std::unique_ptr<Step>> PrepareTopK(PrepareContext& c, int64_t axis, bool largest) {
  const Meta x = c.input(0);
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.shape.size()));
  ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
  ASSIGN_OR_RETURN(const std::vector<int64_t> ks, ToInts(*data));
  const int64_t n = x.shape[at];
  if (ks.size() != 1 || ks[0] < 0 || ks[0] > n) {
    return absl::InvalidArgumentError(
        absl::StrCat("k is ", ShapeToString(ks), "; expected one number from 0 to ", n,
                     ", the size of axis ", axis, " of ", ShapeToString(x.shape)));
  }
  const int64_t k = ks[0];
  Shape shape = x.shape;
  shape[at] = k;
  const auto dims = absl::MakeConstSpan(x.shape);
  const int64_t outer = NumElements(dims.first(at)), inner = NumElements(dims.subspan(at + 1));
  const bool has_values = c.has_output(0), has_places = c.has_output(1);
  return DispatchType(x.type, AllNumbers(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
    using T = typename decltype(tag)::type;
    if (has_values) c.SetOutput(0, x.type, shape);
    if (has_places) c.SetOutput(1, DataType::kInt64, shape);
    const auto top = largest ? &TopOfRow<T, true> : &TopOfRow<T, false>;
    const int threads = c.ThreadsFor(0, 16.0 * static_cast<double>(x.bytes()));
    const int64_t rows = k == 0 ? 0 : outer * inner;
    const int64_t parts = std::min<int64_t>(threads, std::max<int64_t>(rows, 1));
    const int64_t part = (rows + parts - 1) / parts;
    return MakeStep(
        [=](const RunContext& r) {
          const T* from = r.input<T>(0);
          T* values = has_values ? r.output<T>(0) : nullptr;
          int64_t* places = has_places ? r.output<int64_t>(1) : nullptr;
          // Each part has its own piece of the scratch memory.
          ParallelFor(static_cast<int>(parts), parts, 1, [&](int64_t begin, int64_t end) {
            int64_t* indexes = static_cast<int64_t*>(r.scratch) + begin * n;
            for (int64_t row = begin * part; row < std::min(rows, end * part); ++row) {
              const int64_t o = row / inner, i = row % inner;
              top(from + o * n * inner + i, n, k, inner, indexes,
                  values == nullptr ? nullptr : values + o * k * inner + i,
                  places == nullptr ? nullptr : places + o * k * inner + i);
            }
          });
          return absl::OkStatus();
        },
        static_cast<size_t>(parts * n) * sizeof(int64_t));
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeTopK(const Node& node, const Graph&) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected inputs X and K");
  }
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", -1));
  ASSIGN_OR_RETURN(const int64_t largest, node.Int("largest", 1));
  // Sorted even where `sorted` is 0, which leaves the order open.
  return MakeKernel([=](PrepareContext& c) { return PrepareTopK(c, axis, largest != 0); });
}

}  // namespace baton::engine
