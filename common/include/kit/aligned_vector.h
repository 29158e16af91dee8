#pragma once

#include <cstddef>
#include <new>
#include <vector>

/// std::vector whose memory suits SIMD loads and large weights.
namespace kit {

namespace detail {
/// 64-byte aligned; from 4 MiB on 2 MiB aligned and marked for transparent huge pages, because streaming
/// through gigabytes of weights in 4 KiB pages spends its time in page walks. Throws std::bad_alloc.
void* allocate_aligned(std::size_t n_bytes);
void free_aligned(void* pointer);
}  // namespace detail

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT(google-explicit-constructor)
  T* allocate(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(detail::allocate_aligned(n * sizeof(T)));
  }
  void deallocate(T* pointer, std::size_t) { detail::free_aligned(pointer); }
  bool operator==(const AlignedAllocator&) const { return true; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace kit
