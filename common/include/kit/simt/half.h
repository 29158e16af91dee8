#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kit/simt/half_types.h"  // IWYU pragma: export

/// Arithmetic of CUDA's 16-bit types for the SIMT executor. One operation computes in float and rounds once
/// to nearest even, which for + - * / gives what the hardware gives (a float holds more than 2 * 11 + 2
/// bits).
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,performance-unnecessary-value-param)

/// The float beside `exact` whose last bit is odd, or `exact` itself: rounding it to 16 bits then gives what
/// rounding `exact` at once gives (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
inline float kit_simt_round_to_odd(double exact) {
  const auto nearest = static_cast<float>(exact);
  const auto bits = std::bit_cast<std::uint32_t>(nearest);
  const double error = std::fabs(exact) - std::fabs(static_cast<double>(nearest));
  if (!std::isfinite(nearest) || error == 0.0 || (bits & 1U) != 0) return nearest;
  return std::bit_cast<float>(error > 0.0 ? bits + 1 : bits - 1);
}

// What the two types have alike. The product of a fused operation is exact in double, and so is the sum
// unless the exponents of product and summand lie more than 30 apart.
#define KIT_SIMT_HALF_OPERATION(T, name, op)       \
  inline T __h##name(T a, T b) {                   \
    return {float(a) op float(b)};                 \
  }                                                \
  inline T operator op(T a, T b) {                 \
    return {float(a) op float(b)};                 \
  }                                                \
  inline T& operator op##=(T& a, T b) {            \
    return a = a op b;                             \
  }                                                \
  inline T##2 __h##name##2(T##2 a, T##2 b) {       \
    return {a.x op b.x, a.y op b.y};               \
  }                                                \
  inline T##2 operator op(T##2 a, T##2 b) {        \
    return {a.x op b.x, a.y op b.y};               \
  }                                                \
  inline T##2 & operator op##=(T##2 & a, T##2 b) { \
    return a = a op b;                             \
  }
#define KIT_SIMT_HALF_COMPARISON(T, name, op) \
  inline bool __h##name(T a, T b) {           \
    return float(a) op float(b);              \
  }                                           \
  inline bool operator op(T a, T b) {         \
    return float(a) op float(b);              \
  }
#define KIT_SIMT_HALF_FUNCTION(T, name, function) \
  inline T h##name(T a) {                         \
    return {function(float(a))};                  \
  }
#define KIT_SIMT_HALF_TYPE(T)                                                               \
  KIT_SIMT_HALF_OPERATION(T, add, +)                                                        \
  KIT_SIMT_HALF_OPERATION(T, sub, -)                                                        \
  KIT_SIMT_HALF_OPERATION(T, mul, *)                                                        \
  KIT_SIMT_HALF_OPERATION(T, div, /)                                                        \
  KIT_SIMT_HALF_COMPARISON(T, eq, ==)                                                       \
  KIT_SIMT_HALF_COMPARISON(T, ne, !=)                                                       \
  KIT_SIMT_HALF_COMPARISON(T, lt, <)                                                        \
  KIT_SIMT_HALF_COMPARISON(T, le, <=)                                                       \
  KIT_SIMT_HALF_COMPARISON(T, gt, >)                                                        \
  KIT_SIMT_HALF_COMPARISON(T, ge, >=)                                                       \
  KIT_SIMT_HALF_FUNCTION(T, exp, std::exp)                                                  \
  KIT_SIMT_HALF_FUNCTION(T, log, std::log)                                                  \
  KIT_SIMT_HALF_FUNCTION(T, sqrt, std::sqrt)                                                \
  KIT_SIMT_HALF_FUNCTION(T, rsqrt, 1.0F / std::sqrt)                                        \
  KIT_SIMT_HALF_FUNCTION(T, rcp, 1.0F /)                                                    \
  inline T operator-(T a) {                                                                 \
    a.bits ^= 0x8000U;                                                                      \
    return a;                                                                               \
  }                                                                                         \
  inline T##2 operator-(T##2 a) {                                                           \
    return {-a.x, -a.y};                                                                    \
  }                                                                                         \
  inline T __hneg(T a) {                                                                    \
    return -a;                                                                              \
  }                                                                                         \
  inline T __habs(T a) {                                                                    \
    a.bits &= 0x7FFFU;                                                                      \
    return a;                                                                               \
  }                                                                                         \
  inline bool __hisnan(T a) {                                                               \
    return std::isnan(float(a));                                                            \
  }                                                                                         \
  inline T __hfma(T a, T b, T c) {                                                          \
    return {kit_simt_round_to_odd(double(float(a)) * double(float(b)) + double(float(c)))}; \
  }                                                                                         \
  inline T##2 __hfma2(T##2 a, T##2 b, T##2 c) {                                             \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};                                  \
  }                                                                                         \
  inline T __hmax(T a, T b) {                                                               \
    return a < b || a != a ? b : a;                                                         \
  }                                                                                         \
  inline T __hmin(T a, T b) {                                                               \
    return b < a || a != a ? b : a;                                                         \
  }                                                                                         \
  inline T##2 __hmax2(T##2 a, T##2 b) {                                                     \
    return {__hmax(a.x, b.x), __hmax(a.y, b.y)};                                            \
  }                                                                                         \
  inline T##2 __hmin2(T##2 a, T##2 b) {                                                     \
    return {__hmin(a.x, b.x), __hmin(a.y, b.y)};                                            \
  }                                                                                         \
  inline float __low2float(T##2 a) {                                                        \
    return a.x;                                                                             \
  }                                                                                         \
  inline float __high2float(T##2 a) {                                                       \
    return a.y;                                                                             \
  }                                                                                         \
  inline T##2 __lowhigh2highlow(T##2 a) {                                                   \
    return {a.y, a.x};                                                                      \
  }
KIT_SIMT_HALF_TYPE(__half)
KIT_SIMT_HALF_TYPE(__nv_bfloat16)
#undef KIT_SIMT_HALF_TYPE
#undef KIT_SIMT_HALF_FUNCTION
#undef KIT_SIMT_HALF_COMPARISON
#undef KIT_SIMT_HALF_OPERATION

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,performance-unnecessary-value-param)
