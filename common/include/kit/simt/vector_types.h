#pragma once

#include "kit/simt/position.h"

/// CUDA's vector types for the SIMT executor.
///
/// A float4 that is loaded, changed and stored would be taken apart by the host compiler into four 4-byte
/// accesses. On a GPU it is one 16-byte access. So copies go through the executor, which sees one access of
/// the full width.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,bugprone-macro-parentheses)

extern "C" {
void kit_simt_copy4(void* to, const void* from);
void kit_simt_copy8(void* to, const void* from);
void kit_simt_copy16(void* to, const void* from);
}

#define KIT_SIMT_COPIES(Type, n_bytes)                                       \
  Type() = default;                                                          \
  inline __attribute__((always_inline)) Type(const Type& other) {            \
    kit_simt_copy##n_bytes(this, &other);                                    \
  }                                                                          \
  inline __attribute__((always_inline)) Type& operator=(const Type& other) { \
    kit_simt_copy##n_bytes(this, &other);                                    \
    return *this;                                                            \
  }

#define KIT_SIMT_VECTOR2(Type, T, n_bytes)       \
  struct alignas(n_bytes) Type {                 \
    T x, y;                                      \
    KIT_SIMT_COPIES(Type, n_bytes)               \
    constexpr Type(T x_, T y_) : x(x_), y(y_) {} \
  };                                             \
  constexpr Type make_##Type(T x, T y) {         \
    return {x, y};                               \
  }

#define KIT_SIMT_VECTOR4(Type, T, n_bytes)                                 \
  struct alignas(n_bytes) Type {                                           \
    T x, y, z, w;                                                          \
    KIT_SIMT_COPIES(Type, n_bytes)                                         \
    constexpr Type(T x_, T y_, T z_, T w_) : x(x_), y(y_), z(z_), w(w_) {} \
  };                                                                       \
  constexpr Type make_##Type(T x, T y, T z, T w) {                         \
    return {x, y, z, w};                                                   \
  }

KIT_SIMT_VECTOR2(float2, float, 8)
KIT_SIMT_VECTOR2(int2, int, 8)
KIT_SIMT_VECTOR2(uint2, unsigned, 8)
KIT_SIMT_VECTOR2(double2, double, 16)
KIT_SIMT_VECTOR2(short2, short, 4)
KIT_SIMT_VECTOR4(float4, float, 16)
KIT_SIMT_VECTOR4(int4, int, 16)
KIT_SIMT_VECTOR4(uint4, unsigned, 16)
KIT_SIMT_VECTOR4(short4, short, 8)
KIT_SIMT_VECTOR4(char4, signed char, 4)
KIT_SIMT_VECTOR4(uchar4, unsigned char, 4)

#undef KIT_SIMT_VECTOR2
#undef KIT_SIMT_VECTOR4

// Three-element vectors have the alignment of an element; a GPU loads them as three, and so do these copies.
// (A compiler may copy a plain struct of 12 bytes by a memcpy that nobody sees.)
#define KIT_SIMT_VECTOR3(Type, T)                                                                         \
  struct Type {                                                                                           \
    T x, y, z;                                                                                            \
    Type() = default;                                                                                     \
    constexpr Type(T x_, T y_, T z_) : x(x_), y(y_), z(z_) {}                                             \
    inline __attribute__((always_inline)) Type(const Type& other) : x(other.x), y(other.y), z(other.z) {} \
    inline __attribute__((always_inline)) Type& operator=(const Type& other) {                            \
      x = other.x;                                                                                        \
      y = other.y;                                                                                        \
      z = other.z;                                                                                        \
      return *this;                                                                                       \
    }                                                                                                     \
  };
KIT_SIMT_VECTOR3(float3, float)
KIT_SIMT_VECTOR3(int3, int)
#undef KIT_SIMT_VECTOR3
using uint3 = kit::simt::detail::Index3;  // what threadIdx is
constexpr float3 make_float3(float x, float y, float z) {
  return {x, y, z};
}

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1)  // NOLINT(google-explicit-constructor)
      : x(x_), y(y_), z(z_) {}
  constexpr dim3(const uint3& size)  // NOLINT(google-explicit-constructor)
      : x(size.x), y(size.y), z(size.z) {}
};

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,bugprone-macro-parentheses)
