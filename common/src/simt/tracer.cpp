#include "tracer.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "tracer_pause.h"
#include "worker.h"

namespace kit::simt::detail {

namespace {

// Bytes [address, address + width) of their words, as masks of four bits; a width above 4 covers whole words.
unsigned byte_mask(std::uintptr_t address, int width) {
  return width >= 4 ? 15U : ((1U << width) - 1) << (address & 3U);
}

}  // namespace

void Tracer::begin_launch(const LaunchState& launch) {
  launch_ = &launch;
  launch_tag_ = launch.launch_tag;
  arguments_ = reinterpret_cast<std::uintptr_t>(launch.call.arguments);
  arguments_bytes_ = launch.call.arguments_bytes;
  shared_.resize_dynamic(launch.dynamic_shared_bytes);
  chunks_.fill(Chunk{});
  reset();
}

void Tracer::begin_block(std::uint64_t block) {
  block_ = block;
  block_id_ = block % (RaceCell::kBlockMask - 1) + 1;
  ++block_serial_;
  block_epoch_ = 0;
  warp_epochs_.fill(0);
  fenced_ = false;
  acquired_ = 0;
  pending_ = {};
}

void Tracer::begin_thread(int tid, std::uintptr_t stack_base, std::size_t stack_size) {
  tid_ = tid;
  lane_ = static_cast<unsigned>(tid) % 32;
  warp_ = static_cast<unsigned>(tid) / 32;
  stack_base_ = stack_base;
  stack_size_ = stack_size;
}

void Tracer::clear_counters() {
  for (const auto& site : sites_) site->counters = {};
}

void Tracer::fail(Fault fault) {
  current_tracer = nullptr;
  busy_ = false;  // a Pause on the way is not unwound
  worker_.fail(fault);
}

template <int width, Access access>
void Tracer::on_access(std::uintptr_t address, std::uintptr_t code_address) {
  if (const Chunk& chunk = chunks_[static_cast<std::size_t>(access)]; address - chunk.base < chunk.size)
    return access_global<width, access>(address, code_address);
  if (address - shared_.statics.base < shared_.statics.size)
    return access_shared<width, access>(shared_.statics, address, code_address);
  if (address - shared_.dynamic.base < shared_.dynamic.size)
    return access_shared<width, access>(shared_.dynamic, address, code_address);
  // A thread's own local variables cost nothing here; on a GPU they are registers as a rule.
  if (address - stack_base_ < stack_size_) {
    last_code_address_ = code_address;
    return;
  }
  if (find_elsewhere(address, width, access, code_address))
    access_global<width, access>(address, code_address);
}

// True when it is device memory after all.
bool Tracer::find_elsewhere(std::uintptr_t address, int width, Access access, std::uintptr_t code_address) {
  if (address - arguments_ < arguments_bytes_) return false;
  if (const Chunk* chunk = DeviceMemory::instance().find(address); chunk != nullptr) {
    chunks_[static_cast<std::size_t>(access)] = *chunk;
    return true;
  }
  const Pause pause(*this);
  Fault fault{.kind = FaultKind::kHostMemory,
              .code_address = code_address,
              .address = address,
              .width = width,
              .access = access};
  if (is_constant_memory(address)) {
    if (access == Access::kLoad) return false;
    fault.kind = FaultKind::kConstantWrite;
  } else if (shared_.is_near(address)) {
    fault.kind = FaultKind::kSharedOutOfBounds;
    fault.space = Space::kShared;
  }
  fail(fault);
}

// ---------------------------------------------------------------------------------------------------------------
// Global memory

template <int width, Access access>
inline void Tracer::access_global(std::uintptr_t address, std::uintptr_t code_address) {
  if ((address & static_cast<std::uintptr_t>(width - 1)) != 0) [[unlikely]] {
    fail({.kind = FaultKind::kMisaligned,
          .code_address = code_address,
          .address = address,
          .width = width,
          .access = access});
  }
  const Chunk& chunk = chunks_[static_cast<std::size_t>(access)];
  const std::size_t word = (address - chunk.base) / 4;
  check_global_state(chunk.state + word, address, width, access, code_address);
  const unsigned bytes = byte_mask(address, width);
  constexpr std::size_t kWords = width <= 4 ? 1 : static_cast<std::size_t>(width) / 4;
  for (std::size_t i = 0; i < kWords; ++i)
    check_global_race(chunk.races[word + i], bytes, access, address, width, code_address);
  record(Space::kGlobal, address, width, access, code_address);
}

inline void Tracer::check_global_state(std::uint8_t* state, std::uintptr_t address, int width, Access access,
                                       std::uintptr_t code_address) {
  const std::size_t n_words = width <= 4 ? 1 : static_cast<std::size_t>(width) / 4;
  const unsigned bytes = byte_mask(address, width);
  const unsigned wanted = access == Access::kStore ? bytes << 4 : bytes << 4 | bytes;
  for (std::size_t i = 0; i < n_words; ++i) {
    const unsigned found = state[i];
    if (found == kWordReady) [[likely]]
      continue;
    if ((found & wanted) != wanted) [[unlikely]] {
      const bool inside = (found & bytes << 4) == bytes << 4;
      fail({.kind = inside ? FaultKind::kUninitialised : FaultKind::kOutOfBounds,
            .code_address = code_address,
            .address = address + (width <= 4 ? 0 : 4 * i),
            .width = width,
            .access = access});
    }
    if (access == Access::kLoad) continue;
    // Another worker may set other bytes of the word at the same time.
    std::atomic_ref(state[i]).fetch_or(static_cast<std::uint8_t>(bytes), std::memory_order_relaxed);
  }
}

// Blocks run at the same time, so a cell is changed by compare-and-swap: of two that race, the second sees
// the first.
inline void Tracer::check_global_race(std::uint64_t& cell, unsigned bytes, Access access,
                                      std::uintptr_t address, int width, std::uintptr_t code_address) {
  const std::atomic_ref<std::uint64_t> shared(cell);
  std::uint64_t found = shared.load(std::memory_order_relaxed);
  for (;;) {
    RaceCell now{found};
    if (now.tag() != launch_tag_) now.bits = launch_tag_ << 54;
    const std::uint64_t writer = now.writer();
    const std::uint64_t reader = now.reader();
    // A read beside atomic updates is no fault: it is how a loop around atomicCAS begins.
    const bool with_writer = writer != 0 && writer != block_id_ && (now.written() & bytes) != 0 &&
                             !(access != Access::kStore && now.atomic());
    const bool with_reader = access == Access::kStore && reader != 0 &&
                             (reader != block_id_ || now.several_readers()) && (now.read() & bytes) != 0;
    if (with_writer || with_reader) [[unlikely]] {
      const std::uint64_t other = (with_writer ? writer : reader) - 1;
      if (!is_ordered_after(other)) {
        Fault fault{.kind = FaultKind::kGlobalRace,
                    .code_address = code_address,
                    .address = address,
                    .width = width,
                    .access = access};
        fault.other_block = other;
        fault.value = static_cast<std::int64_t>(block_id_) - 1;
        fault.other_wrote = with_writer;
        fail(fault);
      }
      now.bits = launch_tag_ << 54;  // ordered: a new beginning
    }
    const std::uint64_t next = touched_cell(now, bytes, access);
    if (next == found || shared.compare_exchange_weak(found, next, std::memory_order_relaxed)) return;
  }
}

// The cell after an access by the running block.
inline std::uint64_t Tracer::touched_cell(RaceCell now, unsigned bytes, Access access) const {
  if (access == Access::kLoad) {
    const bool other_reader = now.reader() != 0 && now.reader() != block_id_;
    return (now.bits & ~(RaceCell::kBlockMask << 22)) | block_id_ << 22 | std::uint64_t{bytes} << 48 |
           (other_reader ? std::uint64_t{1} << 53 : 0);
  }
  const bool same_writer = now.writer() == block_id_;
  const std::uint64_t written = (same_writer ? now.written() : 0) | bytes;
  // A block's plain write followed by its own atomic stays a plain write for others.
  const bool atomic = access == Access::kAtomic && (!same_writer || now.atomic());
  return (now.bits & ~(RaceCell::kBlockMask | std::uint64_t{15} << 44 | std::uint64_t{1} << 52)) | block_id_ |
         written << 44 | (atomic ? std::uint64_t{1} << 52 : 0);
}

bool Tracer::is_ordered_after(std::uint64_t other_block) {
  auto& launch = *worker_.launch();
  if (acquired_ == 0 || !launch.any_published.load(std::memory_order_acquire)) return false;
  const Pause pause(*this);
  const std::scoped_lock lock(launch.mutex);
  const auto found = launch.published.find(other_block);
  return found != launch.published.end() && found->second < acquired_;
}

void Tracer::note_release() {
  if (!fenced_) return;
  auto& launch = *worker_.launch();
  const Pause pause(*this);
  const std::scoped_lock lock(launch.mutex);
  launch.published[block_id_ - 1] = launch.clock.fetch_add(1) + 1;
  launch.any_published.store(true, std::memory_order_release);
}

void Tracer::note_acquire() {
  auto& launch = *worker_.launch();
  if (launch.any_published.load(std::memory_order_acquire)) acquired_ = launch.clock.fetch_add(1) + 1;
}

// ---------------------------------------------------------------------------------------------------------------
// Shared memory

template <int width, Access access>
inline void Tracer::access_shared(SharedRegion& region, std::uintptr_t address, std::uintptr_t code_address) {
  const std::size_t offset = address - region.base;
  const bool misaligned = (address & static_cast<std::uintptr_t>(width - 1)) != 0;
  if (misaligned || offset + width > region.size || region.bytes[offset] != Byte::kArray ||
      region.bytes[offset + width - 1] != Byte::kArray) [[unlikely]] {
    if (!misaligned && region.bytes[offset] == Byte::kGuard) return;
    fail({.kind = misaligned ? FaultKind::kMisaligned : FaultKind::kSharedOutOfBounds,
          .code_address = code_address,
          .address = address,
          .width = width,
          .access = access,
          .space = Space::kShared});
  }
  const unsigned bytes = byte_mask(address, width);
  SharedCell* cells = region.cells.data() + offset / 4;
  constexpr std::size_t kWords = width <= 4 ? 1 : static_cast<std::size_t>(width) / 4;
  for (std::size_t i = 0; i < kWords; ++i)
    check_shared_cell(cells[i], bytes, access, address, width, code_address);
  record(Space::kShared, address, width, access, code_address);
}

inline void Tracer::check_shared_cell(SharedCell& cell, unsigned bytes, Access access, std::uintptr_t address,
                                      int width, std::uintptr_t code_address) {
  const auto me = static_cast<std::uint16_t>(tid_ + 1);
  const std::uint32_t epoch = block_epoch_ << 16 | (warp_epochs_[warp_] & 0xFFFFU);
  if (cell.block_serial != block_serial_) cell = SharedCell{.block_serial = block_serial_};

  if (access != Access::kStore && (cell.initialised & bytes) != bytes && pending_.kind == FaultKind::kNone)
      [[unlikely]] {
    // Perhaps a thread that runs later writes it, and a barrier is missing: then that write will show the
    // race. If none does before the next barrier, the memory is uninitialised.
    pending_ = worker_.placed({.kind = FaultKind::kUninitialised,
                               .code_address = code_address,
                               .address = address,
                               .width = width,
                               .access = access,
                               .space = Space::kShared});
  }
  // Two touches are ordered by a barrier of the block, or, within a warp, by a __syncwarp.
  const auto unordered = [&](std::uint16_t other, std::uint32_t other_epoch, bool several_lanes) {
    if (other_epoch >> 16 != epoch >> 16) return false;
    const bool same_warp = (other - 1U) / 32 == warp_;
    if (!same_warp) return true;
    return other_epoch == epoch && (other != me || several_lanes);
  };
  const bool races_with_write = cell.writer != 0 && (cell.written & bytes) != 0 && cell.writer != me &&
                                !(access != Access::kStore && cell.atomic) &&
                                unordered(cell.writer, cell.write_epoch, false);
  const bool races_with_read = access == Access::kStore && cell.reader != 0 && (cell.read & bytes) != 0 &&
                               (unordered(cell.reader, cell.read_epoch, cell.several_lanes) ||
                                (cell.several_warps && cell.read_epoch >> 16 == epoch >> 16));
  if (races_with_write || races_with_read) [[unlikely]] {
    Fault fault{.kind = FaultKind::kSharedRace,
                .code_address = code_address,
                .address = address,
                .width = width,
                .access = access,
                .space = Space::kShared};
    const bool other_wrote = races_with_write;
    fault.value = (other_wrote ? cell.writer : cell.reader) - 1;
    fault.other_code_address = other_wrote ? cell.write_code_address : cell.read_code_address;
    fault.other_wrote = other_wrote;
    fail(fault);
  }
  if (access == Access::kLoad) {
    const bool same_interval = cell.reader != 0 && cell.read_epoch >> 16 == epoch >> 16;
    const bool same_warp = cell.reader != 0 && (cell.reader - 1U) / 32 == warp_;
    const bool same_epoch = same_interval && same_warp && cell.read_epoch == epoch;
    cell.several_warps = same_interval && (cell.several_warps || !same_warp);
    cell.several_lanes = same_epoch && (cell.several_lanes || cell.reader != me);
    cell.read = static_cast<std::uint8_t>((same_interval ? cell.read : 0) | bytes);
    cell.reader = me;
    cell.read_epoch = epoch;
    cell.read_code_address = code_address;
  } else {
    cell.initialised = static_cast<std::uint8_t>(cell.initialised | bytes);
    const bool same_writer = cell.writer == me && cell.write_epoch == epoch;
    cell.written = static_cast<std::uint8_t>((same_writer ? cell.written : 0) | bytes);
    cell.atomic = access == Access::kAtomic && (!same_writer || cell.atomic);
    cell.writer = me;
    cell.write_epoch = epoch;
    cell.write_code_address = code_address;
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Warp instructions

inline void Tracer::record(Space space, std::uintptr_t address, int width, Access access,
                           std::uintptr_t code_address) {
  const std::uint64_t key = code_address << 8 | static_cast<std::uint64_t>(width) << 3 |
                            static_cast<std::uint64_t>(access) << 1 | static_cast<std::uint64_t>(space);
  const std::size_t slot =
      (code_address ^ code_address >> 12 ^ static_cast<std::size_t>(access)) % kTableSize;
  Site* site =
      table_[slot].key == key ? table_[slot].site : find_site(key, space, width, access, code_address);
  if (!site->touched) note_touched(site);
  if (site->n_executed[lane_] - site->base >= kWindow) [[unlikely]]
    wait_for_window(*site);
  Request& request = site->window[site->n_executed[lane_]++ % kWindow];
  request.addresses[lane_] = address;
  request.mask |= 1U << lane_;
  last_code_address_ = code_address;
}

#define KIT_INSTANTIATE(width)                                                            \
  template void Tracer::on_access<width, Access::kLoad>(std::uintptr_t, std::uintptr_t);  \
  template void Tracer::on_access<width, Access::kStore>(std::uintptr_t, std::uintptr_t); \
  template void Tracer::on_access<width, Access::kAtomic>(std::uintptr_t, std::uintptr_t);
KIT_INSTANTIATE(1)
KIT_INSTANTIATE(2)
KIT_INSTANTIATE(4)
KIT_INSTANTIATE(8)
KIT_INSTANTIATE(16)
#undef KIT_INSTANTIATE

}  // namespace kit::simt::detail
