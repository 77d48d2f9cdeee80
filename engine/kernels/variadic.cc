// Max, Min, Sum, Mean of any number of operands, and Pow, whose operands may differ in type; with
// broadcasting, row-major.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/broadcast.h"
#include "engine/kernels/kernels.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

struct Larger {
  template <typename T>
  T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};
struct Smaller {
  template <typename T>
  T operator()(T a, T b) const {
    return b < a || b != b ? b : a;
  }
};
struct Plus {
  template <typename T>
  T operator()(T a, T b) const {
    return a + b;
  }
};

// Folds the operands into the output one after the other.
template <typename Op, typename Types>
absl::StatusOr<std::unique_ptr<Step>> PrepareFold(PrepareContext& c, bool mean) {
  const DataType type = c.input(0).type;
  Shape shape;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.has_input(i) || c.input(i).type != type) {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", i, " is not ", DataTypeName(type), " as the first is"));
    }
    ASSIGN_OR_RETURN(shape, BroadcastShape(shape, c.input(i).shape));
  }
  std::vector<BroadcastLoop<1>> loops;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    loops.push_back(MakeBroadcastLoop<1>(shape, {c.input(i).shape}));
  }
  const int64_t n = NumElements(shape);
  return DispatchType(type, Types(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
    using T = typename decltype(tag)::type;
    c.SetOutput(0, type, shape);
    return MakeStep([loops, n, mean](const RunContext& r) {
      if (n == 0) return absl::OkStatus();
      T* to = r.output<T>(0);
      for (size_t i = 0; i < loops.size(); ++i) {
        const T* from = r.input<T>(i);
        const int64_t stride = loops[i].strides[0].back();
        ForEachRow(loops[i], 0, Rows(loops[i]),
                   [&](int64_t at, const std::array<int64_t, 1>& index, int64_t length) {
                     const T* row = from + index[0];
                     for (int64_t k = 0; k < length; ++k) {
                       const T v = row[k * stride];
                       to[at + k] = i == 0 ? v : Op()(to[at + k], v);
                     }
                   });
      }
      if (mean) {
        for (int64_t k = 0; k < n; ++k) to[k] = to[k] / static_cast<T>(loops.size());
      }
      return absl::OkStatus();
    });
  });
}

absl::StatusOr<std::unique_ptr<Step>> PreparePow(PrepareContext& c) {
  const Meta base = c.input(0), exponent = c.input(1);
  ASSIGN_OR_RETURN(const Shape shape, BroadcastShape(base.shape, exponent.shape));
  const auto loop = MakeBroadcastLoop<2>(shape, {base.shape, exponent.shape});
  const int64_t n = NumElements(shape);
  using Bases = TypeList<float, double, int32_t, int64_t>;
  using Exponents = TypeList<float, double, int32_t, int64_t, uint32_t, uint64_t>;
  using Result = absl::StatusOr<std::unique_ptr<Step>>;
  return DispatchType(base.type, Bases(), [&](auto base_tag) -> Result {
    using T = typename decltype(base_tag)::type;
    return DispatchType(exponent.type, Exponents(), [&](auto exponent_tag) -> Result {
      using E = typename decltype(exponent_tag)::type;
      c.SetOutput(0, base.type, shape);
      return MakeStep([loop, n](const RunContext& r) {
        if (n == 0) return absl::OkStatus();
        const T* x = r.input<T>(0);
        const E* e = r.input<E>(1);
        T* to = r.output<T>(0);
        const int64_t s0 = loop.strides[0].back(), s1 = loop.strides[1].back();
        ForEachRow(loop, 0, Rows(loop),
                   [&](int64_t at, const std::array<int64_t, 2>& index, int64_t length) {
                     for (int64_t k = 0; k < length; ++k) {
                       const T v = x[index[0] + k * s0];
                       const E p = e[index[1] + k * s1];
                       if constexpr (std::is_same_v<T, float>) {
                         // Squares are what LayerNorm and GELU are written with.
                         to[at + k] = p == E{2} ? v * v : std::pow(v, static_cast<float>(p));
                       } else {
                         to[at + k] = ConvertElement<T>(
                             std::pow(static_cast<double>(v), static_cast<double>(p)));
                       }
                     }
                   });
        return absl::OkStatus();
      });
    });
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeVariadic(const Node& node, const Graph&) {
  if (node.inputs.empty()) return absl::InvalidArgumentError("expected at least one input");
  const std::string& op = node.op;
  if (op == "Max") {
    return MakeKernel([](PrepareContext& c) { return PrepareFold<Larger, AllNumbers>(c, false); });
  }
  if (op == "Min") {
    return MakeKernel([](PrepareContext& c) { return PrepareFold<Smaller, AllNumbers>(c, false); });
  }
  const bool mean = op == "Mean";
  return MakeKernel([mean](PrepareContext& c) { return PrepareFold<Plus, Floats>(c, mean); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakePow(const Node& node, const Graph&) {
  if (node.inputs.size() != 2) return absl::InvalidArgumentError("expected two inputs");
  return MakeKernel(&PreparePow);
}

}  // namespace baton::engine
