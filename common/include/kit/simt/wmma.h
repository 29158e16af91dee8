#pragma once

#include <cstdint>
#include <type_traits>

#include "kit/simt/language.h"

/// nvcuda::wmma for the SIMT executor: matrices of 16 x 16 numbers of 16 bits, sums in float.
///
/// All 32 lanes of a warp must call together. As on a GPU it is not said which lane holds which element of a
/// fragment: code that works here and there treats all elements of a fragment alike (x[0] to
/// x[num_elements - 1]). A GPU also wants memory aligned to 32 bytes and a leading dimension that is a
/// multiple of 16 bytes; here accesses of 16 bytes must be aligned. Sums are rounded after each product, in
/// the order of k; a GPU's order and rounding differ.
/// Source: CUDA C++ Programming Guide, "Warp matrix functions".
// NOLINTBEGIN(readability-identifier-naming)

namespace kit::simt::detail {

/// One lane's part of a and b for the coming product of its warp.
void wmma_publish(const __half* a, bool a_by_rows, const __half* b, bool b_by_rows);
/// This lane's part of a b + c, once all lanes have published.
void wmma_multiply(float* d, const float* c);
/// Where this lane's 8 elements begin in a matrix whose rows (or columns) lie `leading_dim` apart.
std::int64_t wmma_offset(unsigned leading_dim);

}  // namespace kit::simt::detail

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

/// Lane l has half of line l / 2: of a row, or of a column where the matrix was loaded by columns.
template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
  static_assert(m == 16 && n == 16 && k == 16, "the executor has the shape 16 x 16 x 16 alone");
  static_assert(std::is_same_v<T, std::conditional_t<std::is_same_v<Use, accumulator>, float, __half>>,
                "the executor has matrices of __half and accumulators of float");
  static_assert(std::is_void_v<Layout> == std::is_same_v<Use, accumulator>,
                "matrix_a and matrix_b have a layout, an accumulator has none");
  static constexpr int num_elements = 8;
  T x[num_elements];
};

template <class Use, class T, class Layout>
inline __attribute__((always_inline)) void fill_fragment(fragment<Use, 16, 16, 16, T, Layout>& f,
                                                         const std::type_identity_t<T>& value) {
  for (int i = 0; i < f.num_elements; ++i) f.x[i] = value;
}

template <class Use, class Layout>
inline __attribute__((always_inline)) void load_matrix_sync(fragment<Use, 16, 16, 16, __half, Layout>& f,
                                                            const __half* from, unsigned leading_dim) {
  __syncwarp();
  const uint4 part = *reinterpret_cast<const uint4*>(from + kit::simt::detail::wmma_offset(leading_dim));
  __builtin_memcpy(static_cast<void*>(f.x), &part, sizeof(part));
}

/// By columns an accumulator is turned: a lane's elements lie in 8 columns.
inline __attribute__((always_inline)) void load_matrix_sync(fragment<accumulator, 16, 16, 16, float>& f,
                                                            const float* from, unsigned leading_dim,
                                                            layout_t layout) {
  __syncwarp();
  if (layout == mem_row_major) {
    const auto* const parts =
        reinterpret_cast<const float4*>(from + kit::simt::detail::wmma_offset(leading_dim));
    const float4 first = parts[0];
    const float4 second = parts[1];
    __builtin_memcpy(&f.x[0], &first, sizeof(first));
    __builtin_memcpy(&f.x[4], &second, sizeof(second));
  } else {
    const std::int64_t at = kit::simt::detail::wmma_offset(16);  // 16 row + column
    for (int i = 0; i < 8; ++i) f.x[i] = from[(at % 16 + i) * leading_dim + at / 16];
  }
}

inline __attribute__((always_inline)) void store_matrix_sync(
    float* to, const fragment<accumulator, 16, 16, 16, float>& f, unsigned leading_dim, layout_t layout) {
  __syncwarp();
  if (layout == mem_row_major) {
    auto* const parts = reinterpret_cast<float4*>(to + kit::simt::detail::wmma_offset(leading_dim));
    parts[0] = make_float4(f.x[0], f.x[1], f.x[2], f.x[3]);
    parts[1] = make_float4(f.x[4], f.x[5], f.x[6], f.x[7]);
  } else {
    const std::int64_t at = kit::simt::detail::wmma_offset(16);
    for (int i = 0; i < 8; ++i) to[(at % 16 + i) * leading_dim + at / 16] = f.x[i];
  }
}

template <class LayoutA, class LayoutB>
inline __attribute__((always_inline)) void mma_sync(fragment<accumulator, 16, 16, 16, float>& d,
                                                    const fragment<matrix_a, 16, 16, 16, __half, LayoutA>& a,
                                                    const fragment<matrix_b, 16, 16, 16, __half, LayoutB>& b,
                                                    const fragment<accumulator, 16, 16, 16, float>& c) {
  kit::simt::detail::wmma_publish(a.x, std::is_same_v<LayoutA, row_major>, b.x,
                                  std::is_same_v<LayoutB, row_major>);
  __syncwarp();
  kit::simt::detail::wmma_multiply(d.x, c.x);
  __syncwarp();  // nobody publishes the next factors before all have read these
}

}  // namespace nvcuda::wmma

// NOLINTEND(readability-identifier-naming)
