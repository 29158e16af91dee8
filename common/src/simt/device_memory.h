#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

/// The executor's global memory: chunks of host memory with shadow memory beside them.
namespace kit::simt::detail {

/// State of four bytes of device memory, one bit a byte: the high half says "belongs to a buffer", the low
/// half "has been written".
inline constexpr std::uint8_t kWordReady = 0xFF;
inline constexpr std::uint8_t kWordPoisoned = 0xF0;

/// Who touched a word last in this launch; packed so that one relaxed atomic load and store keep it
/// consistent. Block numbers are kept modulo 2^22 - 1, so a race between blocks that far apart can be missed,
/// never invented.
struct RaceCell {
  std::uint64_t bits = 0;

  static constexpr int kBlockBits = 22;
  static constexpr std::uint64_t kBlockMask = (1ULL << kBlockBits) - 1;
  static constexpr int kTagBits = 10;

  // writer block + 1 | reader block + 1 | bytes written | bytes read | written atomically | several readers |
  // launch
  std::uint64_t writer() const { return bits & kBlockMask; }
  std::uint64_t reader() const { return (bits >> 22) & kBlockMask; }
  unsigned written() const { return static_cast<unsigned>(bits >> 44) & 15U; }
  unsigned read() const { return static_cast<unsigned>(bits >> 48) & 15U; }
  bool atomic() const { return (bits >> 52 & 1U) != 0; }
  bool several_readers() const { return (bits >> 53 & 1U) != 0; }
  std::uint64_t tag() const { return bits >> 54; }
};

struct Chunk {
  std::uintptr_t base = 0;
  std::size_t size = 0;
  std::uint8_t* state = nullptr;   // [size / 4]
  std::uint64_t* races = nullptr;  // [size / 4], RaceCell bits
};

class DeviceMemory {
 public:
  static DeviceMemory& instance();

  void* allocate(std::size_t n_bytes);
  void free(void* data) noexcept;
  /// The chunk that holds `address`, or null. Lock-free: kernels ask.
  const Chunk* find(std::uintptr_t address) const;
  /// Throws kit::Error unless all of [data, data + n_bytes) lies in one buffer.
  void check_range(const void* data, std::size_t n_bytes, const char* what) const;
  void mark_written(const void* data, std::size_t n_bytes);
  /// "4 bytes behind the end of the 4,096-byte buffer allocated 2nd".
  std::string describe(std::uintptr_t address) const;
  /// Number of a new launch, 1 .. 2^10 - 1; race cells of other numbers count as empty.
  std::uint64_t next_launch_tag();

 private:
  struct Allocation {
    std::size_t size;
    std::uint64_t serial;
  };
  struct OwnedChunk {
    Chunk chunk;
    std::map<std::uintptr_t, Allocation> allocations;
    std::uintptr_t cursor = 0;  // where the search for room begins, so that freed memory is reused late
  };

  OwnedChunk& add_chunk(std::size_t at_least);
  static std::optional<std::uintptr_t> find_room(OwnedChunk& chunk, std::size_t n_bytes);
  const OwnedChunk* owner_of(std::uintptr_t address) const;

  static constexpr std::size_t kGranuleBits = 25;  // chunks are multiples of 32 MiB, and aligned to them
  static constexpr std::size_t kTableSize = std::size_t{1} << (47 - kGranuleBits);

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<OwnedChunk>> chunks_;
  std::atomic<const Chunk*>* table_ = nullptr;  // [kTableSize], by address >> kGranuleBits
  std::uint64_t n_allocations_ = 0;
  std::uint64_t launch_tag_ = 0;

  DeviceMemory();
};

}  // namespace kit::simt::detail
