#include "worker.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

#include "kit/parallel.h"
#include "signals.h"

// Written here, read as constants by kernels (position.h): one symbol, two declarations.
#define KIT_SIMT_DEFINE(what)                                                     \
  __thread unsigned kit_simt_writable_##what##_x __asm__("kit_simt_" #what "_x"); \
  __thread unsigned kit_simt_writable_##what##_y __asm__("kit_simt_" #what "_y"); \
  __thread unsigned kit_simt_writable_##what##_z __asm__("kit_simt_" #what "_z");
extern "C" {
KIT_SIMT_POSITION(KIT_SIMT_DEFINE)
}
#define KIT_SIMT_SET(what, index)             \
  do {                                        \
    kit_simt_writable_##what##_x = (index).x; \
    kit_simt_writable_##what##_y = (index).y; \
    kit_simt_writable_##what##_z = (index).z; \
  } while (false)

namespace kit::simt::detail {

namespace {

// 65,536 executions of a loop's access: some milliseconds.
constexpr int kWindowsPerTurn = 4096;

}  // namespace

__thread Tracer* current_tracer = nullptr;
__thread Worker* current_worker = nullptr;

Worker& Worker::of_this_thread() {
  static thread_local Worker worker;
  return worker;
}

Worker::Worker() : tracer_(*this) {}

Worker::~Worker() = default;

int Worker::lane_count(int warp) const {
  return std::min(32, launch_->n_threads - 32 * warp);
}

std::uint32_t Worker::mask_where(int warp, ThreadStatus status) const {
  std::uint32_t mask = 0;
  for (int lane = 0; lane < lane_count(warp); ++lane) {
    if (thread(warp, lane).status == status) mask |= 1U << lane;
  }
  return mask;
}

Fiber* Worker::take_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Worker::fiber_main));
    idle_.push_back(fibers_.back().get());
  }
  return idle_.back();
}

// ---------------------------------------------------------------------------------------------------------------
// Blocks

void Worker::run_blocks(LaunchState& launch, std::uint64_t begin, std::uint64_t end) {
  launch_ = &launch;
  n_warps_ = (launch.n_threads + 31) / 32;
  threads_.resize(static_cast<std::size_t>(launch.n_threads));
  statistics = {};
  failed_ = false;
  aborted_ = false;
  tracer_.begin_launch(launch);
  tracer_.clear_counters();
  KIT_SIMT_SET(block_dim, launch.thread_block);
  KIT_SIMT_SET(grid_dim, launch.grid);
  Worker* const outer = std::exchange(current_worker, this);
  const SignalGuard signals(launch.options.max_cpu_seconds / n_threads());
  for (std::uint64_t i = begin; i < end; ++i) {
    if (launch.failed.load(std::memory_order_relaxed)) break;
    if (!try_block(launch.block_at(i))) break;
  }
  current_tracer = nullptr;
  runs_kernel_ = false;
  current_worker = outer;
  if (launch.failed.load(std::memory_order_relaxed)) {
    tracer_.reset();
    idle_.clear();
    for (const auto& fiber : fibers_) {
      fiber->reset();
      idle_.push_back(fiber.get());
    }
  }
}

// False when the block was abandoned. A fault anywhere inside comes back here by a jump; the frames in
// between belong to the kernel and to code without destructors.
bool Worker::try_block(std::uint64_t block) {
  if (sigsetjmp(escape_, 0) != 0) return false;
  run_block(block);
  return true;
}

void Worker::run_block(std::uint64_t block) {
  block_idx_ = unflatten(block, launch_->grid);
  KIT_SIMT_SET(block_idx, block_idx_);
  tracer_.begin_block(block);
  for (CudaThread& thread : threads_) thread.status = ThreadStatus::kNotStarted;
  warp_cursor_ = 0;
  lane_cursor_ = 0;
  n_suspended_ = 0;
  n_done_ = 0;
  starting_ = true;
  while (warp_cursor_ < n_warps_) {
    enter(*take_fiber());
    if (warp_cursor_ == n_warps_) break;
    // A thread of this warp waits.
    finish_warp(launch_->warp_order[static_cast<std::size_t>(warp_cursor_)]);
    ++warp_cursor_;
    lane_cursor_ = 0;
    n_suspended_ = 0;
  }
  starting_ = false;
  while (n_done_ < launch_->n_threads) {
    if (!waiting_in_loop()) release_barrier();
    for (const int warp : launch_->warp_order) finish_warp(warp);
  }
  fail_if_pending();
}

void Worker::set_position(int tid) {
  current_ = tid;
  KIT_SIMT_SET(thread_idx, launch_->thread_index[static_cast<std::size_t>(tid)]);
  tracer_.begin_thread(tid, running_->stack_base(), running_->stack_size());
}

// Chooses the next thread that was never run; false when the fiber has nothing more to do. Runs on the fiber.
bool Worker::start_next_thread() {
  if (!starting_) return false;
  while (warp_cursor_ < n_warps_) {
    const int warp = launch_->warp_order[static_cast<std::size_t>(warp_cursor_)];
    const int n_lanes = lane_count(warp);
    const auto& order = launch_->lane_order[static_cast<std::size_t>(warp)];
    if (lane_cursor_ == 0) tracer_.begin_warp(n_lanes);
    while (lane_cursor_ < 32) {
      const int lane = order[static_cast<std::size_t>(lane_cursor_++)];
      if (lane >= n_lanes) continue;
      set_position(32 * warp + lane);
      return true;
    }
    if (n_suspended_ > 0) return false;
    tracer_.converge();
    ++warp_cursor_;
    lane_cursor_ = 0;
  }
  return false;
}

void Worker::fiber_main(boost::context::detail::transfer_t transfer) {
  auto* worker = static_cast<Worker*>(transfer.data);
  worker->running_->started(transfer);
  for (;;) {
    while (worker->start_next_thread()) {
      const KernelCall& call = worker->launch_->call;
      try {
        worker->set_running(true);
        call.call(call.kernel, call.arguments);
        worker->set_running(false);
      } catch (const std::exception& error) {
        worker->set_running(false);
        worker->fail_with_exception(error.what());
      } catch (...) {
        worker->set_running(false);
        worker->fail_with_exception("unknown exception");
      }
      worker->threads_[static_cast<std::size_t>(worker->current_)].status = ThreadStatus::kDone;
      ++worker->n_done_;
    }
    worker->idle_.push_back(worker->running_);
    worker->running_->leave();
  }
}

inline void Worker::set_running(bool running) {
  runs_kernel_ = running;
  current_tracer = running && launch_->options.trace ? &tracer_ : nullptr;
}

void Worker::enter(Fiber& fiber) {
  if (!idle_.empty() && idle_.back() == &fiber) idle_.pop_back();
  running_ = &fiber;
  on_fiber_ = true;
  fiber.enter(this);
  on_fiber_ = false;
  if (aborted_) siglongjmp(escape_, 1);
}

// The running thread waits; returns when it is its turn again.
void Worker::suspend(ThreadStatus status) {
  const int tid = current_;
  CudaThread& self = threads_[static_cast<std::size_t>(tid)];
  self.status = status;
  self.fiber = running_;
  ++n_suspended_;
  set_running(false);
  self.fiber->leave();
  running_ = self.fiber;
  self.status = ThreadStatus::kRunnable;
  set_position(tid);
  set_running(true);
}

// ---------------------------------------------------------------------------------------------------------------
// Warps

// True when a warp's turn ended in the middle of a loop.
bool Worker::waiting_in_loop() const {
  return std::any_of(threads_.begin(), threads_.end(), [](const CudaThread& thread) {
    return thread.status == ThreadStatus::kWindowFull || thread.status == ThreadStatus::kAtCollective;
  });
}

// Runs the warp until each of its threads stands at a barrier or has returned; or until its turn is over,
// because the loop that it is in may be waiting for another warp.
void Worker::finish_warp(int warp) {
  tracer_.begin_warp(lane_count(warp));
  const auto& order = launch_->lane_order[static_cast<std::size_t>(warp)];
  // Lanes that stopped in a long loop go on where the last turn ended.
  for (int lane = 0; lane < lane_count(warp); ++lane) {
    if (thread(warp, lane).status == ThreadStatus::kWindowFull)
      thread(warp, lane).status = ThreadStatus::kRunnable;
  }
  for (int n_windows = 0;;) {
    while (starting_ && lane_cursor_ < 32) {
      // The fiber starts threads until one of them waits.
      n_suspended_ = 1;
      enter(*take_fiber());
    }
    bool progress = false;
    for (const int lane : order) {
      if (lane >= lane_count(warp) || thread(warp, lane).status != ThreadStatus::kRunnable) continue;
      enter(*thread(warp, lane).fiber);
      progress = true;
    }
    if (progress || resolve_collectives(warp)) continue;
    const std::uint32_t before_window = mask_where(warp, ThreadStatus::kWindowFull);
    if (before_window == 0) break;
    tracer_.advance_window(before_window);
    if (++n_windows % kWindowsPerTurn == 0) break;
    for (std::uint32_t rest = before_window; rest != 0; rest &= rest - 1)
      thread(warp, std::countr_zero(rest)).status = ThreadStatus::kRunnable;
  }
  if (mask_where(warp, ThreadStatus::kWindowFull) == 0 && mask_where(warp, ThreadStatus::kAtCollective) != 0)
    fail_at_collective(warp);
  tracer_.converge();
}

void Worker::wait_for_window() {
  suspend(ThreadStatus::kWindowFull);
}

int Worker::wait_at_barrier(std::uintptr_t code_address, int predicate) {
  CudaThread& self = threads_[static_cast<std::size_t>(current_)];
  self.waits_at = code_address;
  self.predicate = predicate;
  suspend(ThreadStatus::kAtBarrier);
  return barrier_count_;
}

void Worker::release_barrier() {
  fail_if_pending();
  int first = -1;
  int returned = -1;
  barrier_count_ = 0;
  for (int tid = 0; tid < launch_->n_threads; ++tid) {
    const CudaThread& thread = threads_[static_cast<std::size_t>(tid)];
    if (thread.status == ThreadStatus::kDone) {
      returned = tid;
      continue;
    }
    if (first < 0) first = tid;
    barrier_count_ += thread.predicate != 0 ? 1 : 0;
    const CudaThread& leader = threads_[static_cast<std::size_t>(first)];
    // A compiler may have copied one barrier of the source to two places.
    if (thread.waits_at != leader.waits_at &&
        !(find_source(thread.waits_at).place == find_source(leader.waits_at).place)) {
      Fault fault{.kind = FaultKind::kDivergentBarrier, .code_address = thread.waits_at};
      fault.other_code_address = leader.waits_at;
      fault.other_thread_idx = launch_->thread_index[static_cast<std::size_t>(first)];
      fail_for(tid, fault);
    }
  }
  if (returned >= 0) {
    Fault fault{.kind = FaultKind::kMissingAtBarrier,
                .code_address = threads_[static_cast<std::size_t>(first)].waits_at};
    fault.other_thread_idx = launch_->thread_index[static_cast<std::size_t>(returned)];
    fault.value = n_done_;
    fail_for(first, fault);
  }
  for (CudaThread& thread : threads_) thread.status = ThreadStatus::kRunnable;
  tracer_.note_barrier();
  ++statistics.barriers;
}

// ---------------------------------------------------------------------------------------------------------------
// Faults

void Worker::fail(Fault fault) {
  fail_for(current_, fault);
}

bool Worker::is_stack_guard(std::uintptr_t address) const {
  constexpr std::size_t kPage = 4096;
  return running_ != nullptr && address - (running_->stack_base() - kPage) < kPage;
}

void Worker::fail_with_exception(const char* what) {
  Fault fault{.kind = FaultKind::kException};
  for (std::size_t i = 0; i + 1 < fault.text.size() && what[i] != '\0'; ++i) fault.text[i] = what[i];
  fail(fault);
}

// The fault with the place of the running thread filled in.
Fault Worker::placed(Fault fault) const {
  return placed_at(current_, fault);
}

Fault Worker::placed_at(int tid, Fault fault) const {
  fault.block_idx = block_idx_;
  fault.thread_idx = launch_->thread_index[static_cast<std::size_t>(tid)];
  fault.warp = tid / 32;
  fault.lane = tid % 32;
  if (fault.kind == FaultKind::kSharedRace)
    fault.other_thread_idx = launch_->thread_index[static_cast<std::size_t>(fault.value)];
  return fault;
}

void Worker::fail_if_pending() {
  if (tracer_.pending().kind != FaultKind::kNone) fail_for(current_, tracer_.pending());
}

void Worker::fail_for(int tid, Fault fault) {
  fault = placed_at(tid, fault);
  // What goes wrong after a read of garbage goes wrong because of it.
  if (tracer_.pending().kind != FaultKind::kNone && fault.kind != FaultKind::kSharedRace)
    fault = tracer_.pending();
  set_running(false);
  {
    const std::scoped_lock lock(launch_->mutex);
    if (!launch_->failed.load()) {
      launch_->fault = fault;
      failed_ = true;
      launch_->failed.store(true);
    }
  }
  aborted_ = true;
  // The fiber, or the signal handler's stack that interrupted it, is left for good.
  if (on_fiber_) running_->leave();
  siglongjmp(escape_, 1);
}

std::string Worker::address_text(const Fault& fault) const {
  return fault.space == Space::kShared || fault.kind == FaultKind::kSharedOutOfBounds
             ? tracer_.shared_.describe(fault.address)
             : DeviceMemory::instance().describe(fault.address);
}

std::uint64_t LaunchState::block_at(std::uint64_t i) const {
  switch (options.order.kind) {
    case LaneOrder::Kind::kForward:
      return i;
    case LaneOrder::Kind::kReverse:
      return n_blocks - 1 - i;
    case LaneOrder::Kind::kSeeded:
      return (i * block_stride + block_offset) % n_blocks;
  }
  return i;
}

}  // namespace kit::simt::detail
