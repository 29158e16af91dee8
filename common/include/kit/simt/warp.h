#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

/// CUDA's warp functions for the SIMT executor: shuffles, votes and reductions. Every lane that the mask
/// names must arrive; the launch fails where one cannot.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

namespace kit::simt::detail {

enum class WarpOp : std::uint8_t {
  kSync,
  kShuffle,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor,
  kAll,
  kAny,
  kBallot,
  kMatchAny,
  kAddSigned,
  kAddUnsigned,
  kMinSigned,
  kMinUnsigned,
  kMaxSigned,
  kMaxUnsigned,
  kAnd,
  kOr,
  kXor,
};

/// Waits for the lanes of `mask` and returns this lane's result. `argument` is the source lane or the delta
/// of a shuffle, `width` its segment.
std::uint64_t warp_collective(WarpOp op, unsigned mask, std::uint64_t value, int argument, int width);

template <class T>
inline __attribute__((always_inline)) T shuffle(WarpOp op, unsigned mask, T value, int argument, int width) {
  static_assert(std::is_trivially_destructible_v<T> && sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
  std::uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = warp_collective(op, mask, bits, argument, width);
  T result;
  __builtin_memcpy(static_cast<void*>(&result), &bits, sizeof(T));
  return result;
}

}  // namespace kit::simt::detail

#define KIT_SIMT_SHUFFLE(function, op, Argument)                                              \
  template <class T>                                                                          \
  inline __attribute__((always_inline)) T function(unsigned mask, T value, Argument argument, \
                                                   int width = 32) {                          \
    return kit::simt::detail::shuffle(kit::simt::detail::WarpOp::op, mask, value,             \
                                      static_cast<int>(argument), width);                     \
  }
KIT_SIMT_SHUFFLE(__shfl_sync, kShuffle, int)
KIT_SIMT_SHUFFLE(__shfl_up_sync, kShuffleUp, unsigned)
KIT_SIMT_SHUFFLE(__shfl_down_sync, kShuffleDown, unsigned)
KIT_SIMT_SHUFFLE(__shfl_xor_sync, kShuffleXor, int)
#undef KIT_SIMT_SHUFFLE

inline __attribute__((always_inline)) int __all_sync(unsigned mask, int predicate) {
  using namespace kit::simt::detail;  // NOLINT(google-build-using-namespace): inside one function
  return static_cast<int>(warp_collective(WarpOp::kAll, mask, predicate != 0 ? 1 : 0, 0, 32));
}
inline __attribute__((always_inline)) int __any_sync(unsigned mask, int predicate) {
  using namespace kit::simt::detail;  // NOLINT(google-build-using-namespace)
  return static_cast<int>(warp_collective(WarpOp::kAny, mask, predicate != 0 ? 1 : 0, 0, 32));
}
inline __attribute__((always_inline)) unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace kit::simt::detail;  // NOLINT(google-build-using-namespace)
  return static_cast<unsigned>(warp_collective(WarpOp::kBallot, mask, predicate != 0 ? 1 : 0, 0, 32));
}
template <class T>
inline __attribute__((always_inline)) unsigned __match_any_sync(unsigned mask, T value) {
  std::uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return static_cast<unsigned>(
      kit::simt::detail::warp_collective(kit::simt::detail::WarpOp::kMatchAny, mask, bits, 0, 32));
}

#define KIT_SIMT_REDUCE(function, op, T)                                                                 \
  inline __attribute__((always_inline)) T function(unsigned mask, T value) {                             \
    return static_cast<T>(kit::simt::detail::warp_collective(kit::simt::detail::WarpOp::op, mask,        \
                                                             static_cast<std::uint32_t>(value), 0, 32)); \
  }
KIT_SIMT_REDUCE(__reduce_add_sync, kAddSigned, int)
KIT_SIMT_REDUCE(__reduce_add_sync, kAddUnsigned, unsigned)
KIT_SIMT_REDUCE(__reduce_min_sync, kMinSigned, int)
KIT_SIMT_REDUCE(__reduce_min_sync, kMinUnsigned, unsigned)
KIT_SIMT_REDUCE(__reduce_max_sync, kMaxSigned, int)
KIT_SIMT_REDUCE(__reduce_max_sync, kMaxUnsigned, unsigned)
KIT_SIMT_REDUCE(__reduce_and_sync, kAnd, unsigned)
KIT_SIMT_REDUCE(__reduce_or_sync, kOr, unsigned)
KIT_SIMT_REDUCE(__reduce_xor_sync, kXor, unsigned)
#undef KIT_SIMT_REDUCE

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
