// Softmax and LogSoftmax, row-major: on oneDNN, but for Softmax along an axis that is not the last,
// for which it has a reference loop only.
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
      Exp(v);
      sum = sum + v;
      StoreUpTo(v, c.lanes, c.y + i * c.stride);
    }
    const Vector inverse = 1.0f / sum;
    for (int64_t i = 0; i < c.n; ++i) {
      LoadUpTo(c.y + i * c.stride, c.lanes, 0, v);
      v = v * inverse;
      StoreUpTo(v, c.lanes, c.y + i * c.stride);
    }
  }
};

// Of [outer, n, inner] along n.
std::unique_ptr<Step> MakeColumnStep(const Shape& view, int threads) {
  const int64_t n = view[1], inner = view[2], blocks = (inner + kLanes - 1) / kLanes;
  const int64_t all = view[0] * blocks;
  const auto run = CompiledFor<SoftmaxOfColumns>(BestIsa());
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
    if (!log && view[2] > 1) {
      return MakeColumnStep(view, c.ThreadsFor(0, 4.0 * static_cast<double>(c.input(0).bytes())));
    }
    const Shape shape = view[2] == 1 ? Shape{view[0], view[1]} : view;
    const int threads = c.ThreadsFor(0, 4.0 * static_cast<double>(c.input(0).bytes()));
    const ScopedThreads scope(threads);
    const std::optional<DnnlPrimitive> made =
        MakeSoftmax(PlainLayout(DataType::kFloat, shape), 1, log, MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN has no softmax of this form");
    return MakeDnnlStep(*made,
                        {{DNNL_ARG_SRC, made->src, DnnlArgument::From::kInput, 0},
                         {DNNL_ARG_DST, made->dst, DnnlArgument::From::kOutput, 0}},
                        threads, 0);
  });
}

}  // namespace baton::engine
