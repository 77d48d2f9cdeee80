// Vectors of floats for loops written by hand, and how such a loop is compiled for the instruction
// sets that a processor may have.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine/base/check.h"
#include "engine/tensor.h"

// What is inlined into a function for an instruction set is compiled for that.
#define BATON_INLINE [[gnu::always_inline]] inline

namespace baton::engine {

enum class Isa { kPlain, kAvx2, kAvx512 };

// What this processor has, at best.
inline Isa BestIsa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Isa::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::kAvx2;
#endif
  return Isa::kPlain;
}

// CompiledFor<Loop>(isa): a pointer to the function Loop::Run, compiled for `isa`. Loop::Run is
// static and BATON_INLINE, as is all that it calls; vectors are passed by reference, since how they
// are passed by value depends on the instruction set. REQUIRES: the processor has `isa`.
template <typename Loop, typename Function = decltype(Loop::Run)>
struct CompiledLoop;
template <typename Loop, typename Result, typename... Args>
struct CompiledLoop<Loop, Result(Args...)> {
  static Result Plain(Args... args) { return Loop::Run(args...); }
#if defined(__x86_64__)
  [[gnu::target("avx2,fma")]] static Result Avx2(Args... args) { return Loop::Run(args...); }
  [[gnu::target("avx512f")]] static Result Avx512(Args... args) { return Loop::Run(args...); }
#endif
};
template <typename Loop>
auto CompiledFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return &CompiledLoop<Loop>::Avx512;
  if (isa == Isa::kAvx2) return &CompiledLoop<Loop>::Avx2;
#endif
  BATON_CHECK(isa == Isa::kPlain);
  return &CompiledLoop<Loop>::Plain;
}

inline constexpr int kLanes = 16;
// Narrower where the processor has no such registers: the compiler splits it.
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));
using VectorBits = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));
inline constexpr VectorBits kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

BATON_INLINE void Load(const float* from, Vector& to) { std::memcpy(&to, from, sizeof(to)); }
BATON_INLINE void Store(const Vector& from, float* to) { std::memcpy(to, &from, sizeof(from)); }
// The first of `left` that are left, at most a vector; the other lanes are `rest`.
BATON_INLINE void LoadUpTo(const float* from, int64_t left, float rest, Vector& to) {
  if (left >= kLanes) [[likely]] {
    Load(from, to);
  } else {
    to = Vector{} + rest;
    std::memcpy(&to, from, static_cast<size_t>(left) * sizeof(float));
  }
}
BATON_INLINE void StoreUpTo(const Vector& from, int64_t left, float* to) {
  if (left >= kLanes) [[likely]] {
    Store(from, to);
  } else {
    std::memcpy(to, &from, static_cast<size_t>(left) * sizeof(float));
  }
}

// bfloat16: the upper half of a float, rounded to even.
using VectorHalves = uint16_t __attribute__((vector_size(kLanes * sizeof(uint16_t))));
BATON_INLINE void LoadUpTo(const Bfloat16* from, int64_t left, float rest, Vector& to) {
  if (left >= kLanes) [[likely]] {
    VectorHalves halves;
    std::memcpy(&halves, from, sizeof(halves));
    const VectorBits bits = __builtin_convertvector(halves, VectorBits) << 16;
    std::memcpy(&to, &bits, sizeof(to));
  } else {
    to = Vector{} + rest;
    for (int64_t i = 0; i < left; ++i) to[i] = from[i].ToFloat();
  }
}
BATON_INLINE void StoreUpTo(const Vector& from, int64_t left, Bfloat16* to) {
  VectorBits bits;
  std::memcpy(&bits, &from, sizeof(bits));
  bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const VectorHalves halves = __builtin_convertvector(bits, VectorHalves);
  std::memcpy(to, &halves, static_cast<size_t>(left < kLanes ? left : kLanes) * sizeof(Bfloat16));
}

// IEEE half: exact to float, rounded to even from it.
BATON_INLINE void LoadUpTo(const Float16* from, int64_t left, Vector& to) {
  VectorHalves halves{};
  std::memcpy(&halves, from, static_cast<size_t>(left < kLanes ? left : kLanes) * sizeof(Float16));
  const VectorBits bits = __builtin_convertvector(halves, VectorBits);
  VectorBits magnitude = bits & 0x7FFF;
  const VectorBits infinite = magnitude >= 0x7C00 ? VectorBits{} + 0x7F800000 : VectorBits{};
  magnitude = magnitude << 13;
  std::memcpy(&to, &magnitude, sizeof(to));
  to = to * 0x1p112f;  // the exponent's bias; subnormal numbers become normal
  std::memcpy(&magnitude, &to, sizeof(to));
  magnitude = magnitude | infinite | (bits & 0x8000) << 16;
  std::memcpy(&to, &magnitude, sizeof(to));
}
BATON_INLINE void StoreUpTo(const Vector& from, int64_t left, Float16* to) {
  VectorBits bits;
  std::memcpy(&bits, &from, sizeof(bits));
  VectorBits magnitude = bits & 0x7FFFFFFF;
  Vector subnormal;
  std::memcpy(&subnormal, &magnitude, sizeof(magnitude));
  subnormal = subnormal + 0.5f;  // whose last bit is float16's smallest number
  VectorBits small;
  std::memcpy(&small, &subnormal, sizeof(small));
  VectorBits half = (magnitude + 0xFFF + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
  half = magnitude < 0x38800000 ? small - 0x3F000000 : half;
  half = magnitude >= 0x477FF000 ? VectorBits{} + 0x7C00 : half;
  half = magnitude > 0x7F800000 ? VectorBits{} + 0x7E00 : half;
  half = half | (bits & 0x80000000) >> 16;
  const VectorHalves halves = __builtin_convertvector(half, VectorHalves);
  std::memcpy(to, &halves, static_cast<size_t>(left < kLanes ? left : kLanes) * sizeof(Float16));
}

// Lanes 8, 4, 2 and 1 apart change places.
BATON_INLINE void Swap8(const Vector& x, Vector& to) {
  to = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}
BATON_INLINE void Swap4(const Vector& x, Vector& to) {
  to = __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
}
BATON_INLINE void Swap2(const Vector& x, Vector& to) {
  to = __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}
BATON_INLINE void Swap1(const Vector& x, Vector& to) {
  to = __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
}
// Of all lanes; in halves, so that it is the same on every processor.
BATON_INLINE float Sum(const Vector& x) {
  Vector y, sum = x;
  Swap8(sum, y);
  sum = sum + y;
  Swap4(sum, y);
  sum = sum + y;
  Swap2(sum, y);
  sum = sum + y;
  Swap1(sum, y);
  sum = sum + y;
  return sum[0];
}
BATON_INLINE float Largest(const Vector& x) {
  Vector y, largest = x;
  Swap8(largest, y);
  largest = y > largest ? y : largest;
  Swap4(largest, y);
  largest = y > largest ? y : largest;
  Swap2(largest, y);
  largest = y > largest ? y : largest;
  Swap1(largest, y);
  largest = y > largest ? y : largest;
  return largest[0];
}

// exp, to about 2 units in the last place, of what is first brought within what a float holds.
// Coefficients: Cephes' expf.
BATON_INLINE void Exp(Vector& x) {
  x = x < -87.3f ? Vector{} - 87.3f : x;
  x = x > 88.3f ? Vector{} + 88.3f : x;
  // As many twos as go into e^x: rounded by adding a number so large that its last bit is 1.
  constexpr float kRound = 12582912.0f;
  const Vector shifted = x * 1.44269504f + kRound;
  const Vector twos = shifted - kRound;
  x = x - twos * 0.693359375f;
  x = x - twos * -2.12194440e-4f;
  Vector y = x * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * (x * x) + x + 1.0f;
  VectorBits power;
  std::memcpy(&power, &shifted, sizeof(power));
  constexpr uint32_t kRoundBits = 0x4B400000;
  power = (power - kRoundBits + 127) << 23;
  Vector scale;
  std::memcpy(&scale, &power, sizeof(scale));
  x = y * scale;
}

// exp of how far an element is below the greatest of a softmax. 0 where that is next to nothing: a
// share of a sum could be a denormal number, which some CPUs multiply a hundred times as slowly.
BATON_INLINE void ExpOfDifference(Vector& x) {
  const Vector difference = x;
  Exp(x);
  x = difference < -70.0f ? Vector{} : x;
}

// Where |x| is more, e^x is next to 0 or to infinity.
inline constexpr float kMostOfExp = 87.3f;

// x becomes 1 + e^(-slope · x), where `most` is kMostOfExp / |slope|.
BATON_INLINE void OnePlusExp(float slope, float most, Vector& x) {
  constexpr float kLog2E = 1.44269504f;
  x = x < -most ? Vector{} - most : x;
  x = x > most ? Vector{} + most : x;
  // As in Exp; 2^z for |z| ≤ ½ by the polynomial of the smallest error that is 1 at 0.
  constexpr float kRound = 12582912.0f;
  const float factor = -slope * kLog2E;
  const Vector shifted = x * factor + kRound;
  const Vector z = x * factor - (shifted - kRound);
  Vector y = z * 1.326472703e-3f + 9.671512878e-3f;
  y = y * z + 5.550733746e-2f;
  y = y * z + 2.402224208e-1f;
  y = y * z + 6.931469776e-1f;
  y = y * z + 1.0f;
  VectorBits power;
  std::memcpy(&power, &shifted, sizeof(power));
  power = (power << 23) + 0x3F800000;
  Vector scale;
  std::memcpy(&scale, &power, sizeof(power));
  x = y * scale + 1.0f;
}

// 1 / (1 + e^-x), to about 3e-7 of it, and where it is next to 0 to 5e-8 · |x|.
BATON_INLINE void Sigmoid(Vector& x) {
  OnePlusExp(1, kMostOfExp, x);
  x = 1.0f / x;
}

// Coefficients: Cephes' tanhf.
BATON_INLINE void Tanh(Vector& x) {
  const Vector square = x * x;
  Vector near = square * -5.70498872745e-3f + 2.06390887954e-2f;
  near = near * square - 5.37397155531e-2f;
  near = near * square + 1.33314422036e-1f;
  near = near * square - 3.33332819422e-1f;
  near = near * square * x + x;
  Vector far = x + x;
  Exp(far);
  far = 1.0f - 2.0f / (far + 1.0f);
  x = square < 0.390625f ? near : far;
}

}  // namespace baton::engine
