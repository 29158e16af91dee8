#pragma once

#include <cstdint>

#include "kit/dtype.h"
#include "kit/simt/vector_types.h"

/// CUDA's 16-bit floating-point types for the SIMT executor. One operation computes in float and rounds once to
/// nearest even, which for + - * / gives what the hardware gives (a float holds more than 2 * 11 + 2 bits).
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

struct __half {
  std::uint16_t bits;
  __half() = default;
  __half(float value) : bits(kit::to_half(value).bits) {}  // NOLINT(google-explicit-constructor)
  operator float() const { return kit::to_float(kit::Half{bits}); }  // NOLINT(google-explicit-constructor)
};

struct __nv_bfloat16 {
  std::uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(kit::to_bfloat16(value).bits) {}  // NOLINT(google-explicit-constructor)
  operator float() const { return kit::to_float(kit::BFloat16{bits}); }  // NOLINT(google-explicit-constructor)
};

struct alignas(4) __half2 {
  __half x, y;
  KIT_SIMT_COPIES(__half2, 4)
  __half2(__half x_, __half y_) : x(x_), y(y_) {}
};

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
  KIT_SIMT_COPIES(__nv_bfloat162, 4)
  __nv_bfloat162(__nv_bfloat16 x_, __nv_bfloat16 y_) : x(x_), y(y_) {}
};

using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __half __float2half(float value) {
  return {value};
}
inline __half __float2half_rn(float value) {
  return {value};
}
inline float __half2float(__half value) {
  return value;
}
inline __nv_bfloat16 __float2bfloat16(float value) {
  return {value};
}
inline float __bfloat162float(__nv_bfloat16 value) {
  return value;
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {x, y};
}
inline __half2 __float2half2_rn(float value) {
  return {value, value};
}
inline __half2 __halves2half2(__half x, __half y) {
  return {x, y};
}
inline __half2 __half2half2(__half value) {
  return {value, value};
}
inline float __low2float(const __half2& value) {
  return value.x;
}
inline float __high2float(const __half2& value) {
  return value.y;
}
inline __half __low2half(const __half2& value) {
  return value.x;
}
inline __half __high2half(const __half2& value) {
  return value.y;
}
inline float2 __half22float2(const __half2& value) {
  return {value.x, value.y};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {x, y};
}
inline float2 __bfloat1622float2(const __nv_bfloat162& value) {
  return {value.x, value.y};
}

#define KIT_SIMT_HALF_OPERATION(name, op)                                     \
  inline __half __h##name(__half a, __half b) {                               \
    return {float(a) op float(b)};                                            \
  }                                                                           \
  inline __half operator op(__half a, __half b) {                             \
    return {float(a) op float(b)};                                            \
  }                                                                           \
  inline __nv_bfloat16 __h##name(__nv_bfloat16 a, __nv_bfloat16 b) {          \
    return {float(a) op float(b)};                                            \
  }                                                                           \
  inline __nv_bfloat16 operator op(__nv_bfloat16 a, __nv_bfloat16 b) {        \
    return {float(a) op float(b)};                                            \
  }                                                                           \
  inline __half2 __h##name##2(const __half2& a, const __half2& b) {           \
    return {a.x op b.x, a.y op b.y};                                          \
  }                                                                           \
  inline __half2 operator op(const __half2& a, const __half2& b) {            \
    return {a.x op b.x, a.y op b.y};                                          \
  }                                                                           \
  inline __nv_bfloat162 __h##name##2(const __nv_bfloat162& a, const __nv_bfloat162& b) { \
    return {a.x op b.x, a.y op b.y};                                          \
  }

KIT_SIMT_HALF_OPERATION(add, +)
KIT_SIMT_HALF_OPERATION(sub, -)
KIT_SIMT_HALF_OPERATION(mul, *)
KIT_SIMT_HALF_OPERATION(div, /)
#undef KIT_SIMT_HALF_OPERATION

// The product is exact in double; the sum is rounded there and once more to 16 bits, which can differ from a fused
// operation only where the sum lies within 2^-53 of a tie.
inline __half __hfma(__half a, __half b, __half c) {
  return {static_cast<float>(double(float(a)) * double(float(b)) + double(float(c)))};
}
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  return {static_cast<float>(double(float(a)) * double(float(b)) + double(float(c)))};
}
inline __half2 __hfma2(const __half2& a, const __half2& b, const __half2& c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
inline __half __hmax(__half a, __half b) {
  return float(a) < float(b) || float(a) != float(a) ? b : a;
}
inline __half __hmin(__half a, __half b) {
  return float(b) < float(a) || float(a) != float(a) ? b : a;
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
