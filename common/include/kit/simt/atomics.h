#pragma once

/// CUDA's atomic functions for the SIMT executor: atomic between all threads of a launch, on global and on
/// shared memory. Each returns the old value.
// NOLINTBEGIN(readability-identifier-naming,bugprone-macro-parentheses)

namespace kit::simt::detail {

enum class AtomicOp { kAdd, kExchange, kMin, kMax, kAnd, kOr, kXor, kIncrement };

/// Defined for int, unsigned, unsigned long long, float and double, as far as CUDA has the operation.
template <class T>
T atomic(AtomicOp op, T* address, T operand);
template <class T>
T atomic_compare_and_swap(T* address, T expected, T desired);

}  // namespace kit::simt::detail

#define KIT_SIMT_ATOMIC(function, op, T)                                                 \
  inline __attribute__((always_inline)) T function(T* address, T operand) {              \
    return kit::simt::detail::atomic(kit::simt::detail::AtomicOp::op, address, operand); \
  }
#define KIT_SIMT_ATOMIC_INTEGER(T)                                                       \
  KIT_SIMT_ATOMIC(atomicAdd, kAdd, T)                                                    \
  KIT_SIMT_ATOMIC(atomicExch, kExchange, T)                                              \
  KIT_SIMT_ATOMIC(atomicMin, kMin, T)                                                    \
  KIT_SIMT_ATOMIC(atomicMax, kMax, T)                                                    \
  KIT_SIMT_ATOMIC(atomicAnd, kAnd, T)                                                    \
  KIT_SIMT_ATOMIC(atomicOr, kOr, T)                                                      \
  KIT_SIMT_ATOMIC(atomicXor, kXor, T)                                                    \
  inline __attribute__((always_inline)) T atomicCAS(T* address, T expected, T desired) { \
    return kit::simt::detail::atomic_compare_and_swap(address, expected, desired);       \
  }
KIT_SIMT_ATOMIC_INTEGER(int)
KIT_SIMT_ATOMIC_INTEGER(unsigned)
KIT_SIMT_ATOMIC_INTEGER(unsigned long long)
KIT_SIMT_ATOMIC(atomicAdd, kAdd, float)
KIT_SIMT_ATOMIC(atomicAdd, kAdd, double)
KIT_SIMT_ATOMIC(atomicExch, kExchange, float)
KIT_SIMT_ATOMIC(atomicInc, kIncrement, unsigned)
#undef KIT_SIMT_ATOMIC
#undef KIT_SIMT_ATOMIC_INTEGER

inline __attribute__((always_inline)) int atomicSub(int* address, int operand) {
  return kit::simt::detail::atomic(kit::simt::detail::AtomicOp::kAdd, address,
                                   static_cast<int>(0U - static_cast<unsigned>(operand)));
}
inline __attribute__((always_inline)) unsigned atomicSub(unsigned* address, unsigned operand) {
  return kit::simt::detail::atomic(kit::simt::detail::AtomicOp::kAdd, address, 0U - operand);
}

// NOLINTEND(readability-identifier-naming,bugprone-macro-parentheses)
