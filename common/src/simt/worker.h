#pragma once

#include <array>
#include <atomic>
#include <csetjmp>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "fault.h"
#include "fiber.h"
#include "kit/simt/launch.h"
#include "kit/simt/profile.h"
#include "kit/simt/warp.h"
#include "tracer.h"

namespace kit::simt::detail {

/// The i-th index of an array of `size`, x fastest.
inline Index3 unflatten(std::uint64_t i, const Index3& size) {
  return {.x = static_cast<unsigned>(i % size.x),
          .y = static_cast<unsigned>(i / size.x % size.y),
          .z = static_cast<unsigned>(i / size.x / size.y)};
}

/// One launch, shared by the workers that run its thread blocks.
struct LaunchState {
  KernelCall call;
  Options options;
  Index3 grid{};
  Index3 thread_block{};
  std::size_t dynamic_shared_bytes = 0;
  std::uint64_t n_blocks = 0;
  int n_threads = 0;  // of a block
  std::uint64_t launch_tag = 0;
  std::vector<Index3> thread_index;             // [n_threads], by linear number
  std::vector<int> warp_order;                  // [n_warps]
  std::vector<std::array<int, 32>> lane_order;  // [n_warps]

  std::atomic<bool> failed = false;
  std::mutex mutex;
  Fault fault;  // the first
  // Blocks that made their writes visible: a fence, then an atomic. Time of that atomic by block, on one
  // clock.
  std::atomic<std::uint64_t> clock = 1;
  std::atomic<bool> any_published = false;
  std::map<std::uint64_t, std::uint64_t> published;

  std::uint64_t block_stride = 1;  // of the seeded order, coprime to n_blocks
  std::uint64_t block_offset = 0;

  /// The i-th block to run, in the launch's lane order.
  std::uint64_t block_at(std::uint64_t i) const;
};

enum class ThreadStatus : std::uint8_t {
  kNotStarted,
  kRunnable,
  kWindowFull,
  kAtBarrier,
  kAtCollective,
  kDone
};

/// A CUDA thread of the block that is being run.
struct CudaThread {
  ThreadStatus status = ThreadStatus::kNotStarted;
  Fiber* fiber = nullptr;  // while it is suspended
  std::uintptr_t waits_at = 0;
  // At a collective: what it brought, and what it gets.
  WarpOp op = WarpOp::kSync;
  unsigned mask = 0;
  std::uint64_t value = 0;
  int argument = 0;
  int width = 32;
  int predicate = 0;  // at a barrier that counts
};

/// Runs thread blocks on one thread of the operating system.
///
/// Threads start one after the other on one fiber, so that a kernel without barriers is a plain loop. A
/// thread that must wait keeps the fiber it is on, and the loop goes on with the next thread on another.
class Worker {
 public:
  /// The calling thread's worker.
  static Worker& of_this_thread();

  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void run_blocks(LaunchState& launch, std::uint64_t begin, std::uint64_t end);

  // Called by the running CUDA thread.
  int wait_at_barrier(std::uintptr_t code_address, int predicate);
  std::uint64_t wait_at_collective(WarpOp op, unsigned mask, std::uint64_t value, int argument, int width,
                                   std::uintptr_t code_address);
  void wait_for_window();
  void* dynamic_shared() { return reinterpret_cast<void*>(tracer_.shared_.dynamic.base); }
  /// Notes the fault with the running thread's position and abandons the block.
  [[noreturn]] void fail(Fault fault);
  /// The fault with the running thread's position.
  Fault placed(Fault fault) const;

  Tracer& tracer() { return tracer_; }
  const Tracer& tracer() const { return tracer_; }
  /// The launch's fault happened here.
  bool failed() const { return failed_; }
  /// Which array of device or of this worker's shared memory a fault's address belongs to.
  std::string address_text(const Fault& fault) const;
  LaunchState* launch() { return launch_; }
  bool runs_kernel() const { return runs_kernel_; }
  bool is_stack_guard(std::uintptr_t address) const;

  struct Statistics {
    std::int64_t barriers = 0;
    std::int64_t warp_syncs = 0;
    std::int64_t shuffles = 0;
  };
  Statistics statistics;

 private:
  static void fiber_main(boost::context::detail::transfer_t transfer);
  bool start_next_thread();
  bool try_block(std::uint64_t block);
  void run_block(std::uint64_t block);
  void enter(Fiber& fiber);
  void suspend(ThreadStatus status);
  void finish_warp(int warp);
  bool waiting_in_loop() const;
  bool resolve_collectives(int warp);
  void resolve(int warp, WarpOp op, unsigned mask, unsigned participants);
  void release_barrier();
  [[noreturn]] void fail_at_collective(int warp);
  [[noreturn]] void fail_for(int tid, Fault fault);
  void fail_if_pending();
  Fault placed_at(int tid, Fault fault) const;
  Fiber* take_fiber();
  void set_running(bool running);
  [[noreturn]] void fail_with_exception(const char* what);

  int lane_count(int warp) const;
  std::uint32_t mask_where(int warp, ThreadStatus status) const;
  CudaThread& thread(int warp, int lane) {
    return threads_[static_cast<std::size_t>(warp) * 32 + static_cast<std::size_t>(lane)];
  }
  const CudaThread& thread(int warp, int lane) const {
    return threads_[static_cast<std::size_t>(warp) * 32 + static_cast<std::size_t>(lane)];
  }
  void set_position(int tid);

  LaunchState* launch_ = nullptr;
  Tracer tracer_;
  std::vector<CudaThread> threads_;  // [n_threads]
  int n_warps_ = 0;
  Index3 block_idx_{};
  int warp_cursor_ = 0;  // the warp that is being started, by its place in the order
  int lane_cursor_ = 0;
  bool starting_ = false;
  int n_suspended_ = 0;  // of the warp that is being started
  int n_done_ = 0;
  int current_ = -1;  // tid
  Fiber* running_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  sigjmp_buf escape_;
  volatile bool runs_kernel_ = false;
  bool failed_ = false;   // the launch's first fault was here
  bool aborted_ = false;  // a fault was here
  bool on_fiber_ = false;
  int barrier_count_ = 0;  // predicates that were true at the last barrier
};

/// The tracer of the CUDA thread that runs here, or null: host code, or tracing is off.
extern __thread Tracer* current_tracer;
extern __thread Worker* current_worker;

}  // namespace kit::simt::detail
