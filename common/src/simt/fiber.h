#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>

/// A stack to run CUDA threads on. Boost's fcontext is used directly, not boost::context::fiber, because a
/// faulting kernel's fibers are abandoned, and fiber's destructor would unwind them.
namespace kit::simt::detail {

class Fiber {
 public:
  using Context = boost::context::detail::fcontext_t;
  using Entry = void (*)(boost::context::detail::transfer_t);

  explicit Fiber(Entry entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Forgets what ran on the stack: the next switch starts `entry` anew.
  void reset();
  /// From the operating system's stack to the fiber and, when that calls leave(), back. `argument` reaches
  /// entry.
  void enter(void* argument);
  /// From the fiber back to who entered it; returns at the next enter().
  void leave();
  /// To be called first thing in entry, with what entry was given.
  void started(boost::context::detail::transfer_t transfer);

  std::uintptr_t stack_base() const { return stack_base_; }
  std::size_t stack_size() const { return kStackBytes; }

  // CUDA grants a thread up to 512 KiB of local memory; kernels of the kit use some hundred bytes.
  static constexpr std::size_t kStackBytes = 256 * 1024;

 private:
  void* mapping_ = nullptr;
  std::uintptr_t stack_base_ = 0;
  std::size_t color_bytes_ = 0;  // left unused at the top
  Entry entry_;
  Context context_ = nullptr;            // of the fiber while it does not run
  Context outside_ = nullptr;            // of who entered it
  const void* outside_stack_ = nullptr;  // for AddressSanitizer
  std::size_t outside_stack_size_ = 0;
};

}  // namespace kit::simt::detail
