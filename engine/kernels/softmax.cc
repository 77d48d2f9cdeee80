// Softmax and LogSoftmax, row-major: along rows where the axis is the last, along 16 neighbouring
// columns at once where it is not.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/simd.h"

namespace baton::engine {
namespace {

// Up to kLanes neighbours, each along `n` elements that lie `stride` apart.
struct Columns {
  const float* x;
  float* y;  // may be x
  int64_t n, stride, lanes;
};

template <bool kLog>
struct SoftmaxOfColumns {
  BATON_INLINE static void Run(const Columns& c) {
    Vector v, largest, sum = {};
    LoadUpTo(c.x, c.lanes, 0, largest);
    for (int64_t i = 1; i < c.n; ++i) {
      LoadUpTo(c.x + i * c.stride, c.lanes, 0, v);
      largest = v > largest ? v : largest;
    }
    for (int64_t i = 0; i < c.n; ++i) {
      LoadUpTo(c.x + i * c.stride, c.lanes, 0, v);
      v = v - largest;
      ExpOfDifference(v);
      sum = sum + v;
      if (!kLog) StoreUpTo(v, c.lanes, c.y + i * c.stride);
    }
    Vector log;
    for (int lane = 0; kLog && lane < kLanes; ++lane) log[lane] = std::log(sum[lane]);
    const Vector inverse = 1.0f / sum;
    for (int64_t i = 0; i < c.n; ++i) {
      LoadUpTo((kLog ? c.x : c.y) + i * c.stride, c.lanes, 0, v);
      v = kLog ? v - largest - log : v * inverse;
      StoreUpTo(v, c.lanes, c.y + i * c.stride);
    }
  }
};

// Rows of `n` elements, one after the other.
struct Rows {
  const float* x;
  float* y;  // may be x
  int64_t rows, n;
};

template <bool kLog>
struct SoftmaxOfRows {
  BATON_INLINE static void Run(const Rows& all) {
    const float* x = all.x;
    float* y = all.y;
    for (int64_t row = 0; row < all.rows; ++row, x += all.n, y += all.n) Row(x, y, all.n);
  }

  BATON_INLINE static void Row(const float* x, float* y, int64_t n) {
    // The last vector stays in a register; it begins among what the whole ones before it cover.
    // Beyond a row that is shorter than a vector: e to that power adds nothing to a sum of at
    // least 1.
    const int64_t whole = (n - 1) / kLanes * kLanes, at = std::max<int64_t>(n - kLanes, 0);
    Vector last;
    LoadUpTo(x + at, n - at, -std::numeric_limits<float>::infinity(), last);
    Vector v, largest = last;
    for (int64_t i = 0; i < whole; i += kLanes) {
      Load(x + i, v);
      largest = v > largest ? v : largest;
    }
    const float most = Largest(largest);
    last = last - most;
    v = last;
    ExpOfDifference(v);
    if (!kLog) last = v;
    Vector sum = kLane >= static_cast<uint32_t>(whole - at) ? v : Vector{};
    for (int64_t i = 0; i < whole; i += kLanes) {
      Load(x + i, v);
      v = v - most;
      ExpOfDifference(v);
      sum = sum + v;
      if (!kLog) Store(v, y + i);
    }
    const float all = Sum(sum), log = kLog ? std::log(all) : 0, inverse = 1.0f / all;
    for (int64_t i = 0; i < whole; i += kLanes) {
      Load((kLog ? x : y) + i, v);
      v = kLog ? v - most - log : v * inverse;
      Store(v, y + i);
    }
    StoreUpTo(kLog ? last - log : last * inverse, n - at, y + at);
  }
};

// Rows of at most kLanes elements, kLanes of them at once: turned into columns and back.
template <bool kLog>
struct SoftmaxOfShortRows {
  BATON_INLINE static void Run(const Rows& all) {
    const int64_t n = all.n;
    float columns[kLanes * kLanes] = {};
    for (int64_t first = 0; first < all.rows; first += kLanes) {
      const int64_t rows = std::min<int64_t>(all.rows - first, kLanes);
      const float* x = all.x + first * n;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < n; ++i) columns[i * kLanes + row] = *x++;
      }
      SoftmaxOfColumns<kLog>::Run({columns, columns, n, kLanes, kLanes});
      float* y = all.y + first * n;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < n; ++i) *y++ = columns[i * kLanes + row];
      }
    }
  }
};

// Of [outer, n, inner] along n.
template <bool kLog>
std::unique_ptr<Step> MakeColumnStep(const Shape& view, int threads) {
  const int64_t n = view[1], inner = view[2], blocks = (inner + kLanes - 1) / kLanes;
  const int64_t all = view[0] * blocks;
  const auto run = CompiledFor<SoftmaxOfColumns<kLog>>(BestIsa());
  return MakeStep([=](const RunContext& r) {
    ParallelFor(threads, all, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % blocks * kLanes, at = i / blocks * n * inner + column;
        run({r.input<float>(0) + at, r.output<float>(0) + at, n, inner, inner - column});
      }
    });
    return absl::OkStatus();
  });
}

// Of [rows, n] along n.
template <bool kLog>
std::unique_ptr<Step> MakeRowStep(int64_t rows, int64_t n, int threads) {
  const auto run = rows > 1 && n <= kLanes ? CompiledFor<SoftmaxOfShortRows<kLog>>(BestIsa())
                                           : CompiledFor<SoftmaxOfRows<kLog>>(BestIsa());
  return MakeStep([=](const RunContext& r) {
    ParallelFor(threads, rows, 1, [&](int64_t begin, int64_t end) {
      run({r.input<float>(0) + begin * n, r.output<float>(0) + begin * n, end - begin, n});
    });
    return absl::OkStatus();
  });
}

// Of [outer, n, inner] along n.
template <bool kLog>
std::unique_ptr<Step> MakeSoftmaxStep(const Shape& view, int threads) {
  return view[2] == 1 ? MakeRowStep<kLog>(view[0], view[1], threads)
                      : MakeColumnStep<kLog>(view, threads);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeSoftmax(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", -1));
  // Set by the importer for opsets before 13: all dimensions from `axis` on are taken as one.
  ASSIGN_OR_RETURN(const int64_t flatten, node.Int("flatten", 0));
  const bool log = node.op == "LogSoftmax";
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Shape x = c.input(0).shape;
    if (c.input(0).type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("element type ", DataTypeName(c.input(0).type),
                                                   " is not supported; expected float"));
    }
    const int64_t rank = static_cast<int64_t>(x.size());
    if (axis < -rank || axis >= rank + (flatten != 0 ? 1 : 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("axis ", axis, " is out of range for ", ShapeToString(x)));
    }
    c.SetMaybeInPlace(0, 0, {DataType::kFloat, x, std::nullopt});
    if (c.shapes_only()) return nullptr;
    if (NumElements(x) == 0) {
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    }
    const size_t at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    const auto dims = absl::MakeConstSpan(x);
    const int64_t before = NumElements(dims.first(at));
    const Shape view = flatten != 0 ? Shape{before, NumElements(dims.subspan(at)), 1}
                                    : Shape{before, x[at], NumElements(dims.subspan(at + 1))};
    const int threads = c.ThreadsFor(0, 4.0 * static_cast<double>(c.input(0).bytes()));
    return log ? MakeSoftmaxStep<true>(view, threads) : MakeSoftmaxStep<false>(view, threads);
  });
}

}  // namespace baton::engine
