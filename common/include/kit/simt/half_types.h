#pragma once

#include <cstdint>

#include "kit/dtype.h"
#include "kit/simt/vector_types.h"

/// CUDA's 16-bit floating-point types and their conversions for the SIMT executor.
/// Pairs are passed by value, so that a pair in memory is one access of 4 bytes.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,performance-unnecessary-value-param)

struct __half {
  std::uint16_t bits;
  __half() = default;
  __half(float value) : bits(kit::to_half(value).bits) {}            // NOLINT(google-explicit-constructor)
  operator float() const { return kit::to_float(kit::Half{bits}); }  // NOLINT(google-explicit-constructor)
};

struct __nv_bfloat16 {
  std::uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(kit::to_bfloat16(value).bits) {}  // NOLINT(google-explicit-constructor)
  operator float() const {
    return kit::to_float(kit::BFloat16{bits});
  }  // NOLINT(google-explicit-constructor)
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
inline __half2 __floats2half2_rn(float x, float y) {
  return {x, y};
}
inline __half2 __float22half2_rn(float2 value) {
  return {value.x, value.y};
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
inline __half __low2half(__half2 value) {
  return value.x;
}
inline __half __high2half(__half2 value) {
  return value.y;
}
inline float2 __half22float2(__half2 value) {
  return {value.x, value.y};
}
inline unsigned short __half_as_ushort(__half value) {
  return value.bits;
}
inline __half __ushort_as_half(unsigned short bits) {
  __half value;
  value.bits = bits;
  return value;
}

inline __nv_bfloat16 __float2bfloat16(float value) {
  return {value};
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  return {value};
}
inline float __bfloat162float(__nv_bfloat16 value) {
  return value;
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {x, y};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 value) {
  return {value.x, value.y};
}
inline __nv_bfloat162 __float2bfloat162_rn(float value) {
  return {value, value};
}
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
  return {x, y};
}
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 value) {
  return {value, value};
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 value) {
  return value.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 value) {
  return value.y;
}
inline float2 __bfloat1622float2(__nv_bfloat162 value) {
  return {value.x, value.y};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) {
  return value.bits;
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,performance-unnecessary-value-param)
