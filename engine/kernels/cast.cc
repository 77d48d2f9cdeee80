// Cast between numbers, ConstantOfShape and Range.
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

template <typename From, typename To>
void ConvertAll(const void* from, void* to, int64_t n) {
  const From* in = static_cast<const From*>(from);
  To* out = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) out[i] = ConvertElement<To>(in[i]);
}

struct WidenLoop {
  BATON_INLINE static void Run(const void* from, void* to, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) {
      Vector x;
      LoadUpTo(static_cast<const Float16*>(from) + i, n - i, x);
      StoreUpTo(x, n - i, static_cast<float*>(to) + i);
    }
  }
};
struct NarrowLoop {
  BATON_INLINE static void Run(const void* from, void* to, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) {
      Vector x;
      LoadUpTo(static_cast<const float*>(from) + i, n - i, 0, x);
      StoreUpTo(x, n - i, static_cast<Float16*>(to) + i);
    }
  }
};

using Conversion = void (*)(const void* from, void* to, int64_t n);

absl::StatusOr<Conversion> FindConversion(DataType from, DataType to) {
  using Result = absl::StatusOr<Conversion>;
  constexpr auto kFloat = DataType::kFloat, kFloat16 = DataType::kFloat16;
  if (from == kFloat16 && to == kFloat) return CompiledFor<WidenLoop>(BestIsa());
  if (from == kFloat && to == kFloat16) return CompiledFor<NarrowLoop>(BestIsa());
  return DispatchType(from, AllFixed(), [&](auto from_tag) -> Result {
    return DispatchType(to, AllFixed(), [&](auto to_tag) -> Result {
      return &ConvertAll<typename decltype(from_tag)::type, typename decltype(to_tag)::type>;
    });
  });
}

bool IsFloatOrBfloat16(DataType type) {
  return type == DataType::kFloat || type == DataType::kBfloat16;
}

// Between float and bfloat16, in any layout.
absl::StatusOr<std::unique_ptr<Step>> PrepareRounding(PrepareContext& c, DataType to) {
  Meta y = c.input(0);
  y.type = to;
  if (y.layout) y.layout = WithType(*y.layout, to);
  if (!y.layout) RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(c.input(0).type, y.shape)));
  c.SetOutput(0, y);
  if (c.shapes_only()) return nullptr;
  if (NumElements(y.shape) == 0) {
    return MakeStep([](const RunContext&) { return absl::OkStatus(); });
  }
  const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(c.input(0).bytes()));
  const ScopedThreads scope(threads);
  const std::optional<DnnlPrimitive> made = MakeReorder(c.input(0).dnnl(), y.dnnl());
  if (!made) return absl::UnimplementedError("oneDNN has no such reorder");
  return MakeDnnlStep(*made,
                      {{DNNL_ARG_FROM, made->src, DnnlArgument::From::kInput, 0},
                       {DNNL_ARG_TO, made->dst, DnnlArgument::From::kOutput, 0}},
                      threads, 0);
}

absl::StatusOr<std::unique_ptr<Step>> PrepareCast(PrepareContext& c, DataType to) {
  const Meta x = c.input(0);
  if (x.type != to && IsFloatOrBfloat16(x.type) && IsFloatOrBfloat16(to)) {
    return PrepareRounding(c, to);
  }
  if (x.layout) RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(x.type, x.shape)));
  if (x.type == to) {
    c.SetView(0, 0, x.shape);
    return nullptr;
  }
  ASSIGN_OR_RETURN(const Conversion convert, FindConversion(x.type, to));
  c.SetOutput(0, to, x.shape);
  const int64_t n = NumElements(x.shape);
  const auto size_from = static_cast<int64_t>(DataTypeSize(x.type));
  const auto size_to = static_cast<int64_t>(DataTypeSize(to));
  const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
  return MakeStep([=](const RunContext& r) {
    const char* in = r.input<char>(0);
    char* out = r.output<char>(0);
    ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) {
      convert(in + begin * size_from, out + begin * size_to, end - begin);
    });
    return absl::OkStatus();
  });
}

class CastKernel final : public Kernel {
 public:
  explicit CastKernel(DataType to) : to_(to) {}
  bool AcceptsLayouts() const override { return true; }
  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    return PrepareCast(c, to_);
  }

 private:
  const DataType to_;
};

// How many of start, start + delta, … come before `limit`. REQUIRES: delta is not 0 or NaN.
template <typename T>
int64_t RangeSize(T start, T limit, T delta) {
  if constexpr (std::is_integral_v<T>) {
    if (delta > 0 ? start >= limit : start <= limit) return 0;
    // Unsigned, where the distance between any two fits.
    const auto from = static_cast<uint64_t>(start), to = static_cast<uint64_t>(limit);
    const auto by = static_cast<uint64_t>(delta);
    const uint64_t n = delta > 0 ? (to - from - 1) / by + 1 : (from - to - 1) / (0 - by) + 1;
    return static_cast<int64_t>(std::min(n, uint64_t{std::numeric_limits<int64_t>::max()}));
  } else {
    const double n = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                               static_cast<double>(delta));
    return n > 0 ? static_cast<int64_t>(std::min(n, 9e18)) : 0;
  }
}

absl::StatusOr<std::unique_ptr<Step>> PrepareRange(PrepareContext& c) {
  const DataType type = c.input(0).type;
  const Tensor* given[3];
  for (size_t i = 0; i < 3; ++i) {
    ASSIGN_OR_RETURN(given[i], c.Data(i));
    if (given[i]->type() != type || given[i]->size() != 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "start, limit and delta must each be one ", DataTypeName(type), "; input ", i, " is ",
          DataTypeName(given[i]->type()), ShapeToString(given[i]->shape())));
    }
  }
  using Types = TypeList<float, double, int16_t, int32_t, int64_t>;
  return DispatchType(type, Types(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
    using T = typename decltype(tag)::type;
    const T start = given[0]->values<T>()[0], limit = given[1]->values<T>()[0];
    const T delta = given[2]->values<T>()[0];
    if (delta == T{0} || delta != delta || start != start || limit != limit) {
      return absl::InvalidArgumentError(
          absl::StrCat("start ", start, ", limit ", limit, " and delta ", delta, " make no range"));
    }
    const int64_t n = RangeSize(start, limit, delta);
    RETURN_IF_ERROR(CheckedNumElements({n}).status());
    c.SetOutput(0, type, {n});
    return MakeStep([start, delta, n](const RunContext& r) {
      T* to = r.output<T>(0);
      for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(start + static_cast<T>(i) * delta);
      return absl::OkStatus();
    });
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeCast(const Node& node, const Graph&) {
  ASSIGN_OR_RETURN(const int64_t to, node.Int("to", 0));
  const DataType type = static_cast<DataType>(to);
  if (DataTypeSize(type) == 0 || type == DataType::kString) {
    return absl::UnimplementedError(
        absl::StrCat("a cast to ", DataTypeName(type), " is not supported"));
  }
  return std::make_unique<CastKernel>(type);
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeCastLike(const Node&, const Graph&) {
  return MakeKernel([](PrepareContext& c) { return PrepareCast(c, c.input(1).type); });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeConstantOfShape(const Node& node, const Graph&) {
  Tensor value = Tensor::From<float>({1}, {0.0f});
  if (const auto it = node.attributes.find("value"); it != node.attributes.end()) {
    const Tensor* given = std::get_if<Tensor>(&it->second);
    if (given == nullptr || given->size() != 1 || given->type() == DataType::kString) {
      return absl::InvalidArgumentError("attribute \"value\" is not a tensor of one number");
    }
    value = *given;
  }
  return MakeKernel([value](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    ASSIGN_OR_RETURN(const Tensor* data, c.Data(0));
    ASSIGN_OR_RETURN(const std::vector<int64_t> dims, ToInts(*data));
    ASSIGN_OR_RETURN(const int64_t n, CheckedNumElements(dims));
    c.SetOutput(0, value.type(), Shape(dims.begin(), dims.end()));
    const size_t width = DataTypeSize(value.type());
    return MakeStep([value, n, width](const RunContext& r) {
      char* to = r.output<char>(0);
      for (int64_t i = 0; i < n; ++i, to += width) std::memcpy(to, value.data(), width);
      return absl::OkStatus();
    });
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeRange(const Node& node, const Graph&) {
  if (node.inputs.size() != 3) return absl::InvalidArgumentError("expected three inputs");
  return MakeKernel(&PrepareRange);
}

}  // namespace baton::engine
