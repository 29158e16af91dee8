#pragma once

/// CUDA C++ as the SIMT executor knows it: qualifiers, built-in variables, barriers, vector types, warp
/// functions, atomics, arithmetic. A .cu file includes "kit/cuda/kernel.h", which takes this or NVIDIA's
/// headers.
///
/// Names are CUDA's own, reserved identifiers and all; where a host compiler's rules disagree, CUDA's win.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

#if defined(__CUDACC__)
#error "kit/simt/language.h stands in for NVIDIA's headers; nvcc has the originals"
#endif

#include "kit/simt/position.h"  // IWYU pragma: export

namespace kit::simt::detail {

/// Memory that precedes and follows every __shared__ array and belongs to none.
inline constexpr int kSharedPadBytes = 64;

void* dynamic_shared();
void sync_threads();
int sync_threads_count(int predicate);
void sync_warp(unsigned mask);
void thread_fence();

}  // namespace kit::simt::detail

#define KIT_SIMT_INDEX(what) \
  (::kit::simt::detail::Index3{kit_simt_##what##_x, kit_simt_##what##_y, kit_simt_##what##_z})
#define threadIdx KIT_SIMT_INDEX(thread_idx)
#define blockIdx KIT_SIMT_INDEX(block_idx)
#define blockDim KIT_SIMT_INDEX(block_dim)
#define gridDim KIT_SIMT_INDEX(grid_dim)
inline constexpr int warpSize = 32;

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

// A thread block runs on one thread of the operating system, so that thread's copy of a static variable is
// the block's copy. The unused pad in front keeps neighbours apart, so that running off one array does not
// land in the next.
#define KIT_SIMT_JOIN2(a, b) a##b
#define KIT_SIMT_JOIN(a, b) KIT_SIMT_JOIN2(a, b)
#define __shared__                                                                                     \
  [[gnu::used]] static __thread char KIT_SIMT_JOIN(kit_simt_shared_pad_,                               \
                                                   __COUNTER__)[::kit::simt::detail::kSharedPadBytes]; \
  static __thread

// Barriers in two branches are two barriers, and must not become one.
#if defined(__clang__)
#define KIT_SIMT_NO_MERGE [[clang::nomerge]]
#else
#define KIT_SIMT_NO_MERGE
#endif

inline __attribute__((always_inline)) void __syncthreads() {
  KIT_SIMT_NO_MERGE kit::simt::detail::sync_threads();
}
inline __attribute__((always_inline)) int __syncthreads_count(int predicate) {
  KIT_SIMT_NO_MERGE return kit::simt::detail::sync_threads_count(predicate);
}
inline __attribute__((always_inline)) int __syncthreads_and(int predicate) {
  return kit::simt::detail::sync_threads_count(predicate == 0 ? 1 : 0) == 0 ? 1 : 0;
}
inline __attribute__((always_inline)) int __syncthreads_or(int predicate) {
  return kit::simt::detail::sync_threads_count(predicate) > 0 ? 1 : 0;
}
inline __attribute__((always_inline)) void __syncwarp(unsigned mask = 0xffffffffU) {
  KIT_SIMT_NO_MERGE kit::simt::detail::sync_warp(mask);
}
inline void __threadfence() {
  kit::simt::detail::thread_fence();
}
inline void __threadfence_block() {
  kit::simt::detail::thread_fence();
}

#include "kit/simt/arithmetic.h"    // IWYU pragma: export
#include "kit/simt/atomics.h"       // IWYU pragma: export
#include "kit/simt/half.h"          // IWYU pragma: export
#include "kit/simt/vector_types.h"  // IWYU pragma: export
#include "kit/simt/warp.h"          // IWYU pragma: export

template <class T>
inline __attribute__((always_inline)) T __ldg(const T* address) {
  return *address;
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
