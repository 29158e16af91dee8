#include "fault.h"

#include <fmt/format.h>

#include "device_memory.h"
#include "source_lines.h"
#include "worker.h"

namespace kit::simt::detail {

namespace {

std::string to_string(const Index3& index) {
  return fmt::format("({}, {}, {})", index.x, index.y, index.z);
}

std::string where(std::uintptr_t code_address) {
  return find_source(code_address).to_string();
}

std::string verb(Access access) {
  return access == Access::kLoad ? "read" : access == Access::kStore ? "write" : "atomic update";
}

std::string access_text(const Fault& fault) {
  return fmt::format("{} of {} byte{}", verb(fault.access), fault.width, fault.width == 1 ? "" : "s");
}

std::string lanes(unsigned mask) {
  std::string text;
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) == 0) continue;
    int last = lane;
    while (last < 31 && (mask >> (last + 1) & 1U) != 0) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", lane);
    if (last > lane) text += fmt::format("-{}", last);
    lane = last;
  }
  return text;
}

struct Sentence {
  std::string what;
  std::string look_at;
};

Sentence memory_sentence(const Fault& fault, const AddressText& address_text) {
  switch (fault.kind) {
    case FaultKind::kOutOfBounds:
      return {fmt::format("out-of-bounds {}: {}", access_text(fault), address_text(fault)),
              "the index, and the guard of the last, partial thread block (if (i < n))"};
    case FaultKind::kHostMemory:
      return {fmt::format("{} at {:#x}, which is host memory, not device memory", access_text(fault),
                          fault.address),
              "the kernel's pointers: they must come from a DeviceBuffer, and local variables are their "
              "thread's own"};
    case FaultKind::kConstantWrite:
      return {fmt::format("{} at {:#x}, which is constant memory", access_text(fault), fault.address),
              "what the kernel writes to"};
    case FaultKind::kUninitialised:
      return {fmt::format("uninitialised {} memory: {}, {}, before anything was written there",
                          fault.space == Space::kShared ? "shared" : "device", access_text(fault),
                          address_text(fault)),
              fault.space == Space::kShared ? "which threads fill the array, and whether all of it is filled"
                                            : "whether the buffer was filled before the launch, all of it"};
    case FaultKind::kMisaligned:
      return {fmt::format("misaligned {}: the address is {} past a multiple of {}", access_text(fault),
                          fault.address % static_cast<unsigned>(fault.width), fault.width),
              "the pointer that was cast to a wider type: its offset must be a multiple of the width"};
    case FaultKind::kSharedOutOfBounds:
      return {fmt::format("out-of-bounds {} of shared memory: {}", access_text(fault), address_text(fault)),
              "the index against the array's size (and dynamic_shared_bytes of the launch)"};
    default:
      return {fmt::format("index {} is outside of an array of type {}", fault.value, fault.text.data()),
              "the index against the declared bound of that dimension"};
  }
}

Sentence race_sentence(const Fault& fault, const AddressText& address_text) {
  const std::string done = fault.other_wrote ? "written" : "read";
  // Of several readers only the last is known, which may be the writer itself.
  if (fault.kind == FaultKind::kSharedRace) {
    const std::string me = to_string(fault.thread_idx);
    const std::string other = to_string(fault.other_thread_idx);
    return {fmt::format("race on shared memory: {}, {}, which {} has {} at {} with no barrier in between",
                        access_text(fault), address_text(fault),
                        other == me ? "another thread" : "thread " + other, done,
                        where(fault.other_code_address)),
            "a missing __syncthreads() (or __syncwarp() within a warp) between the two lines"};
  }
  const bool is_me = fault.other_block == static_cast<std::uint64_t>(fault.value);
  return {fmt::format("race on device memory: {}, {}, which {} has {} in this launch", access_text(fault),
                      address_text(fault),
                      is_me ? "another thread block"
                            : fmt::format("thread block {} (counted through)", fault.other_block),
                      done),
          "thread blocks run in any order: give each its own elements, use an atomic, or a second launch"};
}

Sentence warp_sentence(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kLaneNotInMask:
      return {
          fmt::format("the thread calls a warp function with mask {:#010x}, which leaves out its own lane",
                      fault.mask),
          "the mask: it must name every lane that makes the call"};
    case FaultKind::kLaneMissing:
      return {
          fmt::format("a warp function waits for lanes {} of its mask {:#010x}, which never come; lane {} "
                      "stands at {}",
                      lanes(fault.missing_mask), fault.mask, fault.value, where(fault.other_code_address)),
          "a warp function inside a branch that not all lanes of its mask take"};
    case FaultKind::kOtherMask:
      return {
          fmt::format("lanes {} are named by mask {:#010x} but make another call: lane {} stands at {}",
                      lanes(fault.missing_mask), fault.mask, fault.value, where(fault.other_code_address)),
          "all lanes of a mask must call the same warp function with the same mask"};
    case FaultKind::kLaneHasReturned:
      return {fmt::format("shuffle from lane {}, which has returned from the kernel or does not exist",
                          fault.value),
              "threads beyond the end: let them take part with a neutral value instead of returning early"};
    case FaultKind::kReadsOutsideMask:
      return {fmt::format("shuffle from lane {}, which mask {:#010x} does not name", fault.value, fault.mask),
              "the mask, and the width and distance of the shuffle"};
    default:
      return {fmt::format("shuffle with width {}", fault.value), "the width: 1, 2, 4, 8, 16 or 32"};
  }
}

Sentence barrier_sentence(const Fault& fault) {
  if (fault.kind == FaultKind::kDivergentBarrier) {
    return {fmt::format("divergent __syncthreads(): this thread waits here, thread {} waits at {}",
                        to_string(fault.other_thread_idx), where(fault.other_code_address)),
            "a barrier inside a branch: every thread of the block must reach the same one"};
  }
  return {fmt::format(
              "{} thread{} of the block returned (thread {} for one) while this one waits at __syncthreads()",
              fault.value, fault.value == 1 ? "" : "s", to_string(fault.other_thread_idx)),
          "an early return, or a branch around a barrier: every thread of the block must reach it"};
}

Sentence other_sentence(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kNeverEnds:
      return {
          fmt::format("the kernel did not end within {} ms of processor time", fault.value),
          "a loop whose end never comes, or a wait for another thread block (which may start only later)"};
    case FaultKind::kArithmeticFault:
      return {"integer division by zero (a GPU gives no sign of it and computes on with garbage)",
              "the divisor"};
    case FaultKind::kSegmentationFault:
      if (fault.value == 1)
        return {"stack overflow", "recursion without an end, or local arrays beyond 256 KiB"};
      return {fmt::format("invalid memory access at {:#x}", fault.address),
              "the pointers that the kernel was given"};
    case FaultKind::kException:
      return {fmt::format("an exception came out of the kernel: {}", fault.text.data()),
              "device code cannot throw: check arguments on the host, before the launch"};
    default:
      return {"a kernel launches another kernel", "launches belong to host code"};
  }
}

Sentence sentence(const Fault& fault, const AddressText& address_text) {
  switch (fault.kind) {
    case FaultKind::kSharedRace:
    case FaultKind::kGlobalRace:
      return race_sentence(fault, address_text);
    case FaultKind::kDivergentBarrier:
    case FaultKind::kMissingAtBarrier:
      return barrier_sentence(fault);
    case FaultKind::kLaneNotInMask:
    case FaultKind::kLaneMissing:
    case FaultKind::kLaneHasReturned:
    case FaultKind::kOtherMask:
    case FaultKind::kReadsOutsideMask:
    case FaultKind::kBadWidth:
      return warp_sentence(fault);
    case FaultKind::kNeverEnds:
    case FaultKind::kSegmentationFault:
    case FaultKind::kArithmeticFault:
    case FaultKind::kException:
    case FaultKind::kNestedLaunch:
      return other_sentence(fault);
    default:
      return memory_sentence(fault, address_text);
  }
}

}  // namespace

std::string describe(const Fault& fault, const std::string& kernel, const std::array<unsigned, 3>& grid,
                     const std::array<unsigned, 3>& thread_block, const LaneOrder& order,
                     const AddressText& address_text) {
  std::uintptr_t code_address = fault.code_address;
  // A signal may come inside the executor, called by the kernel for its last access.
  const bool by_signal = fault.kind == FaultKind::kNeverEnds || fault.kind == FaultKind::kSegmentationFault;
  if (by_signal && find_source(code_address).place.file.find(".cu") == std::string::npos)
    code_address = fault.other_code_address;
  const Sentence text = sentence(fault, address_text);
  return fmt::format(
      "{}: {}\n  at        {}\n  thread    {} of thread block {} (warp {}, lane {})\n  launch    <<<({}, {}, "
      "{}), ({}, "
      "{}, {})>>>, lane order {}\n  look at   {}",
      kernel, text.what, code_address == 0 ? "an unknown line" : where(code_address),
      to_string(fault.thread_idx), to_string(fault.block_idx), fault.warp, fault.lane, grid[0], grid[1],
      grid[2], thread_block[0], thread_block[1], thread_block[2], order.to_string(), text.look_at);
}

}  // namespace kit::simt::detail
