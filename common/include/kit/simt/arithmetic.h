#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

/// CUDA's arithmetic functions for the SIMT executor. The fast ones (__expf, ...) are computed precisely
/// here; on a GPU they may differ in the last bits, so no test may depend on those.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

#define KIT_SIMT_MIN_MAX(T)   \
  constexpr T min(T a, T b) { \
    return b < a ? b : a;     \
  }                           \
  constexpr T max(T a, T b) { \
    return a < b ? b : a;     \
  }
KIT_SIMT_MIN_MAX(int)
KIT_SIMT_MIN_MAX(unsigned)
KIT_SIMT_MIN_MAX(long)
KIT_SIMT_MIN_MAX(unsigned long)
KIT_SIMT_MIN_MAX(long long)
KIT_SIMT_MIN_MAX(unsigned long long)
#undef KIT_SIMT_MIN_MAX
// For floating point, fmin and fmax: a NaN loses against a number.
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
inline double min(double a, double b) {
  return std::fmin(a, b);
}
inline double max(double a, double b) {
  return std::fmax(a, b);
}

inline float rsqrtf(float x) {
  return 1.0F / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __exp10f(float x) {
  return std::pow(10.0F, x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float __log10f(float x) {
  return std::log10(x);
}
inline float __powf(float x, float y) {
  return std::pow(x, y);
}
inline float __sinf(float x) {
  return std::sin(x);
}
inline float __cosf(float x) {
  return std::cos(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __frcp_rn(float x) {
  return 1.0F / x;
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline float __frsqrt_rn(float x) {
  return 1.0F / std::sqrt(x);
}
inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline float __fsub_rn(float x, float y) {
  return x - y;
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __tanf(float x) {
  return std::tan(x);
}
inline float __fmaf_rn(float x, float y, float z) {
  return std::fma(x, y, z);
}
inline float __saturatef(float x) {
  return std::fmin(std::fmax(x, 0.0F), 1.0F);
}

// Conversions saturate as on the GPU: a NaN gives 0, what does not fit gives the nearest limit.
inline int kit_simt_to_int(float rounded) {
  if (!(rounded == rounded)) return 0;
  if (rounded >= 2147483648.0F) return 2147483647;
  if (rounded < -2147483648.0F) return -2147483647 - 1;
  return static_cast<int>(rounded);
}
inline int __float2int_rn(float x) {
  return kit_simt_to_int(std::nearbyint(x));
}
inline int __float2int_rz(float x) {
  return kit_simt_to_int(std::trunc(x));
}
inline int __float2int_rd(float x) {
  return kit_simt_to_int(std::floor(x));
}
inline int __float2int_ru(float x) {
  return kit_simt_to_int(std::ceil(x));
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}

constexpr int __popc(unsigned x) {
  return std::popcount(x);
}
constexpr int __popcll(unsigned long long x) {
  return std::popcount(x);
}
constexpr int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
constexpr int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
constexpr int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
constexpr int __ffsll(long long x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1;
}
constexpr unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1U) << (31 - bit);
  return reversed;
}
constexpr int __mulhi(int a, int b) {
  return static_cast<int>((std::int64_t{a} * b) >> 32);
}
constexpr unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}

/// Four of the bytes a0 a1 a2 a3 b0 b1 b2 b3, numbered from 0 and from the lowest: half byte i of the
/// selector chooses byte i of the result; its highest bit is ignored, as CUDA's documentation has it.
constexpr unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t{b} << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7U) & 0xffU) << 8 * i;
  return result;
}

/// Four products of unsigned bytes and a sum.
constexpr unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int byte = 0; byte < 4; ++byte) c += (a >> 8 * byte & 0xffU) * (b >> 8 * byte & 0xffU);
  return c;
}
/// Four products of signed bytes and a sum: c + a0 b0 + a1 b1 + a2 b2 + a3 b3, wrapping like the instruction.
constexpr int __dp4a(int a, int b, int c) {
  auto sum = static_cast<unsigned>(c);
  for (int byte = 0; byte < 4; ++byte) {
    const int product = static_cast<std::int8_t>(static_cast<unsigned>(a) >> (8 * byte)) *
                        static_cast<std::int8_t>(static_cast<unsigned>(b) >> (8 * byte));
    sum += static_cast<unsigned>(product);
  }
  return static_cast<int>(sum);
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
