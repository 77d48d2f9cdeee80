// LayerNormalization and RMSNormalization; float or bfloat16, row-major. Ba, Kiros and Hinton,
// "Layer Normalization", 2016; Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/axes.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/simd.h"

namespace baton::engine {
namespace {

struct Rows {
  const void* x;
  const float* scale;  // of `n`, or null: 1
  const float* bias;   // of `n`, or null: 0
  void* y;
  float *mean, *inverse_deviation;  // one for each row, or null
  int64_t begin, end, n;
  float epsilon;
};

template <bool kCentred, typename T>
struct NormalizeRows {
  BATON_INLINE static void Run(const Rows& r) {
    const float n = static_cast<float>(r.n);
    for (int64_t row = r.begin; row < r.end; ++row) {
      const T* const x = static_cast<const T*>(r.x) + row * r.n;
      T* const y = static_cast<T*>(r.y) + row * r.n;
      Vector v, other;
      float mean = 0;
      if constexpr (kCentred) {
        Vector sum = {};
        for (int64_t i = 0; i < r.n; i += kLanes) {
          LoadUpTo(x + i, r.n - i, 0, v);
          sum = sum + v;
        }
        mean = Sum(sum) / n;
      }
      Vector squares = {};
      for (int64_t i = 0; i < r.n; i += kLanes) {
        LoadUpTo(x + i, r.n - i, mean, v);
        v = v - mean;
        squares = squares + v * v;
      }
      const float inverse = 1.0f / std::sqrt(Sum(squares) / n + r.epsilon);
      for (int64_t i = 0; i < r.n; i += kLanes) {
        LoadUpTo(x + i, r.n - i, 0, v);
        v = (v - mean) * inverse;
        if (r.scale != nullptr) {
          LoadUpTo(r.scale + i, r.n - i, 0, other);
          v = v * other;
        }
        if (r.bias != nullptr) {
          LoadUpTo(r.bias + i, r.n - i, 0, other);
          v = v + other;
        }
        StoreUpTo(v, r.n - i, y + i);
      }
      if (r.mean != nullptr) r.mean[row] = mean;
      if (r.inverse_deviation != nullptr) r.inverse_deviation[row] = inverse;
    }
  }
};

template <typename T>
auto RowsLoop(bool centred) {
  return centred ? CompiledFor<NormalizeRows<true, T>>(BestIsa())
                 : CompiledFor<NormalizeRows<false, T>>(BestIsa());
}

absl::StatusOr<std::unique_ptr<Step>> PrepareLayerNorm(PrepareContext& c, int64_t axis,
                                                       float epsilon, bool centred) {
  const Meta x = c.input(0);
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    const bool half = i == 0 && x.type == DataType::kBfloat16;
    if (c.has_input(i) && c.input(i).type != DataType::kFloat && !half) {
      return absl::UnimplementedError(absl::StrCat("element type ", DataTypeName(c.input(i).type),
                                                   " is not supported; expected float"));
    }
  }
  ASSIGN_OR_RETURN(const size_t at, NormalizeAxis(axis, x.shape.size()));
  const auto dims = absl::MakeConstSpan(x.shape);
  const int64_t n = NumElements(dims.subspan(at));
  for (size_t i = 1; i <= 2; ++i) {
    if (c.has_input(i) && NumElements(c.input(i).shape) != n) {
      return absl::InvalidArgumentError(absl::StrCat(i == 1 ? "scale" : "bias", " is ",
                                                     ShapeToString(c.input(i).shape), ", expected ",
                                                     ShapeToString(dims.subspan(at))));
    }
  }
  c.SetMaybeInPlace(0, 0, x);
  Shape reduced(x.shape.begin(), x.shape.end());
  std::fill(reduced.begin() + static_cast<std::ptrdiff_t>(at), reduced.end(), 1);
  for (size_t i = 1; i <= 2; ++i) {
    if (c.has_output(i)) c.SetOutput(i, DataType::kFloat, reduced);
  }
  const int64_t rows = n == 0 ? 0 : NumElements(dims.first(at));
  const bool has_scale = c.has_input(1), has_bias = c.has_input(2);
  const bool has_mean = c.has_output(1), has_deviation = c.has_output(2);
  const int threads = c.ThreadsFor(0, 4.0 * static_cast<double>(x.bytes()));
  void (*const run)(const Rows&) =
      x.type == DataType::kFloat ? RowsLoop<float>(centred) : RowsLoop<Bfloat16>(centred);
  return MakeStep([=](const RunContext& r) {
    Rows all;
    all.x = r.input<char>(0);
    all.scale = has_scale ? r.input<float>(1) : nullptr;
    all.bias = has_bias ? r.input<float>(2) : nullptr;
    all.y = r.output<char>(0);
    all.mean = has_mean ? r.output<float>(1) : nullptr;
    all.inverse_deviation = has_deviation ? r.output<float>(2) : nullptr;
    all.n = n;
    all.epsilon = epsilon;
    ParallelFor(threads, rows, 1, [&](int64_t begin, int64_t end) {
      Rows part = all;
      part.begin = begin;
      part.end = end;
      run(part);
    });
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeLayerNorm(const Node& node, const Graph&) {
  if (!node.has_input(0)) return absl::InvalidArgumentError("expected an input");
  ASSIGN_OR_RETURN(const int64_t axis, node.Int("axis", -1));
  ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5f));
  const bool centred = node.op == "LayerNormalization";
  return MakeKernel([=](PrepareContext& c) { return PrepareLayerNorm(c, axis, epsilon, centred); });
}

}  // namespace baton::engine
