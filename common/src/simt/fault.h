#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "kit/simt/position.h"
#include "kit/simt/profile.h"

namespace kit::simt::detail {

enum class FaultKind {
  kNone,
  kOutOfBounds,
  kHostMemory,
  kConstantWrite,
  kUninitialised,
  kMisaligned,
  kSharedOutOfBounds,
  kIndexOutOfBounds,
  kSharedRace,
  kGlobalRace,
  kDivergentBarrier,
  kMissingAtBarrier,
  kLaneNotInMask,
  kLaneMissing,
  kLaneHasReturned,
  kOtherMask,
  kReadsOutsideMask,
  kBadWidth,
  kNeverEnds,
  kSegmentationFault,
  kArithmeticFault,
  kException,
  kNestedLaunch,
};

/// A fault as it is noted on the faulting thread's own stack, which is abandoned right after: plain data, no
/// owner.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  std::uintptr_t code_address = 0;  // where the thread was
  std::uintptr_t address = 0;       // what it touched
  int width = 0;
  Access access = Access::kLoad;
  Space space = Space::kGlobal;
  Index3 block_idx{};
  Index3 thread_idx{};
  int warp = 0;
  int lane = 0;
  // The other party of a race, a barrier or a shuffle.
  Index3 other_thread_idx{};
  std::uint64_t other_block = 0;
  std::uintptr_t other_code_address = 0;
  bool other_wrote = false;
  unsigned mask = 0;
  unsigned missing_mask = 0;
  std::int64_t value = 0;
  std::array<char, 160> text{};
};

/// Says which array an address belongs to.
using AddressText = std::function<std::string(const Fault&)>;

/// The sentence for a student: what happened, where, and what to look at.
std::string describe(const Fault& fault, const std::string& kernel, const std::array<unsigned, 3>& grid,
                     const std::array<unsigned, 3>& thread_block, const LaneOrder& order,
                     const AddressText& address_text);

}  // namespace kit::simt::detail
