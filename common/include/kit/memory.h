#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <thread>

/// Memory that is counted.
namespace kit {

/// A std::pmr::memory_resource that counts what passes through it. Thread-safe.
class CountingResource : public std::pmr::memory_resource {
 public:
  /// `limit_bytes` > 0 makes an allocation that would exceed it throw kit::Error, naming both numbers.
  explicit CountingResource(std::int64_t limit_bytes = 0,
                            std::pmr::memory_resource* upstream = std::pmr::new_delete_resource());

  std::int64_t live_bytes() const { return live_bytes_; }
  std::int64_t peak_bytes() const { return peak_bytes_; }
  std::int64_t n_allocations() const { return n_allocations_; }
  /// The largest single request so far.
  std::int64_t largest_bytes() const { return largest_bytes_; }
  /// Forgets peak, largest and number of allocations; what is live stays counted.
  void reset_peak();

 private:
  void* do_allocate(std::size_t n_bytes, std::size_t alignment) override;
  void do_deallocate(void* pointer, std::size_t n_bytes, std::size_t alignment) override;
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  std::pmr::memory_resource* upstream_;
  std::int64_t limit_bytes_;
  std::atomic<std::int64_t> live_bytes_ = 0;
  std::atomic<std::int64_t> peak_bytes_ = 0;
  std::atomic<std::int64_t> largest_bytes_ = 0;
  std::atomic<std::int64_t> n_allocations_ = 0;
};

/// A std::pmr::memory_resource for the thread that made it alone. Another thread's request throws kit::Error:
/// between two processes a function's memory can only be counted where the call came from.
class OneThreadResource : public std::pmr::memory_resource {
 public:
  explicit OneThreadResource(std::pmr::memory_resource& upstream) : upstream_(upstream) {}

 private:
  void* do_allocate(std::size_t n_bytes, std::size_t alignment) override;
  void do_deallocate(void* pointer, std::size_t n_bytes, std::size_t alignment) override;
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  std::pmr::memory_resource& upstream_;
  std::thread::id thread_ = std::this_thread::get_id();
};

}  // namespace kit
