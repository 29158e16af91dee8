#include "kit/aligned_vector.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace kit::detail {

namespace {
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}  // namespace

void* allocate_aligned(std::size_t n_bytes) {
  const bool huge = n_bytes >= 2 * kHugePage;
  const std::size_t alignment = huge ? kHugePage : kCacheLine;
  if (n_bytes > static_cast<std::size_t>(-1) - alignment) throw std::bad_alloc();
  // aligned_alloc wants a multiple of the alignment, and at least one of it.
  const std::size_t rounded = (n_bytes + alignment) / alignment * alignment;
  void* pointer = std::aligned_alloc(alignment, rounded);
  if (pointer == nullptr) throw std::bad_alloc();
  // Advice only: without huge pages everything works, a few per cent slower.
  if (huge) (void)madvise(pointer, rounded, MADV_HUGEPAGE);
  return pointer;
}

void free_aligned(void* pointer) {
  std::free(pointer);
}

}  // namespace kit::detail
