#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// Shared memory of the thread block that one worker runs: __shared__ arrays, which are variables with thread
/// storage of the program, and the dynamic array.
namespace kit::simt::detail {

/// Who touched four bytes of shared memory, and when. Epochs count barriers of the block (high half) and of
/// the toucher's warp (low half).
struct SharedCell {
  std::uint32_t block_serial = 0;  // of the block that this describes; any other: untouched and unwritten
  std::uint8_t initialised = 0;    // bit a byte
  std::uint8_t written = 0;        // bytes of the last write
  std::uint8_t read = 0;           // bytes of the last reads
  bool atomic = false;             // the last write was atomic
  bool several_lanes = false;      // of reader's warp have read in reader's epoch
  bool several_warps = false;      // have read since the last barrier
  std::uint16_t writer = 0;        // tid + 1
  std::uint16_t reader = 0;        // tid + 1
  std::uint32_t write_epoch = 0;
  std::uint32_t read_epoch = 0;
  std::uintptr_t write_code_address = 0;
  std::uintptr_t read_code_address = 0;
};

enum class Byte : std::uint8_t {
  kNobodys,  // before, between and behind arrays
  kArray,
  kGuard,  // the compiler's own note that a static variable was constructed; no concern of the kernel's
};

struct SharedRegion {
  std::uintptr_t base = 0;
  std::size_t size = 0;
  std::vector<SharedCell> cells;  // [size / 4]
  std::vector<Byte> bytes;        // [size]
};

class SharedMemory {
 public:
  /// Finds the calling thread's copies of all __shared__ arrays.
  SharedMemory();

  SharedRegion statics;
  SharedRegion dynamic;
  void resize_dynamic(std::size_t n_bytes);

  /// In the guard zones of the dynamic array.
  bool is_near(std::uintptr_t address) const;
  /// "4 bytes behind the end of tile (4,096 bytes)".
  std::string describe(std::uintptr_t address) const;

 private:
  std::vector<std::uint8_t> storage_;
};

/// Bytes of the __shared__ arrays that a kernel declares itself, by its mangled name.
std::size_t static_shared_bytes(const std::string& mangled_kernel);

}  // namespace kit::simt::detail
