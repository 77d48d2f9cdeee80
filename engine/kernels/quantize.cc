// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear:
//   q = saturate(round(x / scale) + zero_point)        x = (q - zero_point) · scale
// with a scale for the tensor or for each index along an axis. One scale for all: in any dense
// layout.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/simd.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

using QuantizedTypes = TypeList<int8_t, uint8_t, int16_t, uint16_t>;
using DequantizedTypes = TypeList<int8_t, uint8_t, int16_t, uint16_t, int32_t>;

// Adding and taking away a number so large that its last bit is 1 rounds, half to even.
BATON_INLINE void RoundToEven(Vector& x) {
  constexpr float kRound = 12582912.0f;
  x = (x + kRound) - kRound;
}

// Vectors of kLanes integers.
template <typename T>
struct IntegersOf;
template <>
struct IntegersOf<int8_t> {
  using Type = int8_t __attribute__((vector_size(kLanes)));
};
template <>
struct IntegersOf<uint8_t> {
  using Type = uint8_t __attribute__((vector_size(kLanes)));
};
template <>
struct IntegersOf<int16_t> {
  using Type = int16_t __attribute__((vector_size(2 * kLanes)));
};
template <>
struct IntegersOf<uint16_t> {
  using Type = uint16_t __attribute__((vector_size(2 * kLanes)));
};
using Wide = int32_t __attribute__((vector_size(4 * kLanes)));

// `n` elements with one scale and zero point.
template <typename T>
struct QuantizeRun {
  BATON_INLINE static void Run(const float* x, float scale, int32_t zero_point, T* y, int64_t n) {
    using Narrow = typename IntegersOf<T>::Type;
    const float zero = static_cast<float>(zero_point);
    const float lowest = static_cast<float>(std::numeric_limits<T>::lowest()) - zero;
    const float highest = static_cast<float>(std::numeric_limits<T>::max()) - zero;
    for (int64_t i = 0; i < n; i += kLanes) {
      Vector v;
      LoadUpTo(x + i, n - i, 0, v);
      v = v / scale;
      v = v > lowest ? v : Vector{} + lowest;  // NaN, too
      v = v < highest ? v : Vector{} + highest;
      RoundToEven(v);
      const Wide wide = __builtin_convertvector(v, Wide) + zero_point;
      const Narrow narrow = __builtin_convertvector(wide, Narrow);
      if (n - i >= kLanes) [[likely]] {
        std::memcpy(y + i, &narrow, sizeof(narrow));
      } else {
        std::memcpy(y + i, &narrow, static_cast<size_t>(n - i) * sizeof(T));
      }
    }
  }
};

template <typename T>
struct DequantizeRun {
  BATON_INLINE static void Run(const T* x, float scale, int32_t zero_point, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      y[i] = static_cast<float>(static_cast<int32_t>(x[i]) - zero_point) * scale;
    }
  }
};

// How scales lie over the elements: `outer` times `scales` runs of `inner` elements.
struct ScaleRuns {
  int64_t outer = 1, scales = 1, inner = 1;
};

absl::StatusOr<ScaleRuns> FindRuns(const PrepareContext& c, int64_t axis) {
  const Shape& x = c.input(0).shape;
  const Shape& scale = c.input(1).shape;
  if (c.input(1).type != DataType::kFloat) {
    return absl::UnimplementedError(absl::StrCat("the scale is ", DataTypeName(c.input(1).type),
                                                 ", which is not supported; expected float"));
  }
  if (c.has_input(2) && NumElements(c.input(2).shape) != NumElements(scale)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the zero point is ", ShapeToString(c.input(2).shape), ", the scale ",
                     ShapeToString(scale), "; expected the same shape"));
  }
  ScaleRuns runs;
  runs.inner = NumElements(x);
  if (scale.size() > 1) {
    return absl::UnimplementedError(absl::StrCat("the scale is ", ShapeToString(scale),
                                                 "; scales of blocks are not supported"));
  }
  if (scale.empty() || scale[0] == 1) return runs;
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.size()));
  if (x[at] != scale[0]) {
    return absl::InvalidArgumentError(absl::StrCat("the scale is ", ShapeToString(scale),
                                                   " for axis ", at, " of ", ShapeToString(x)));
  }
  const auto dims = absl::MakeConstSpan(x);
  runs.outer = NumElements(dims.first(at));
  runs.scales = scale[0];
  runs.inner = NumElements(dims.subspan(at + 1));
  return runs;
}

// Element-wise in the input's own layout where one scale is for all.
absl::Status SetLayouts(PrepareContext& c, const ScaleRuns& runs, DataType type) {
  Meta y = c.input(0);
  y.type = type;
  if (y.layout && (runs.scales > 1 || !IsDense(*y.layout))) {
    RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(c.input(0).type, y.shape)));
    y.layout.reset();
  }
  if (y.layout) y.layout = WithType(*y.layout, type);
  c.SetOutput(0, y);
  return absl::OkStatus();
}

// Calls run(x, scale, zero point, y, n) for each stretch of one scale.
template <typename X, typename Y, typename Q>
std::unique_ptr<Step> MakeRuns(const PrepareContext& c, const ScaleRuns& runs,
                               void (*run)(const X*, float, int32_t, Y*, int64_t), TypeTag<Q>) {
  const bool has_zero = c.has_input(2);
  const int64_t n = runs.outer * runs.scales * runs.inner;
  const int threads =
      c.ThreadsFor(0, static_cast<double>(n) * static_cast<double>(sizeof(X) + sizeof(Y)));
  return MakeStep([=](const RunContext& r) {
    const X* const x = r.input<X>(0);
    const float* const scale = r.input<float>(1);
    const Q* const zero = has_zero ? r.input<Q>(2) : nullptr;
    Y* const y = r.output<Y>(0);
    const auto part = [&](int64_t index, int64_t begin, int64_t end) {
      run(x + begin, scale[index], zero == nullptr ? 0 : static_cast<int32_t>(zero[index]),
          y + begin, end - begin);
    };
    if (runs.scales == 1) {
      ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) { part(0, begin, end); });
    } else {
      ParallelFor(threads, runs.outer * runs.scales, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          part(i % runs.scales, i * runs.inner, (i + 1) * runs.inner);
        }
      });
    }
    return absl::OkStatus();
  });
}

class QuantizeKernel final : public Kernel {
 public:
  // `type`: where there is no zero point that says it.
  QuantizeKernel(int64_t axis, DataType type) : axis_(axis), type_(type) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    if (c.input(0).type != DataType::kFloat) {
      return absl::UnimplementedError(absl::StrCat("the input is ", DataTypeName(c.input(0).type),
                                                   ", which is not supported; expected float"));
    }
    const DataType type = c.has_input(2) ? c.input(2).type : type_;
    ASSIGN_OR_RETURN(const ScaleRuns runs, FindRuns(c, axis_));
    return DispatchType(type, QuantizedTypes(),
                        [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
                          using T = typename decltype(tag)::type;
                          RETURN_IF_ERROR(SetLayouts(c, runs, type));
                          return MakeRuns(c, runs, CompiledFor<QuantizeRun<T>>(BestIsa()), tag);
                        });
  }

 private:
  const int64_t axis_;
  const DataType type_;
};

class DequantizeKernel final : public Kernel {
 public:
  explicit DequantizeKernel(int64_t axis) : axis_(axis) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const DataType type = c.input(0).type;
    if (c.has_input(2) && c.input(2).type != type) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the zero point is ", DataTypeName(c.input(2).type), ", the input ", DataTypeName(type)));
    }
    ASSIGN_OR_RETURN(const ScaleRuns runs, FindRuns(c, axis_));
    return DispatchType(type, DequantizedTypes(),
                        [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
                          using T = typename decltype(tag)::type;
                          RETURN_IF_ERROR(SetLayouts(c, runs, DataType::kFloat));
                          return MakeRuns(c, runs, CompiledFor<DequantizeRun<T>>(BestIsa()), tag);
                        });
  }

 private:
  const int64_t axis_;
};

struct Extremes {
  float least = 0, most = 0;  // 0 always counts
};
struct ExtremesRun {
  BATON_INLINE static void Run(const float* x, int64_t n, Extremes* found) {
    Vector least = {}, most = {}, v;
    for (int64_t i = 0; i < n; i += kLanes) {
      LoadUpTo(x + i, n - i, 0, v);
      least = v < least ? v : least;
      most = v > most ? v : most;
    }
    found->most = Largest(most);
    least = -least;
    found->least = -Largest(least);
  }
};

// Threads look for the extremes of their own parts, then all quantize.
class DynamicQuantizeKernel final : public Kernel {
 public:
  bool AcceptsLayouts() const override { return true; }
  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override;
};

absl::StatusOr<std::unique_ptr<Step>> DynamicQuantizeKernel::Prepare(PrepareContext& c) const {
  const Meta x = c.input(0);
  if (x.type != DataType::kFloat) {
    return absl::UnimplementedError(absl::StrCat("the input is ", DataTypeName(x.type),
                                                 ", which is not supported; expected float"));
  }
  RETURN_IF_ERROR(SetLayouts(c, ScaleRuns(), DataType::kUint8));
  if (c.has_output(1)) c.SetOutput(1, DataType::kFloat, {});
  if (c.has_output(2)) c.SetOutput(2, DataType::kUint8, {});
  const bool has_scale = c.has_output(1), has_zero = c.has_output(2);
  const int64_t n = NumElements(x.shape);
  const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
  const auto find = CompiledFor<ExtremesRun>(BestIsa());
  const auto quantize = CompiledFor<QuantizeRun<uint8_t>>(BestIsa());
  const int64_t part = (n + threads - 1) / threads;
  return MakeStep(
      [=](const RunContext& r) {
        const float* const from = r.input<float>(0);
        Extremes* const found = static_cast<Extremes*>(r.scratch);
        ParallelFor(threads, threads, 1, [&](int64_t begin, int64_t end) {
          for (int64_t t = begin; t < end; ++t) {
            const int64_t first = std::min(n, t * part);
            find(from + first, std::min(n, first + part) - first, &found[t]);
          }
        });
        Extremes all;
        for (int t = 0; t < threads; ++t) {
          all.least = std::min(all.least, found[t].least);
          all.most = std::max(all.most, found[t].most);
        }
        const float range = all.most - all.least;
        const float scale = range > 0 && std::isfinite(range) ? range / 255.0f : 1.0f;
        const float zero = std::nearbyint(std::clamp(-all.least / scale, 0.0f, 255.0f));
        const auto zero_point = static_cast<uint8_t>(zero);
        uint8_t* const to = r.output<uint8_t>(0);
        ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) {
          quantize(from + begin, scale, zero_point, to + begin, end - begin);
        });
        if (has_scale) *r.output<float>(1) = scale;
        if (has_zero) *r.output<uint8_t>(2) = zero_point;
        return absl::OkStatus();
      },
      static_cast<size_t>(threads) * sizeof(Extremes));
}

absl::StatusOr<int64_t> ParseAxis(const Node& node) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected an input and its scale");
  }
  ASSIGN_OR_RETURN(const int64_t block, node.Int("block_size", 0));
  if (block != 0) return absl::UnimplementedError("scales of blocks are not supported");
  return node.Int("axis", 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeQuantizeLinear(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, ParseAxis(node));
  ASSIGN_OR_RETURN(const int64_t type, node.Int("output_dtype", 0));
  return std::make_unique<QuantizeKernel>(
      axis, type == 0 ? DataType::kUint8 : static_cast<DataType>(type));
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeDequantizeLinear(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t axis, ParseAxis(node));
  ASSIGN_OR_RETURN(const int64_t type, node.Int("output_dtype", 0));
  if (type != 0 && static_cast<DataType>(type) != DataType::kFloat) {
    return absl::UnimplementedError(absl::StrCat("an output of ",
                                                 DataTypeName(static_cast<DataType>(type)),
                                                 " is not supported; expected float"));
  }
  return std::make_unique<DequantizeKernel>(axis);
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeDynamicQuantizeLinear(const Node& node, const Graph&) {
  if (!node.has_input(0)) return absl::InvalidArgumentError("expected an input");
  return std::make_unique<DynamicQuantizeKernel>();
}

}  // namespace baton::engine
