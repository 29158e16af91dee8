#include "kit/heap_usage.h"

#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

// malloc and its relatives, as a program may define them for itself and its libraries, in front of the C
// library's own. Blocks stay the C library's, so a relative that is missing here is merely not counted.

namespace {

// Constant-initialised: malloc is called before any constructor.
std::atomic<std::int64_t> live_bytes = 0;
std::atomic<std::int64_t> peak_bytes = 0;
std::atomic<std::int64_t> largest_bytes = 0;

void raise_to(std::atomic<std::int64_t>& maximum, std::int64_t value) {
  std::int64_t seen = maximum.load(std::memory_order_relaxed);
  while (seen < value && !maximum.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

void add(std::size_t n_bytes) {
  const auto size = static_cast<std::int64_t>(n_bytes);
  raise_to(peak_bytes, live_bytes.fetch_add(size, std::memory_order_relaxed) + size);
  raise_to(largest_bytes, size);
}

void subtract(std::size_t n_bytes) {
  live_bytes.fetch_sub(static_cast<std::int64_t>(n_bytes), std::memory_order_relaxed);
}

}  // namespace

namespace kit {

HeapUsage heap_usage() {
  return {live_bytes, peak_bytes, largest_bytes};
}

void reset_heap_peak() {
  peak_bytes = live_bytes.load();
  largest_bytes = 0;
}

}  // namespace kit

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,cppcoreguidelines-no-malloc): the C
// library's names.
#if defined(__SANITIZE_ADDRESS__)

// Its malloc cannot be replaced, but it calls these.
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* pointer);
extern "C" void __sanitizer_malloc_hook(const volatile void* /*pointer*/, std::size_t n_bytes) {
  add(n_bytes);
}
extern "C" void __sanitizer_free_hook(const volatile void* pointer) {
  if (pointer != nullptr) subtract(__sanitizer_get_allocated_size(pointer));
}

#else

extern "C" {
void* __libc_malloc(std::size_t n_bytes) noexcept;
void* __libc_calloc(std::size_t n, std::size_t n_bytes) noexcept;
void* __libc_realloc(void* pointer, std::size_t n_bytes) noexcept;
void* __libc_memalign(std::size_t alignment, std::size_t n_bytes) noexcept;
void __libc_free(void* pointer) noexcept;
}

namespace {
void* counted(void* pointer) {
  if (pointer != nullptr) add(::malloc_usable_size(pointer));
  return pointer;
}
}  // namespace

extern "C" {

void* malloc(std::size_t n_bytes) noexcept {
  return counted(__libc_malloc(n_bytes));
}

void* calloc(std::size_t n, std::size_t n_bytes) noexcept {
  return counted(__libc_calloc(n, n_bytes));
}

void* realloc(void* pointer, std::size_t n_bytes) noexcept {
  const std::size_t before = pointer == nullptr ? 0 : ::malloc_usable_size(pointer);
  void* const result = __libc_realloc(pointer, n_bytes);
  if (result != nullptr || n_bytes == 0) subtract(before);
  return counted(result);
}

void* memalign(std::size_t alignment, std::size_t n_bytes) noexcept {
  return counted(__libc_memalign(alignment, n_bytes));
}

void* aligned_alloc(std::size_t alignment, std::size_t n_bytes) noexcept {
  return counted(__libc_memalign(alignment, n_bytes));
}

int posix_memalign(void** pointer, std::size_t alignment, std::size_t n_bytes) noexcept {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  void* const result = counted(__libc_memalign(alignment, n_bytes));
  if (result == nullptr) return ENOMEM;
  *pointer = result;
  return 0;
}

void free(void* pointer) noexcept {
  if (pointer != nullptr) subtract(::malloc_usable_size(pointer));
  __libc_free(pointer);
}

}  // extern "C"

#endif
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,cppcoreguidelines-no-malloc)
