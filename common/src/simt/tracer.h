#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "device_memory.h"
#include "fault.h"
#include "kit/simt/profile.h"
#include "shared_memory.h"
#include "source_lines.h"

namespace kit::simt::detail {

class Worker;
struct LaunchState;

/// Executions of a site that a lane may be ahead of the slowest lane of its warp. A lane further ahead waits,
/// which bounds the memory of tracing whatever a kernel's length.
inline constexpr unsigned kWindow = 16;

/// An address in the program's read-only data: constants and literals, which every thread may read.
bool is_constant_memory(std::uintptr_t address);

/// One execution of a site by the lanes of a warp: a warp instruction.
struct Request {
  std::uint32_t mask = 0;
  std::array<std::uint64_t, 32> addresses;  // read where mask has a bit
};

/// A place in the source that accesses memory of one space in one way, as one worker sees it.
struct Site {
  std::uintptr_t code_address = 0;  // one of those that lead here
  Space space = Space::kGlobal;
  Access access = Access::kLoad;
  int width = 0;
  bool touched = false;                        // since the warp converged last
  std::uint32_t base = 0;                      // execution number of the window's oldest request
  std::array<std::uint32_t, 32> n_executed{};  // by lane, since the warp converged last
  std::array<Request, kWindow> window;
  Counters counters;
};

/// Checks and counts the accesses of the thread that runs on one worker. Every load and store of a kernel
/// passes through access(); its cost is the executor's speed.
class Tracer {
 public:
  explicit Tracer(Worker& worker) : worker_(worker), table_(kTableSize) {}

  void begin_launch(const LaunchState& launch);
  void begin_block(std::uint64_t block);
  /// A thread of `tid` (in its block) goes on; its local variables live in the given stack.
  void begin_thread(int tid, std::uintptr_t stack_base, std::size_t stack_size);
  /// The warp whose threads run next has this many.
  void begin_warp(int n_lanes) { live_mask_ = n_lanes == 32 ? ~0U : (1U << n_lanes) - 1; }
  /// The lanes of the running warp have met: what they recorded are whole warp instructions.
  void converge();
  /// Lanes of `waiting` stand before a full window; completes requests until one of them can go on.
  void advance_window(std::uint32_t waiting);
  /// After a fault: forgets what the window holds.
  void reset();
  void note_barrier() { ++block_epoch_; }
  void note_warp_sync(int warp) { ++warp_epochs_[static_cast<std::size_t>(warp)]; }
  void note_fence() { fenced_ = true; }
  /// Before an atomic of the running block: what it wrote before a fence is visible from now on, and after an
  /// atomic: what others made visible so far can be read. Lenient: any two atomics count, whatever their
  /// addresses.
  void note_release();
  void note_acquire();

  /// One load, store or atomic of `width` bytes by the running thread. Defined for widths 1, 2, 4, 8, 16.
  template <int width, Access access>
  void on_access(std::uintptr_t address, std::uintptr_t code_address);

  /// A read of uninitialised shared memory that is not reported yet, or kNone.
  const Fault& pending() const { return pending_; }
  /// Where the running thread accessed memory last.
  std::uintptr_t last_code_address() const { return last_code_address_; }
  /// True while the tracer holds a lock: no time to abandon the block.
  bool busy() const { return busy_; }

  const std::vector<std::unique_ptr<Site>>& sites() const { return sites_; }
  void clear_counters();

 private:
  class Pause;
  struct TableEntry {
    std::uint64_t key = 0;
    Site* site = nullptr;
  };
  static constexpr std::size_t kTableSize = 4096;

  template <int width, Access access>
  void access_global(std::uintptr_t address, std::uintptr_t code_address);
  template <int width, Access access>
  void access_shared(SharedRegion& region, std::uintptr_t address, std::uintptr_t code_address);
  bool find_elsewhere(std::uintptr_t address, int width, Access access, std::uintptr_t code_address);
  void check_global_state(std::uint8_t* state, std::uintptr_t address, int width, Access access,
                          std::uintptr_t code_address);
  void check_global_race(std::uint64_t& cell, unsigned bytes, Access access, std::uintptr_t address,
                         int width, std::uintptr_t code_address);
  std::uint64_t touched_cell(RaceCell now, unsigned bytes, Access access) const;
  void check_shared_cell(SharedCell& cell, unsigned bytes, Access access, std::uintptr_t address, int width,
                         std::uintptr_t code_address);
  void record(Space space, std::uintptr_t address, int width, Access access, std::uintptr_t code_address);
  Site* find_site(std::uint64_t key, Space space, int width, Access access, std::uintptr_t code_address);
  void note_touched(Site* site);
  void wait_for_window(Site& site);
  static void complete(Site& site, std::uint32_t until, std::uint32_t live);
  bool is_ordered_after(std::uint64_t other_block);
  [[noreturn]] void fail(Fault fault);

  Worker& worker_;
  const LaunchState* launch_ = nullptr;
  std::array<Chunk, 3> chunks_;  // of device memory, the one used last by each kind of access
  std::uintptr_t stack_base_ = 0;
  std::size_t stack_size_ = 0;
  std::uintptr_t arguments_ = 0;
  std::size_t arguments_bytes_ = 0;
  std::uint64_t launch_tag_ = 0;
  std::uint64_t block_ = 0;         // linear
  std::uint64_t block_id_ = 0;      // as race cells know it: 1 ..
  std::uint32_t block_serial_ = 0;  // for shared memory: a new number for every block this worker runs
  std::uint32_t block_epoch_ = 0;
  std::array<std::uint32_t, 64> warp_epochs_{};
  Fault pending_;  // an uninitialised read of shared memory since the last barrier
  bool fenced_ = false;
  std::uint64_t acquired_ = 0;  // time of the block's last atomic
  int tid_ = 0;
  unsigned lane_ = 0;
  unsigned warp_ = 0;
  std::uint32_t live_mask_ = 0;
  std::uintptr_t last_code_address_ = 0;
  volatile bool busy_ = false;

  std::vector<TableEntry> table_;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<Site*> touched_;
  std::unordered_map<std::uint64_t, Site*> site_of_key_;
  std::array<Site*, 32> waits_for_{};  // by lane, while its window is full
  SharedMemory shared_;

  friend class Worker;
};

}  // namespace kit::simt::detail
