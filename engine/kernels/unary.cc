// Element-wise operators of one operand that oneDNN has not, or not for all types; row-major.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/tensor_types.h"

namespace baton::engine {
namespace {

// An operator for one type of its operand.
struct Variant {
  DataType type, result;
  std::function<void(const void* from, void* to, int64_t n)> run;
};

absl::StatusOr<std::unique_ptr<Step>> PrepareUnary(PrepareContext& c,
                                                   const std::vector<Variant>& variants) {
  const Meta x = c.input(0);
  const auto variant = std::find_if(variants.begin(), variants.end(),
                                    [&x](const Variant& v) { return v.type == x.type; });
  if (variant == variants.end()) return UnsupportedType(x.type);
  const Meta output{variant->result, x.shape, std::nullopt};
  if (variant->result == x.type) {
    c.SetMaybeInPlace(0, 0, output);
  } else {
    c.SetOutput(0, output);
  }
  const int64_t n = NumElements(x.shape);
  const int threads = c.ThreadsFor(16.0 * static_cast<double>(n), static_cast<double>(x.bytes()));
  const auto size = static_cast<int64_t>(DataTypeSize(x.type));
  const auto result_size = static_cast<int64_t>(DataTypeSize(variant->result));
  return MakeStep([run = variant->run, n, threads, size, result_size](const RunContext& r) {
    const char* from = r.input<char>(0);
    char* to = r.output<char>(0);
    ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) {
      run(from + begin * size, to + begin * result_size, end - begin);
    });
    return absl::OkStatus();
  });
}

template <typename T, typename F>
Variant MakeVariant(const F& f) {
  using R = decltype(f(T()));
  return {DataTypeOf<T>(), DataTypeOf<R>(), [f](const void* from, void* to, int64_t n) {
            const T* in = static_cast<const T*>(from);
            R* out = static_cast<R*>(to);
            for (int64_t i = 0; i < n; ++i) out[i] = f(in[i]);
          }};
}

template <typename F, typename... Ts>
std::vector<Variant> VariantsOf(TypeList<Ts...>, const F& f) {
  return {MakeVariant<Ts>(f)...};
}

// f(T) -> R for each element, for the types of the list.
template <typename Types, typename F>
std::unique_ptr<Kernel> MakeUnaryKernel(const F& f) {
  return MakeKernel(
      [variants = VariantsOf(Types(), f)](PrepareContext& c) { return PrepareUnary(c, variants); });
}

template <typename T>
T RoundToEven(T x) {
  return std::nearbyint(x);
}

struct Parameters {
  float alpha, beta;
};

absl::StatusOr<Parameters> ReadParameters(const Node& node, float alpha, float beta,
                                          const char* second) {
  Parameters p;
  ASSIGN_OR_RETURN(p.alpha, node.Float("alpha", alpha));
  ASSIGN_OR_RETURN(p.beta, node.Float(second, beta));
  return p;
}

// Functions of real numbers without parameters.
std::unique_ptr<Kernel> MakeMathFunction(const std::string& op) {
#define BATON_FUNCTION(name, expression) \
  if (op == name) return MakeUnaryKernel<Floats>([](auto x) { return expression; })
  BATON_FUNCTION("Acos", std::acos(x));
  BATON_FUNCTION("Acosh", std::acosh(x));
  BATON_FUNCTION("Asin", std::asin(x));
  BATON_FUNCTION("Asinh", std::asinh(x));
  BATON_FUNCTION("Atan", std::atan(x));
  BATON_FUNCTION("Atanh", std::atanh(x));
  BATON_FUNCTION("Ceil", std::ceil(x));
  BATON_FUNCTION("Cos", std::cos(x));
  BATON_FUNCTION("Cosh", std::cosh(x));
  BATON_FUNCTION("Erf", std::erf(x));
  BATON_FUNCTION("Exp", std::exp(x));
  BATON_FUNCTION("Floor", std::floor(x));
  BATON_FUNCTION("Log", std::log(x));
  BATON_FUNCTION("Reciprocal", decltype(x){1} / x);
  BATON_FUNCTION("Round", RoundToEven(x));
  BATON_FUNCTION("Sin", std::sin(x));
  BATON_FUNCTION("Sinh", std::sinh(x));
  BATON_FUNCTION("Softsign", x / (decltype(x){1} + std::abs(x)));
  BATON_FUNCTION("Sqrt", std::sqrt(x));
  BATON_FUNCTION("Tan", std::tan(x));
  BATON_FUNCTION("IsNaN", std::isnan(x));
  BATON_FUNCTION("HardSwish",
                 x * std::min(std::max(x / 6 + decltype(x){0.5}, decltype(x){0}), decltype(x){1}));
  BATON_FUNCTION("Mish", x * std::tanh(std::log1p(std::exp(x))));
#undef BATON_FUNCTION
  return nullptr;
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeParametric(const Node& node) {
  const std::string& op = node.op;
  if (op == "HardSigmoid") {
    ASSIGN_OR_RETURN(const Parameters p, ReadParameters(node, 0.2f, 0.5f, "beta"));
    return MakeUnaryKernel<Floats>([p](auto x) {
      using T = decltype(x);
      return std::min(std::max(static_cast<T>(p.alpha) * x + static_cast<T>(p.beta), T{0}), T{1});
    });
  }
  if (op == "Selu") {
    ASSIGN_OR_RETURN(const Parameters p,
                     ReadParameters(node, 1.6732632423543772f, 1.0507009873554805f, "gamma"));
    return MakeUnaryKernel<Floats>([p](auto x) {
      using T = decltype(x);
      const T a = static_cast<T>(p.alpha), gamma = static_cast<T>(p.beta);
      return x > T{0} ? gamma * x : gamma * (a * std::exp(x) - a);
    });
  }
  if (op == "Celu") {
    ASSIGN_OR_RETURN(const Parameters p, ReadParameters(node, 1, 0, "beta"));
    return MakeUnaryKernel<Floats>([p](auto x) {
      using T = decltype(x);
      const T a = static_cast<T>(p.alpha);
      return std::max(T{0}, x) + std::min(T{0}, a * std::expm1(x / a));
    });
  }
  if (op == "ThresholdedRelu") {
    ASSIGN_OR_RETURN(const Parameters p, ReadParameters(node, 1, 0, "beta"));
    return MakeUnaryKernel<Floats>([p](auto x) {
      using T = decltype(x);
      return x > static_cast<T>(p.alpha) ? x : T{0};
    });
  }
  if (op == "Shrink") {
    ASSIGN_OR_RETURN(const float bias, node.Float("bias", 0));
    ASSIGN_OR_RETURN(const float lambd, node.Float("lambd", 0.5f));
    return MakeUnaryKernel<AllNumbers>([bias, lambd](auto x) {
      using T = decltype(x);
      const float v = static_cast<float>(x);
      return v < -lambd ? static_cast<T>(v + bias) : v > lambd ? static_cast<T>(v - bias) : T{0};
    });
  }
  if (op == "IsInf") {
    ASSIGN_OR_RETURN(const int64_t negative, node.Int("detect_negative", 1));
    ASSIGN_OR_RETURN(const int64_t positive, node.Int("detect_positive", 1));
    return MakeUnaryKernel<Floats>([=](auto x) {
      return std::isinf(x) && ((x < 0 && negative != 0) || (x > 0 && positive != 0));
    });
  }
  return absl::UnimplementedError("no such operator");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeUnary(const Node& node, const Graph&) {
  if (!node.has_input(0)) return absl::InvalidArgumentError("expected an input");
  const std::string& op = node.op;
  if (std::unique_ptr<Kernel> kernel = MakeMathFunction(op)) return kernel;
  using Signed = TypeList<float, double, int8_t, int16_t, int32_t, int64_t>;
  if (op == "Neg") {
    return MakeUnaryKernel<Signed>([](auto x) {
      using T = decltype(x);
      if constexpr (std::is_integral_v<T>) {
        return static_cast<T>(0 - static_cast<uint64_t>(x));  // wraps for the least value
      } else {
        return -x;
      }
    });
  }
  if (op == "Abs") {
    return MakeUnaryKernel<AllNumbers>([](auto x) {
      using T = decltype(x);
      if constexpr (std::is_unsigned_v<T>) {
        return x;
      } else if constexpr (std::is_integral_v<T>) {
        return x < 0 ? static_cast<T>(0 - static_cast<uint64_t>(x)) : x;
      } else {
        return std::abs(x);
      }
    });
  }
  if (op == "Sign") {
    return MakeUnaryKernel<AllNumbers>([](auto x) {
      using T = decltype(x);
      return static_cast<T>((x > T{0}) - (x < T{0}));
    });
  }
  if (op == "Not") return MakeUnaryKernel<TypeList<bool>>([](bool x) { return !x; });
  return MakeParametric(node);
}

// Clip: bounds may be computed, so they are inputs of the step.
absl::StatusOr<std::unique_ptr<Kernel>> MakeClip(const Node&, const Graph&) {
  return MakeKernel([](PrepareContext& c) -> absl::StatusOr<std::unique_ptr<Step>> {
    const Meta x = c.input(0);
    for (size_t i = 1; i <= 2; ++i) {
      if (!c.has_input(i)) continue;
      if (c.input(i).type != x.type || NumElements(c.input(i).shape) != 1) {
        return absl::InvalidArgumentError(
            absl::StrCat(i == 1 ? "min" : "max", " is ", DataTypeName(c.input(i).type),
                         ShapeToString(c.input(i).shape), ", expected one ", DataTypeName(x.type)));
      }
    }
    return DispatchType(
        x.type, AllNumbers(), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Step>> {
          using T = typename decltype(tag)::type;
          c.SetMaybeInPlace(0, 0, x);
          const int64_t n = NumElements(x.shape);
          const int threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
          const bool has_min = c.has_input(1), has_max = c.has_input(2);
          return MakeStep([=](const RunContext& r) {
            const T low = has_min ? *r.input<T>(1) : std::numeric_limits<T>::lowest();
            const T high = has_max ? *r.input<T>(2) : std::numeric_limits<T>::max();
            const T* from = r.input<T>(0);
            T* to = r.output<T>(0);
            ParallelFor(threads, n, 4096, [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                const T v = from[i] < low ? low : from[i];
                to[i] = v > high ? high : v;
              }
            });
            return absl::OkStatus();
          });
        });
  });
}

}  // namespace baton::engine
