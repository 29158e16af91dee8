#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "kit/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define KIT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KIT_ASAN 1
#endif
#endif
#if defined(KIT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace kit::simt::detail {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

Fiber::Fiber(Entry entry) : entry_(entry) {
  // The page below the stack stays inaccessible: a kernel that overflows it faults instead of writing
  // elsewhere.
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapping_ = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  KIT_CHECK(mapping_ != MAP_FAILED, "no memory for a fiber's stack of {} bytes", kStackBytes);
  mprotect(mapping_, page, PROT_NONE);
  stack_base_ = reinterpret_cast<std::uintptr_t>(mapping_) + page;
  // Stacks are a multiple of the page size apart. Were they all used from the same offset within a page,
  // hundreds of them would compete for a few sets of the cache.
  static std::atomic<unsigned> n_fibers = 0;
  color_bytes_ = n_fibers++ % 32 * (page / 32);
  reset();
}

Fiber::~Fiber() {
  munmap(mapping_, kStackBytes + static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
}

void Fiber::reset() {
#if defined(KIT_ASAN)
  __asan_unpoison_memory_region(reinterpret_cast<void*>(stack_base_), kStackBytes);
#endif
  context_ = make_fcontext(reinterpret_cast<void*>(stack_base_ + kStackBytes - color_bytes_),
                           kStackBytes - color_bytes_, entry_);
}

void Fiber::enter(void* argument) {
#if defined(KIT_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, reinterpret_cast<void*>(stack_base_), kStackBytes);
#endif
  const transfer_t transfer = jump_fcontext(context_, argument);
#if defined(KIT_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  context_ = transfer.fctx;
}

void Fiber::started(transfer_t transfer) {
#if defined(KIT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_stack_size_);
#endif
  outside_ = transfer.fctx;
}

void Fiber::leave() {
#if defined(KIT_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, outside_stack_, outside_stack_size_);
#endif
  const transfer_t transfer = jump_fcontext(outside_, nullptr);
#if defined(KIT_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, &outside_stack_, &outside_stack_size_);
#endif
  outside_ = transfer.fctx;
}

}  // namespace kit::simt::detail
