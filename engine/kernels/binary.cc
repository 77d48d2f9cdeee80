// Element-wise operators of two operands, with broadcasting.
#include <cmath>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/broadcast.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

// Integers wrap around, as ONNX Runtime's do: computed unsigned, where that is defined.
template <typename T, typename F>
T Wrapped(const F& f, T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(f(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  } else {
    return f(a, b);
  }
}

struct Add {
  template <typename T>
  T operator()(T a, T b) const {
    return Wrapped([](auto x, auto y) { return x + y; }, a, b);
  }
};
struct Sub {
  template <typename T>
  T operator()(T a, T b) const {
    return Wrapped([](auto x, auto y) { return x - y; }, a, b);
  }
};
struct Mul {
  template <typename T>
  T operator()(T a, T b) const {
    return Wrapped([](auto x, auto y) { return x * y; }, a, b);
  }
};
struct Div {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      // ONNX leaves both undefined; a model must not stop the server.
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
      }
    }
    return static_cast<T>(a / b);
  }
};
struct PRelu {
  template <typename T>
  T operator()(T a, T b) const {
    return a < T{0} ? static_cast<T>(a * b) : a;
  }
};
struct Mod {  // sign of the divisor, as Python's %
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return 0;
      }
      const T r = static_cast<T>(a % b);
      return r != 0 && ((r < 0) != (b < 0)) ? static_cast<T>(r + b) : r;
    } else {
      return std::fmod(a, b);
    }
  }
};
struct Fmod {  // sign of the dividend, as C's fmod
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return 0;
      }
      return static_cast<T>(a % b);
    } else {
      return std::fmod(a, b);
    }
  }
};
struct ShiftLeft {
  template <typename T>
  T operator()(T a, T b) const {
    return b >= sizeof(T) * 8 ? T{0} : static_cast<T>(a << b);
  }
};
struct ShiftRight {
  template <typename T>
  T operator()(T a, T b) const {
    return b >= sizeof(T) * 8 ? T{0} : static_cast<T>(a >> b);
  }
};
struct Equal {
  template <typename T>
  bool operator()(T a, T b) const {
    return a == b;
  }
};
struct Less {
  template <typename T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqual {
  template <typename T>
  bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct Greater {
  template <typename T>
  bool operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterOrEqual {
  template <typename T>
  bool operator()(T a, T b) const {
    return a >= b;
  }
};
struct And {
  bool operator()(bool a, bool b) const { return a && b; }
};
struct Or {
  bool operator()(bool a, bool b) const { return a || b; }
};
struct Xor {
  bool operator()(bool a, bool b) const { return a != b; }
};

// One row of the output: the operands advance by 0 or 1 (or, rarely, another stride).
template <typename T, typename R, typename Op>
void RunRow(const T* a, int64_t stride_a, const T* b, int64_t stride_b, R* y, int64_t n,
            const Op& op) {
  if (stride_a == 1 && stride_b == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = op(a[i], b[i]);
  } else if (stride_a == 1 && stride_b == 0) {
    const T value = *b;
    for (int64_t i = 0; i < n; ++i) y[i] = op(a[i], value);
  } else if (stride_a == 0 && stride_b == 1) {
    const T value = *a;
    for (int64_t i = 0; i < n; ++i) y[i] = op(value, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = op(a[i * stride_a], b[i * stride_b]);
  }
}

template <typename Op, typename Types>
class BinaryKernel final : public Kernel {
 public:
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const DataType type = c.input(0).type;
    if (c.input(1).type != type) {
      return absl::InvalidArgumentError(absl::StrCat("operands are ", DataTypeName(type), " and ",
                                                     DataTypeName(c.input(1).type),
                                                     "; expected the same type"));
    }
    return DispatchType(type, Types(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
      return PrepareFor<typename decltype(tag)::type>(c);
    });
  }

 private:
  template <typename T>
  absl::StatusOr<std::unique_ptr<Step>> PrepareFor(PrepareContext& c) const {
    using R = decltype(Op()(T(), T()));
    const Shape a = c.input(0).shape, b = c.input(1).shape;
    ASSIGN_OR_RETURN(const Shape shape, BroadcastShape(a, b));
    Meta output{DataTypeOf<R>(), shape, std::nullopt};
    RETURN_IF_ERROR(AgreeOnLayout(c, output));
    if (std::is_same_v<T, R> && a == shape) {
      c.SetMaybeInPlace(0, 0, output);
    } else if (std::is_same_v<T, R> && b == shape) {
      c.SetMaybeInPlace(0, 1, output);
    } else {
      c.SetOutput(0, output);
    }
    const int64_t n = NumElements(shape);
    const int threads = c.ThreadsFor(0, static_cast<double>(n) * 3 * sizeof(T));
    if (n == 0) return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    const auto loop = MakeBroadcastLoop<2>(shape, {a, b});
    if (loop.dims.size() == 1) {  // no outer dimensions: split the one row
      const int64_t stride_a = loop.strides[0][0], stride_b = loop.strides[1][0];
      return MakeStep([=](const RunContext& r) {
        const T *x = r.input<T>(0), *z = r.input<T>(1);
        R* y = r.output<R>(0);
        ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) {
          RunRow(x + begin * stride_a, stride_a, z + begin * stride_b, stride_b, y + begin,
                 end - begin, Op());
        });
        return absl::OkStatus();
      });
    }
    return MakeStep([loop, threads](const RunContext& r) {
      const T *x = r.input<T>(0), *z = r.input<T>(1);
      R* y = r.output<R>(0);
      const int64_t stride_a = loop.strides[0].back(), stride_b = loop.strides[1].back();
      ParallelFor(threads, Rows(loop), 1, [&](int64_t begin, int64_t end) {
        ForEachRow(loop, begin, end,
                   [&](int64_t at, const std::array<int64_t, 2>& index, int64_t length) {
                     RunRow(x + index[0], stride_a, z + index[1], stride_b, y + at, length, Op());
                   });
      });
      return absl::OkStatus();
    });
  }

  // Two operands of one shape may both stay in a blocked layout without padding; everything else
  // is computed row-major.
  static absl::Status AgreeOnLayout(PrepareContext& c, Meta& output) {
    if (!c.input(0).layout && !c.input(1).layout) return absl::OkStatus();
    const Layout layout = c.input(0).layout ? *c.input(0).layout : *c.input(1).layout;
    const bool same = c.input(0).shape == c.input(1).shape && output.type == c.input(0).type;
    if (same && IsDense(layout)) {
      output.layout = layout;
      RETURN_IF_ERROR(c.SetInputLayout(0, layout));
      return c.SetInputLayout(1, layout);
    }
    for (size_t i = 0; i < 2; ++i) {
      if (!c.input(i).layout) continue;
      RETURN_IF_ERROR(c.SetInputLayout(i, PlainLayout(c.input(i).type, c.input(i).shape)));
    }
    return absl::OkStatus();
  }
};

template <typename Op, typename Types>
absl::StatusOr<std::unique_ptr<Kernel>> Make(const Node& node) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected two inputs");
  }
  return std::make_unique<BinaryKernel<Op, Types>>();
}

using Booleans = TypeList<bool>;
using UnsignedIntegers = TypeList<uint8_t, uint16_t, uint32_t, uint64_t>;
using Comparable = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                            int64_t, uint64_t, bool>;

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeBinary(const Node& node, const Graph&) {
  const std::string& op = node.op;
  if (op == "Add") return Make<Add, AllNumbers>(node);
  if (op == "Sub") return Make<Sub, AllNumbers>(node);
  if (op == "Mul") return Make<Mul, AllNumbers>(node);
  if (op == "Div") return Make<Div, AllNumbers>(node);
  if (op == "PRelu") return Make<PRelu, AllNumbers>(node);
  if (op == "Equal") return Make<Equal, Comparable>(node);
  if (op == "Less") return Make<Less, AllNumbers>(node);
  if (op == "LessOrEqual") return Make<LessOrEqual, AllNumbers>(node);
  if (op == "Greater") return Make<Greater, AllNumbers>(node);
  if (op == "GreaterOrEqual") return Make<GreaterOrEqual, AllNumbers>(node);
  if (op == "And") return Make<And, Booleans>(node);
  if (op == "Or") return Make<Or, Booleans>(node);
  if (op == "Xor") return Make<Xor, Booleans>(node);
  if (op == "Mod") {
    ASSIGN_OR_RETURN(const int64_t fmod, node.Int("fmod", 0));
    return fmod != 0 ? Make<Fmod, AllNumbers>(node) : Make<Mod, AllNumbers>(node);
  }
  if (op == "BitShift") {
    ASSIGN_OR_RETURN(const std::string direction, node.String("direction", ""));
    if (direction == "LEFT") return Make<ShiftLeft, UnsignedIntegers>(node);
    if (direction == "RIGHT") return Make<ShiftRight, UnsignedIntegers>(node);
    return absl::InvalidArgumentError(
        absl::StrCat("attribute \"direction\" is \"", direction, "\"; expected LEFT or RIGHT"));
  }
  return absl::UnimplementedError("no such operator");
}

}  // namespace baton::engine
