// Reductions over axes, ArgMax and ArgMin; row-major, accumulated in double for floats of 64 bits
// and in float with pairwise blocks otherwise.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/strided.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

// Each reduction: start, add an element, finish with the number of elements.
template <typename T>
using Accumulator = std::conditional_t<std::is_integral_v<T>, int64_t, double>;

struct SumOf {
  template <typename A>
  static A Start() {
    return 0;
  }
  template <typename A>
  static A Take(A a, A x) {
    return a + x;
  }
  template <typename A>
  static A Finish(A a, int64_t) {
    return a;
  }
};
struct MeanOf : SumOf {
  template <typename A>
  static A Finish(A a, int64_t n) {
    return a / static_cast<A>(n);
  }
};
struct ProdOf {
  template <typename A>
  static A Start() {
    return 1;
  }
  template <typename A>
  static A Take(A a, A x) {
    return a * x;
  }
  template <typename A>
  static A Finish(A a, int64_t) {
    return a;
  }
};
struct MaxOf {
  template <typename A>
  static A Start() {
    return std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                : std::numeric_limits<A>::lowest();
  }
  template <typename A>
  static A Take(A a, A x) {
    return x > a || x != x ? x : a;
  }
  template <typename A>
  static A Finish(A a, int64_t) {
    return a;
  }
};
struct MinOf {
  template <typename A>
  static A Start() {
    return std::numeric_limits<A>::has_infinity ? std::numeric_limits<A>::infinity()
                                                : std::numeric_limits<A>::max();
  }
  template <typename A>
  static A Take(A a, A x) {
    return x < a || x != x ? x : a;
  }
  template <typename A>
  static A Finish(A a, int64_t) {
    return a;
  }
};
struct L1Of : SumOf {
  template <typename A>
  static A Take(A a, A x) {
    return a + (x < 0 ? -x : x);
  }
};
struct SumSquareOf : SumOf {
  template <typename A>
  static A Take(A a, A x) {
    return a + x * x;
  }
};
struct L2Of : SumSquareOf {
  template <typename A>
  static A Finish(A a, int64_t) {
    return static_cast<A>(std::sqrt(static_cast<double>(a)));
  }
};
struct LogSumOf : SumOf {
  template <typename A>
  static A Finish(A a, int64_t) {
    return static_cast<A>(std::log(static_cast<double>(a)));
  }
};

// The dimensions that stay and those that go, each with their strides in the input.
struct Reduction {
  Shape output;  // with or without the reduced dimensions
  std::vector<int64_t> kept, kept_strides;
  std::vector<int64_t> outer, outer_strides;  // of the reduced ones, all but the innermost
  int64_t length = 1, stride = 1;             // the innermost: a run
  int64_t kept_size = 1, runs = 1;
  // Elements that one output is made of.
  int64_t size() const { return runs * length; }
};

Reduction PlanReduction(const Shape& x, const std::vector<bool>& reduced, bool keep_dims) {
  Reduction r;
  std::vector<int64_t> gone, gone_strides;
  const Shape strides = DenseStrides(x);
  for (size_t d = 0; d < x.size(); ++d) {
    if (reduced[d]) {
      if (keep_dims) r.output.push_back(1);
    } else {
      r.output.push_back(x[d]);
      r.kept_size *= x[d];
    }
    auto& dims = reduced[d] ? gone : r.kept;
    auto& own = reduced[d] ? gone_strides : r.kept_strides;
    if (!dims.empty() && own.back() == strides[d] * x[d]) {
      dims.back() *= x[d];
      own.back() = strides[d];
    } else {
      dims.push_back(x[d]);
      own.push_back(strides[d]);
    }
  }
  if (gone.empty()) return r;
  r.length = gone.back();
  r.stride = gone_strides.back();
  r.outer.assign(gone.begin(), gone.end() - 1);
  r.outer_strides.assign(gone_strides.begin(), gone_strides.end() - 1);
  r.runs = NumElements(r.outer);
  return r;
}

int64_t OffsetOf(int64_t index, const std::vector<int64_t>& dims,
                 const std::vector<int64_t>& strides) {
  int64_t offset = 0;
  for (size_t d = dims.size(); d-- > 0;) {
    offset += index % dims[d] * strides[d];
    index /= dims[d];
  }
  return offset;
}

// Calls f(index of its first element in the input) for each run of output `o`.
template <typename F>
void ForEachRun(const Reduction& r, int64_t o, const F& f) {
  const int64_t base = OffsetOf(o, r.kept, r.kept_strides);
  for (int64_t run = 0; run < r.runs; ++run) f(base + OffsetOf(run, r.outer, r.outer_strides));
}

// The axes from input 1, all where there are none (unless noop), as a mask; nullopt for no-op.
absl::StatusOr<std::optional<std::vector<bool>>> ReducedAxes(PrepareContext& c, bool noop) {
  const size_t rank = c.input(0).shape.size();
  std::vector<int64_t> axes;
  if (c.has_input(1)) {
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(1));
    ASSIGN_OR_RETURN(axes, ToInts(*data));
  }
  if (axes.empty() && noop) return std::optional<std::vector<bool>>();
  std::vector<bool> reduced(rank, axes.empty());
  for (const int64_t axis : axes) {
    ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, rank));
    reduced[at] = true;
  }
  return std::make_optional(std::move(reduced));
}

// A reduction for one type of its operand, in the pieces that are compiled for each. `total` is an
// Accumulator of the type.
struct Variant {
  DataType type;
  void (*start)(void* total);
  void (*take)(void* total, const void* run, int64_t stride, int64_t n);
  void (*finish)(const void* total, int64_t n, void* out);
};

template <typename Op, typename T>
Variant MakeVariant() {
  using A = Accumulator<T>;
  return {DataTypeOf<T>(), [](void* total) { *static_cast<A*>(total) = Op::template Start<A>(); },
          [](void* total, const void* run, int64_t stride, int64_t n) {
            A sum = *static_cast<A*>(total);
            const T* x = static_cast<const T*>(run);
            for (int64_t i = 0; i < n; ++i) {
              sum = Op::template Take<A>(sum, static_cast<A>(x[i * stride]));
            }
            *static_cast<A*>(total) = sum;
          },
          [](const void* total, int64_t n, void* out) {
            *static_cast<T*>(out) =
                static_cast<T>(Op::template Finish<A>(*static_cast<const A*>(total), n));
          }};
}

template <typename Op, typename... Ts>
std::vector<Variant> VariantsOf(TypeList<Ts...>) {
  return {MakeVariant<Op, Ts>()...};
}

absl::StatusOr<std::unique_ptr<Step>> PrepareReduction(PrepareContext& c,
                                                       const std::vector<Variant>& variants,
                                                       bool keep_dims, bool noop) {
  const Meta x = c.input(0);
  ASSIGN_OR_RETURN(const auto reduced, ReducedAxes(c, noop));
  if (!reduced) {
    c.SetView(0, 0, x.shape);
    return nullptr;
  }
  const auto variant = std::find_if(variants.begin(), variants.end(),
                                    [&x](const Variant& v) { return v.type == x.type; });
  if (variant == variants.end()) return UnsupportedType(x.type);
  const Reduction plan = PlanReduction(x.shape, *reduced, keep_dims);
  const int threads = c.ThreadsFor(2.0 * static_cast<double>(NumElements(x.shape)), 0);
  const auto size = static_cast<int64_t>(DataTypeSize(x.type));
  c.SetOutput(0, x.type, plan.output);
  return MakeStep([v = *variant, plan, threads, size](const RunContext& r) {
    const char* from = r.input<char>(0);
    char* to = r.output<char>(0);
    ParallelFor(threads, plan.kept_size, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        alignas(8) char total[8];
        v.start(total);
        ForEachRun(plan, o, [&](int64_t first) {
          v.take(total, from + first * size, plan.stride, plan.length);
        });
        v.finish(total, std::max<int64_t>(plan.size(), 1), to + o * size);
      }
    });
    return absl::OkStatus();
  });
}

template <typename Op>
std::unique_ptr<Kernel> MakeReduction(bool keep_dims, bool noop) {
  return MakeKernel([variants = VariantsOf<Op>(AllNumbers()), keep_dims, noop](PrepareContext& c) {
    return PrepareReduction(c, variants, keep_dims, noop);
  });
}

// log Σ exp(x), with the largest taken out first so that nothing overflows.
std::unique_ptr<Kernel> MakeLogSumExp(bool keep_dims, bool noop) {
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Meta x = c.input(0);
    ASSIGN_OR_RETURN(const auto reduced, ReducedAxes(c, noop));
    if (!reduced) {
      c.SetView(0, 0, x.shape);
      return nullptr;
    }
    const Reduction plan = PlanReduction(x.shape, *reduced, keep_dims);
    return DispatchType(x.type, Floats(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
      using T = typename decltype(tag)::type;
      c.SetOutput(0, x.type, plan.output);
      return MakeStep([plan](const RunContext& r) {
        const T* from = r.input<T>(0);
        T* to = r.output<T>(0);
        for (int64_t o = 0; o < plan.kept_size; ++o) {
          double largest = -std::numeric_limits<double>::infinity(), total = 0;
          ForEachRun(plan, o, [&](int64_t first) {
            for (int64_t i = 0; i < plan.length; ++i) {
              largest = std::max(largest, static_cast<double>(from[first + i * plan.stride]));
            }
          });
          if (!std::isfinite(largest)) largest = 0;
          ForEachRun(plan, o, [&](int64_t first) {
            for (int64_t i = 0; i < plan.length; ++i) {
              total += std::exp(static_cast<double>(from[first + i * plan.stride]) - largest);
            }
          });
          to[o] = static_cast<T>(std::log(total) + largest);
        }
        return absl::OkStatus();
      });
    });
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeReduce(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t keepdims, node.Int("keepdims", 1));
  ASSIGN_OR_RETURN(const int64_t noop_value, node.Int("noop_with_empty_axes", 0));
  const bool keep = keepdims != 0, noop = noop_value != 0;
  const std::string& op = node.op;
  if (op == "ReduceSum") return MakeReduction<SumOf>(keep, noop);
  if (op == "ReduceMean") return MakeReduction<MeanOf>(keep, noop);
  if (op == "ReduceProd") return MakeReduction<ProdOf>(keep, noop);
  if (op == "ReduceMax") return MakeReduction<MaxOf>(keep, noop);
  if (op == "ReduceMin") return MakeReduction<MinOf>(keep, noop);
  if (op == "ReduceL1") return MakeReduction<L1Of>(keep, noop);
  if (op == "ReduceL2") return MakeReduction<L2Of>(keep, noop);
  if (op == "ReduceSumSquare") return MakeReduction<SumSquareOf>(keep, noop);
  if (op == "ReduceLogSum") return MakeReduction<LogSumOf>(keep, noop);
  if (op == "ReduceLogSumExp") return MakeLogSumExp(keep, noop);
  return absl::UnimplementedError("no such reduction");
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeArgExtreme(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", 0));
  ASSIGN_OR_RETURN(const int64_t keepdims, node.Int("keepdims", 1));
  ASSIGN_OR_RETURN(const int64_t select_last, node.Int("select_last_index", 0));
  const bool max = node.op == "ArgMax";
  return MakeKernel([=](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Meta x = c.input(0);
    ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.shape.size()));
    std::vector<bool> reduced(x.shape.size(), false);
    reduced[at] = true;
    const Reduction plan = PlanReduction(x.shape, reduced, keepdims != 0);
    if (x.shape[at] == 0) return absl::InvalidArgumentError("the axis has no elements");
    return DispatchType(x.type, AllNumbers(),
                        [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
                          using T = typename decltype(tag)::type;
                          c.SetOutput(0, DataType::kInt64, plan.output);
                          return MakeStep([=](const RunContext& r) {
                            const T* from = r.input<T>(0);
                            int64_t* to = r.output<int64_t>(0);
                            for (int64_t o = 0; o < plan.kept_size; ++o) {
                              ForEachRun(plan, o, [&](int64_t first) {
                                const T* run = from + first;
                                int64_t best = 0;
                                for (int64_t i = 1; i < plan.length; ++i) {
                                  const T v = run[i * plan.stride], b = run[best * plan.stride];
                                  const bool better = max ? v > b : v < b;
                                  if (better || (select_last != 0 && v == b)) best = i;
                                }
                                to[o] = best;
                              });
                            }
                            return absl::OkStatus();
                          });
                        });
  });
}

}  // namespace baton::engine
