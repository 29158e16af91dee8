#include "kit/memory.h"

#include "kit/check.h"

namespace kit {

namespace {
void raise_to(std::atomic<std::int64_t>& maximum, std::int64_t value) {
  std::int64_t seen = maximum;
  while (seen < value && !maximum.compare_exchange_weak(seen, value)) {
  }
}
}  // namespace

CountingResource::CountingResource(std::int64_t limit_bytes, std::pmr::memory_resource* upstream)
    : upstream_(upstream), limit_bytes_(limit_bytes) {
  KIT_CHECK(limit_bytes >= 0, "limit_bytes is {}, must not be negative", limit_bytes);
}

void CountingResource::reset_peak() {
  peak_bytes_ = live_bytes_.load();
  largest_bytes_ = 0;
  n_allocations_ = 0;
}

void* CountingResource::do_allocate(std::size_t n_bytes, std::size_t alignment) {
  const auto request = static_cast<std::int64_t>(n_bytes);
  const std::int64_t live = live_bytes_ += request;
  try {
    KIT_CHECK(limit_bytes_ == 0 || live <= limit_bytes_,
              "allocating {} bytes would make {} live, the limit is {}", n_bytes, live, limit_bytes_);
    void* pointer = upstream_->allocate(n_bytes, alignment);
    raise_to(peak_bytes_, live);
    raise_to(largest_bytes_, request);
    ++n_allocations_;
    return pointer;
  } catch (...) {
    live_bytes_ -= request;
    throw;
  }
}

void CountingResource::do_deallocate(void* pointer, std::size_t n_bytes, std::size_t alignment) {
  upstream_->deallocate(pointer, n_bytes, alignment);
  live_bytes_ -= static_cast<std::int64_t>(n_bytes);
}

void* OneThreadResource::do_allocate(std::size_t n_bytes, std::size_t alignment) {
  KIT_CHECK(
      std::this_thread::get_id() == thread_,
      "{} bytes of scratch asked for on another thread than the call's: allocate before the work is split",
      n_bytes);
  return upstream_.allocate(n_bytes, alignment);
}

void OneThreadResource::do_deallocate(void* pointer, std::size_t n_bytes, std::size_t alignment) {
  KIT_CHECK(std::this_thread::get_id() == thread_,
            "{} bytes of scratch given back on another thread than the call's", n_bytes);
  upstream_.deallocate(pointer, n_bytes, alignment);
}

}  // namespace kit
