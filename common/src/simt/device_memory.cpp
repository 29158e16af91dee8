#include "device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "kit/check.h"
#include "kit/cuda/device_buffer.h"
#include "kit/cuda/stream.h"

namespace kit::simt::detail {

namespace {

// Room on both sides of a buffer that belongs to nobody: an index that runs past the end lands there, up to
// this far.
constexpr std::size_t kGuardBytes = 64 * 1024;
// cudaMalloc's alignment.
constexpr std::size_t kAlignment = 256;

std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

void* map_pages(std::size_t n_bytes) {
  void* pages =
      mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  KIT_CHECK(pages != MAP_FAILED, "device memory: no room for {} bytes (with their shadow)", n_bytes);
  return pages;
}

}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static auto* memory = new DeviceMemory;  // never destroyed: buffers with static storage may outlive it
  return *memory;
}

DeviceMemory::DeviceMemory()
    : table_(static_cast<std::atomic<const Chunk*>*>(map_pages(kTableSize * sizeof(void*)))) {}

DeviceMemory::OwnedChunk& DeviceMemory::add_chunk(std::size_t at_least) {
  constexpr std::size_t kGranule = std::size_t{1} << kGranuleBits;
  const std::size_t size = round_up(at_least, kGranule);
  // Mapped with a granule to spare, so that an aligned part can be cut out.
  auto raw = reinterpret_cast<std::uintptr_t>(map_pages(size + kGranule));
  const std::uintptr_t base = round_up(raw, kGranule);
  if (base > raw) munmap(reinterpret_cast<void*>(raw), base - raw);
  if (raw + kGranule > base) munmap(reinterpret_cast<void*>(base + size), raw + kGranule - base);

  auto owned = std::make_unique<OwnedChunk>();
  owned->chunk = {.base = base,
                  .size = size,
                  .state = static_cast<std::uint8_t*>(map_pages(size / 4)),
                  .races = static_cast<std::uint64_t*>(map_pages(size / 4 * sizeof(std::uint64_t)))};
  owned->cursor = base;
  for (std::uintptr_t granule = base; granule < base + size; granule += kGranule) {
    table_[granule >> kGranuleBits].store(&owned->chunk, std::memory_order_release);
  }
  chunks_.push_back(std::move(owned));
  return *chunks_.back();
}

std::optional<std::uintptr_t> DeviceMemory::find_room(OwnedChunk& owned, std::size_t n_bytes) {
  const std::uintptr_t chunk_end = owned.chunk.base + owned.chunk.size;
  const auto fits_from = [&](std::uintptr_t from, std::uintptr_t until) -> std::optional<std::uintptr_t> {
    // Gaps between allocations, each keeping a guard zone to both neighbours.
    auto next = owned.allocations.lower_bound(from);
    if (next != owned.allocations.begin()) {
      const auto previous = std::prev(next);
      from = std::max(from, previous->first + previous->second.size + kGuardBytes);
    } else {
      from = std::max(from, owned.chunk.base + kGuardBytes);
    }
    for (;; ++next) {
      const std::uintptr_t start = round_up(from, kAlignment);
      const std::uintptr_t gap_end = next == owned.allocations.end() ? chunk_end : next->first;
      if (start + n_bytes + kGuardBytes <= gap_end) return start;
      if (next == owned.allocations.end() || next->first >= until) return std::nullopt;
      from = next->first + next->second.size + kGuardBytes;
    }
  };
  const auto behind_cursor = fits_from(owned.cursor, chunk_end);
  return behind_cursor ? behind_cursor : fits_from(owned.chunk.base, owned.cursor);
}

void* DeviceMemory::allocate(std::size_t n_bytes) {
  const std::scoped_lock lock(mutex_);
  KIT_CHECK(n_bytes < std::size_t{1} << 40, "device memory: {} bytes asked for", n_bytes);
  OwnedChunk* owner = nullptr;
  std::optional<std::uintptr_t> address;
  for (const auto& chunk : chunks_) {
    address = find_room(*chunk, n_bytes);
    if (address) {
      owner = chunk.get();
      break;
    }
  }
  if (!address) {
    owner = &add_chunk(n_bytes + 2 * kGuardBytes + kAlignment);
    address = find_room(*owner, n_bytes);
    KIT_CHECK(address.has_value(), "device memory: no room for {} bytes", n_bytes);
  }
  owner->allocations[*address] = {.size = n_bytes, .serial = ++n_allocations_};
  owner->cursor = *address + n_bytes;

  std::memset(reinterpret_cast<void*>(*address), 0xFF, n_bytes);
  std::uint8_t* state = owner->chunk.state + (*address - owner->chunk.base) / 4;
  std::memset(state, kWordPoisoned, n_bytes / 4);
  // The last word may belong to the buffer in part.
  if (n_bytes % 4 != 0) state[n_bytes / 4] = static_cast<std::uint8_t>(((1U << n_bytes % 4) - 1) << 4);
  return reinterpret_cast<void*>(*address);
}

void DeviceMemory::free(void* data) noexcept {
  const std::scoped_lock lock(mutex_);
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  for (const auto& owned : chunks_) {
    const auto found = owned->allocations.find(address);
    if (found == owned->allocations.end()) continue;
    const std::size_t n_bytes = found->second.size;
    std::memset(owned->chunk.state + (address - owned->chunk.base) / 4, 0, (n_bytes + 3) / 4);
    owned->allocations.erase(found);
    return;
  }
}

const Chunk* DeviceMemory::find(std::uintptr_t address) const {
  const std::uintptr_t granule = address >> kGranuleBits;
  return granule < kTableSize ? table_[granule].load(std::memory_order_acquire) : nullptr;
}

const DeviceMemory::OwnedChunk* DeviceMemory::owner_of(std::uintptr_t address) const {
  for (const auto& owned : chunks_) {
    if (address - owned->chunk.base < owned->chunk.size) return owned.get();
  }
  return nullptr;
}

void DeviceMemory::check_range(const void* data, std::size_t n_bytes, const char* what) const {
  const std::scoped_lock lock(mutex_);
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const OwnedChunk* owned = owner_of(address);
  KIT_CHECK(owned != nullptr, "{}: {} is not device memory", what, data);
  auto allocation = owned->allocations.upper_bound(address);
  KIT_CHECK(allocation != owned->allocations.begin(), "{}: {} is in no device buffer", what, data);
  --allocation;
  KIT_CHECK(address + n_bytes <= allocation->first + allocation->second.size,
            "{}: {} bytes from byte {} of a device buffer of {}", what, n_bytes, address - allocation->first,
            allocation->second.size);
}

void DeviceMemory::mark_written(const void* data, std::size_t n_bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t end = begin + n_bytes;
  const Chunk* chunk = find(begin);
  const auto mark_bytes = [&](std::uintptr_t from, std::uintptr_t to) {
    for (; from < to; ++from) {
      std::uint8_t& word = chunk->state[(from - chunk->base) / 4];
      word = static_cast<std::uint8_t>(word | 1U << from % 4);
    }
  };
  const std::uintptr_t first_word = std::min(end, round_up(begin, 4));
  const std::uintptr_t last_word = std::max(first_word, end / 4 * 4);
  mark_bytes(begin, first_word);
  std::memset(chunk->state + (first_word - chunk->base) / 4, kWordReady, (last_word - first_word) / 4);
  mark_bytes(last_word, end);
}

std::string DeviceMemory::describe(std::uintptr_t address) const {
  const std::scoped_lock lock(mutex_);
  const OwnedChunk* owned = owner_of(address);
  if (owned == nullptr || owned->allocations.empty()) return "not in any device buffer";
  const auto next = owned->allocations.upper_bound(address);
  const auto text = [](const Allocation& allocation) {
    return fmt::format("the device buffer of {} bytes (the {}. allocated)", allocation.size,
                       allocation.serial);
  };
  std::uintptr_t to_next = next == owned->allocations.end() ? UINTPTR_MAX : next->first - address;
  if (next == owned->allocations.begin())
    return fmt::format("{} bytes before {}", to_next, text(next->second));
  const auto& [start, previous] = *std::prev(next);
  if (address < start + previous.size) return fmt::format("byte {} of {}", address - start, text(previous));
  const std::uintptr_t behind = address - (start + previous.size);
  if (to_next < behind) return fmt::format("{} bytes before {}", to_next, text(next->second));
  return fmt::format("{} behind the end of {}", behind == 0 ? "right" : fmt::format("{} bytes", behind),
                     text(previous));
}

std::uint64_t DeviceMemory::next_launch_tag() {
  const std::scoped_lock lock(mutex_);
  if (++launch_tag_ == std::uint64_t{1} << RaceCell::kTagBits) {
    // Numbers start again: forget the cells of their first round. The kernel gives back zero pages.
    for (const auto& owned : chunks_) {
      madvise(owned->chunk.races, owned->chunk.size / 4 * sizeof(std::uint64_t), MADV_DONTNEED);
    }
    launch_tag_ = 1;
  }
  return launch_tag_;
}

}  // namespace kit::simt::detail

namespace kit::cuda {

using simt::detail::DeviceMemory;

void* device_allocate(std::size_t n_bytes) {
  return DeviceMemory::instance().allocate(n_bytes);
}

void device_free(void* data) noexcept {
  DeviceMemory::instance().free(data);
}

void copy_to_device(void* device, const void* host, std::size_t n_bytes) {
  DeviceMemory::instance().check_range(device, n_bytes, "copy to the device");
  std::memcpy(device, host, n_bytes);
  DeviceMemory::instance().mark_written(device, n_bytes);
}

void copy_to_host(void* host, const void* device, std::size_t n_bytes) {
  DeviceMemory::instance().check_range(device, n_bytes, "copy from the device");
  std::memcpy(host, device, n_bytes);
}

void device_fill(void* device, int byte, std::size_t n_bytes) {
  DeviceMemory::instance().check_range(device, n_bytes, "fill device memory");
  std::memset(device, byte, n_bytes);
  DeviceMemory::instance().mark_written(device, n_bytes);
}

// A launch has ended when it returns: there is nothing to wait for.
void synchronize() {}
void* stream_create() {
  return nullptr;
}
void stream_destroy(void* /*stream*/) noexcept {}
void stream_synchronize(void* /*stream*/) {}

}  // namespace kit::cuda
