// Element-wise operators of two operands, with broadcasting.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/broadcast.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/simd.h"
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

// One row of the output: the operands advance by 0 or 1 (or, rarely, another stride). All that is
// compiled for each operator and type; what is around it is compiled once.
template <typename Op, typename T, typename R>
void RunRow(const void* left, int64_t stride_a, const void* right, int64_t stride_b, void* out,
            int64_t n) {
  const Op op;
  const T *a = static_cast<const T*>(left), *b = static_cast<const T*>(right);
  R* y = static_cast<R*>(out);
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

// An operator for one type of its operands.
struct Variant {
  DataType type, result;
  void (*run_row)(const void* a, int64_t stride_a, const void* b, int64_t stride_b, void* y,
                  int64_t n);
};

template <typename Op, typename... Ts>
std::vector<Variant> VariantsOf(TypeList<Ts...>) {
  return {Variant{DataTypeOf<Ts>(), DataTypeOf<decltype(Op()(Ts(), Ts()))>(),
                  &RunRow<Op, Ts, decltype(Op()(Ts(), Ts()))>}...};
}

class BinaryStep final : public Step {
 public:
  BinaryStep(const Variant& variant, BroadcastLoop<2> loop, int threads)
      : variant_(variant),
        loop_(std::move(loop)),
        threads_(threads),
        size_(static_cast<int64_t>(DataTypeSize(variant.type))),
        result_size_(static_cast<int64_t>(DataTypeSize(variant.result))) {}

  absl::Status Run(const RunContext& r) const override {
    const char *a = r.input<char>(0), *b = r.input<char>(1);
    char* y = r.output<char>(0);
    const int64_t stride_a = loop_.strides[0].back(), stride_b = loop_.strides[1].back();
    const auto run_row = [&](int64_t at, const std::array<int64_t, 2>& index, int64_t length) {
      variant_.run_row(a + index[0] * size_, stride_a, b + index[1] * size_, stride_b,
                       y + at * result_size_, length);
    };
    if (loop_.dims.size() == 1) {  // no outer dimensions: split the one row
      ParallelFor(threads_, loop_.dims[0], 4096, [&](int64_t begin, int64_t end) {
        run_row(begin, {begin * stride_a, begin * stride_b}, end - begin);
      });
    } else {
      ParallelFor(threads_, Rows(loop_), 1,
                  [&](int64_t begin, int64_t end) { ForEachRow(loop_, begin, end, run_row); });
    }
    return absl::OkStatus();
  }

 private:
  const Variant variant_;
  const BroadcastLoop<2> loop_;
  const int threads_;
  const int64_t size_, result_size_;  // bytes of an element
};

// A block of 16 channels: y[i] = x[i] op b for each of `positions` vectors of them.
using RunBlock = void (*)(const float* x, const float* b, float* y, int64_t positions);

struct AddChannels {
  BATON_INLINE static void Apply(Vector& x, const Vector& b) { x = x + b; }
};
struct SubChannels {
  BATON_INLINE static void Apply(Vector& x, const Vector& b) { x = x - b; }
};
struct MulChannels {
  BATON_INLINE static void Apply(Vector& x, const Vector& b) { x = x * b; }
};
struct PReluChannels {
  BATON_INLINE static void Apply(Vector& x, const Vector& b) { x = x < 0.0f ? x * b : x; }
};
template <typename Op>
struct BlockLoop {
  BATON_INLINE static void Run(const float* x, const float* b, float* y, int64_t positions) {
    Vector value, channels;
    Load(b, channels);
    for (int64_t i = 0; i < positions; ++i) {
      Load(x + i * kLanes, value);
      Op::Apply(value, channels);
      Store(value, y + i * kLanes);
    }
  }
};

// An operand with channels in blocks, and one with a value for each channel (and image) in blocks,
// too. Operators that make 0 of two zeros only: that is what channels are padded with.
struct ChannelBroadcast {
  size_t x = 0;  // which of the inputs; the other has the values
  int64_t images = 0, blocks = 0, positions = 0;
  bool each_image = false;
};

class ChannelStep final : public Step {
 public:
  ChannelStep(RunBlock run, const ChannelBroadcast& shape, int threads)
      : run_(run), shape_(shape), threads_(threads) {}

  absl::Status Run(const RunContext& r) const override {
    const float *x = r.input<float>(shape_.x), *b = r.input<float>(1 - shape_.x);
    float* y = r.output<float>(0);
    const int64_t size = shape_.positions * kLanes;
    ParallelFor(threads_, shape_.images * shape_.blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t channels = shape_.each_image ? i : i % shape_.blocks;
        run_(x + i * size, b + channels * kLanes, y + i * size, shape_.positions);
      }
    });
    return absl::OkStatus();
  }

 private:
  const RunBlock run_;
  const ChannelBroadcast shape_;
  const int threads_;
};

class BinaryKernel final : public Kernel {
 public:
  // `run_block`: for a value for each channel; null where there is no such loop, and where the
  // operator does not make 0 of two zeros. `commutes`: so
  // that either operand may be that. `halves`: for bfloat16, if that is supported.
  BinaryKernel(std::vector<Variant> variants, RunBlock run_block, bool commutes,
               std::optional<dnnl::algorithm> halves)
      : variants_(std::move(variants)),
        run_block_(run_block),
        commutes_(commutes),
        halves_(halves) {}

  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const DataType type = c.input(0).type;
    if (c.input(1).type != type) {
      return absl::InvalidArgumentError(absl::StrCat("operands are ", DataTypeName(type), " and ",
                                                     DataTypeName(c.input(1).type),
                                                     "; expected the same type"));
    }
    if (type == DataType::kBfloat16) return PrepareHalves(c);
    const auto variant = std::find_if(variants_.begin(), variants_.end(),
                                      [type](const Variant& v) { return v.type == type; });
    if (variant == variants_.end()) return UnsupportedType(type);

    const Shape a = c.input(0).shape, b = c.input(1).shape;
    ASSIGN_OR_RETURN(const Shape shape, BroadcastShape(a, b));
    Meta output{variant->result, shape, std::nullopt};
    const double bytes =
        3.0 * static_cast<double>(NumElements(shape)) * static_cast<double>(DataTypeSize(type));
    if (const std::optional<ChannelBroadcast> channels = ByChannels(c, shape)) {
      const size_t values = 1 - channels->x;
      output.layout = c.input(channels->x).layout;
      RETURN_IF_ERROR(
          c.SetInputLayout(values, ChannelBlockedLayout(DataType::kFloat, c.input(values).shape)));
      c.SetMaybeInPlace(0, channels->x, output);
      return std::make_unique<ChannelStep>(run_block_, *channels, c.ThreadsFor(0, bytes));
    }
    RETURN_IF_ERROR(AgreeOnLayout(c, output));
    const bool same_type = variant->result == type;
    if (same_type && a == shape) {
      c.SetMaybeInPlace(0, 0, output);
    } else if (same_type && b == shape) {
      c.SetMaybeInPlace(0, 1, output);
    } else {
      c.SetOutput(0, output);
    }
    const int64_t n = NumElements(shape);
    if (n == 0) return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    if (output.layout && !IsDense(*output.layout)) {  // both have it, padding and all
      const Shape stored = {static_cast<int64_t>(output.bytes() / DataTypeSize(output.type))};
      return std::make_unique<BinaryStep>(*variant, MakeBroadcastLoop<2>(stored, {stored, stored}),
                                          c.ThreadsFor(0, bytes));
    }
    return std::make_unique<BinaryStep>(*variant, MakeBroadcastLoop<2>(shape, {a, b}),
                                        c.ThreadsFor(0, bytes));
  }

 private:
  // bfloat16 operands of one shape, in a layout of theirs, on oneDNN.
  absl::StatusOr<std::unique_ptr<Step>> PrepareHalves(PrepareContext& c) const {
    const Shape shape = c.input(0).shape;
    if (!halves_ || c.input(1).shape != shape) {
      return absl::UnimplementedError(absl::StrCat(
          "operands bfloat16", ShapeToString(shape), " and ", ShapeToString(c.input(1).shape),
          " are not supported; expected Add, Sub or Mul of one shape"));
    }
    Meta output{DataType::kBfloat16, shape, std::nullopt};
    RETURN_IF_ERROR(AgreeOnLayout(c, output));
    c.SetMaybeInPlace(0, 0, output);
    if (c.shapes_only()) return nullptr;
    if (NumElements(shape) == 0)
      return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    const int threads = c.ThreadsFor(0, 3.0 * static_cast<double>(output.bytes()));
    const ScopedThreads scope(threads);
    const Layout layout = output.dnnl();
    const auto made = MakeBinary(*halves_, layout, layout, layout, MakeAttr({}));
    if (!made) return absl::UnimplementedError("oneDNN has no such operator");
    using From = DnnlArgument::From;
    return MakeDnnlStep(*made,
                        {{DNNL_ARG_SRC_0, made->src, From::kInput, 0},
                         {DNNL_ARG_SRC_1, made->src1, From::kInput, 1},
                         {DNNL_ARG_DST, made->dst, From::kOutput, 0}},
                        threads, 0);
  }

  std::optional<ChannelBroadcast> ByChannels(const PrepareContext& c, const Shape& shape) const {
    if (run_block_ == nullptr || !HasAvx512() || shape.size() < 3 || shape.size() > 5 ||
        c.input(0).type != DataType::kFloat || NumElements(shape) == 0) {
      return std::nullopt;
    }
    const Layout blocked = ChannelBlockedLayout(DataType::kFloat, shape);
    for (size_t x = 0; x < (commutes_ ? 2 : 1); ++x) {
      const Meta& operand = c.input(x);
      const Shape& values = c.input(1 - x).shape;
      if (operand.shape != shape || !operand.layout || *operand.layout != blocked) continue;
      const bool by_channel =
          values.size() == shape.size() && values[1] == shape[1] &&
          (values[0] == shape[0] || values[0] == 1) &&
          std::all_of(values.begin() + 2, values.end(), [](int64_t d) { return d == 1; });
      if (!by_channel) continue;
      ChannelBroadcast found;
      found.x = x;
      found.images = shape[0];
      found.blocks = (shape[1] + kLanes - 1) / kLanes;
      found.positions = NumElements(absl::MakeConstSpan(shape).subspan(2));
      found.each_image = values[0] != 1;
      return found;
    }
    return std::nullopt;
  }

  // Two operands of one shape may both stay in a blocked layout, with padding if the operator makes
  // 0 of two zeros; everything else is computed row-major.
  absl::Status AgreeOnLayout(PrepareContext& c, Meta& output) const {
    if (!c.input(0).layout && !c.input(1).layout) return absl::OkStatus();
    const Layout layout = c.input(0).layout ? *c.input(0).layout : *c.input(1).layout;
    const bool same = c.input(0).shape == c.input(1).shape && output.type == c.input(0).type;
    const bool keeps_padding = run_block_ != nullptr && output.type == DataType::kFloat &&
                               output.shape.size() >= 3 && output.shape.size() <= 5 &&
                               layout == ChannelBlockedLayout(output.type, output.shape);
    if (same && (keeps_padding || IsDense(layout))) {
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

  const std::vector<Variant> variants_;
  const RunBlock run_block_;
  const bool commutes_;
  const std::optional<dnnl::algorithm> halves_;
};

std::optional<dnnl::algorithm> AlgorithmOf(const std::string& op) {
  if (op == "Add") return dnnl::algorithm::binary_add;
  if (op == "Sub") return dnnl::algorithm::binary_sub;
  if (op == "Mul") return dnnl::algorithm::binary_mul;
  return std::nullopt;
}

template <typename Op, typename Types>
absl::StatusOr<std::unique_ptr<Kernel>> Make(const Node& node, RunBlock run_block = nullptr,
                                             bool commutes = false) {
  if (!node.has_input(0) || !node.has_input(1)) {
    return absl::InvalidArgumentError("expected two inputs");
  }
  return std::make_unique<BinaryKernel>(VariantsOf<Op>(Types()), run_block, commutes,
                                        AlgorithmOf(node.op));
}

using Booleans = TypeList<bool>;
using UnsignedIntegers = TypeList<uint8_t, uint16_t, uint32_t, uint64_t>;
using Comparable = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                            int64_t, uint64_t, bool>;

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeBinary(const Node& node, const Graph&) {
  const std::string& op = node.op;
  const Isa isa = BestIsa();
  if (op == "Add")
    return Make<Add, AllNumbers>(node, CompiledFor<BlockLoop<AddChannels>>(isa), true);
  if (op == "Sub") return Make<Sub, AllNumbers>(node, CompiledFor<BlockLoop<SubChannels>>(isa));
  if (op == "Mul")
    return Make<Mul, AllNumbers>(node, CompiledFor<BlockLoop<MulChannels>>(isa), true);
  if (op == "Div") return Make<Div, AllNumbers>(node);
  if (op == "PRelu")
    return Make<PRelu, AllNumbers>(node, CompiledFor<BlockLoop<PReluChannels>>(isa));
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
