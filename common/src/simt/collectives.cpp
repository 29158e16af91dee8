#include <algorithm>
#include <bit>

#include "worker.h"

/// Warp functions: lanes bring a value, and when all that the mask names have come, each gets its result.
namespace kit::simt::detail {

namespace {

bool is_shuffle(WarpOp op) {
  return op == WarpOp::kShuffle || op == WarpOp::kShuffleUp || op == WarpOp::kShuffleDown ||
         op == WarpOp::kShuffleXor;
}

// The lane that `lane` reads from: PTX ISA, "shfl.sync". Out of the segment a lane reads its own value.
int source_lane(WarpOp op, int lane, int argument, int width) {
  const int begin = lane / width * width;
  switch (op) {
    case WarpOp::kShuffle:
      return begin + (argument & (width - 1));
    case WarpOp::kShuffleUp:
      return lane - argument >= begin ? lane - argument : lane;
    case WarpOp::kShuffleDown:
      return lane + argument < begin + width ? lane + argument : lane;
    case WarpOp::kShuffleXor: {
      const int source = lane ^ argument;
      return source < begin + width ? source : lane;
    }
    default:
      return lane;
  }
}

std::uint64_t combine(WarpOp op, std::uint64_t a, std::uint64_t b) {
  const auto ua = static_cast<std::uint32_t>(a);
  const auto ub = static_cast<std::uint32_t>(b);
  const auto sa = static_cast<std::int32_t>(ua);
  const auto sb = static_cast<std::int32_t>(ub);
  switch (op) {
    case WarpOp::kAddSigned:
    case WarpOp::kAddUnsigned:
      return ua + ub;
    case WarpOp::kMinSigned:
      return static_cast<std::uint32_t>(std::min(sa, sb));
    case WarpOp::kMinUnsigned:
      return std::min(ua, ub);
    case WarpOp::kMaxSigned:
      return static_cast<std::uint32_t>(std::max(sa, sb));
    case WarpOp::kMaxUnsigned:
      return std::max(ua, ub);
    case WarpOp::kAnd:
      return ua & ub;
    case WarpOp::kOr:
      return ua | ub;
    default:
      return ua ^ ub;
  }
}

}  // namespace

std::uint64_t Worker::wait_at_collective(WarpOp op, unsigned mask, std::uint64_t value, int argument,
                                         int width, std::uintptr_t code_address) {
  const auto lane = static_cast<unsigned>(current_ % 32);
  Fault fault{.code_address = code_address};
  fault.mask = mask;
  fault.value = width;
  if ((mask >> lane & 1U) == 0) {
    fault.kind = FaultKind::kLaneNotInMask;
    fail(fault);
  }
  if (is_shuffle(op) && (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width)))) {
    fault.kind = FaultKind::kBadWidth;
    fail(fault);
  }
  CudaThread& self = threads_[static_cast<std::size_t>(current_)];
  self.waits_at = code_address;
  self.op = op;
  self.mask = mask;
  self.value = value;
  self.argument = argument;
  self.width = width;
  suspend(ThreadStatus::kAtCollective);
  return self.value;
}

// True when some lanes can go on.
bool Worker::resolve_collectives(int warp) {
  const std::uint32_t done = mask_where(warp, ThreadStatus::kDone);
  const int n_lanes = lane_count(warp);
  const std::uint32_t exist = n_lanes == 32 ? ~0U : (1U << n_lanes) - 1;
  bool resolved = false;
  for (int lane = 0; lane < n_lanes; ++lane) {
    const CudaThread& leader = thread(warp, lane);
    if (leader.status != ThreadStatus::kAtCollective) continue;
    // Lanes that have returned, or that the block does not have, need not come.
    const std::uint32_t participants = leader.mask & exist & ~done;
    bool all = true;
    for (std::uint32_t rest = participants; rest != 0; rest &= rest - 1) {
      const CudaThread& other = thread(warp, std::countr_zero(rest));
      all = all && other.status == ThreadStatus::kAtCollective && other.op == leader.op &&
            other.mask == leader.mask;
    }
    if (!all) continue;
    resolve(warp, leader.op, leader.mask, participants);
    if ((exist & ~done & ~participants) == 0) tracer_.converge();
    resolved = true;
  }
  return resolved;
}

void Worker::resolve(int warp, WarpOp op, unsigned mask, unsigned participants) {
  std::array<std::uint64_t, 32> values{};
  for (std::uint32_t rest = participants; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    values[static_cast<std::size_t>(lane)] = thread(warp, lane).value;
  }
  std::uint32_t ballot = 0;
  std::uint64_t combined = 0;
  for (std::uint32_t rest = participants; rest != 0; rest &= rest - 1) {
    const std::uint64_t value = values[static_cast<std::size_t>(std::countr_zero(rest))];
    if (value != 0) ballot |= rest & (~rest + 1);
    combined = rest == participants ? value : combine(op, combined, value);
  }
  for (std::uint32_t rest = participants; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    CudaThread& self = thread(warp, lane);
    self.status = ThreadStatus::kRunnable;
    if (is_shuffle(op)) {
      const int source = source_lane(op, lane, self.argument, self.width);
      if ((participants >> source & 1U) == 0) {
        Fault fault{
            .kind = (mask >> source & 1U) != 0 ? FaultKind::kLaneHasReturned : FaultKind::kReadsOutsideMask,
            .code_address = self.waits_at};
        fault.mask = mask;
        fault.value = source;
        fail_for(32 * warp + lane, fault);
      }
      self.value = values[static_cast<std::size_t>(source)];
    } else if (op == WarpOp::kAll) {
      self.value = ballot == participants ? 1 : 0;
    } else if (op == WarpOp::kAny) {
      self.value = ballot != 0 ? 1 : 0;
    } else if (op == WarpOp::kBallot) {
      self.value = ballot;
    } else if (op == WarpOp::kMatchAny) {
      std::uint32_t same = 0;
      for (std::uint32_t other = participants; other != 0; other &= other - 1) {
        const int i = std::countr_zero(other);
        if (values[static_cast<std::size_t>(i)] == values[static_cast<std::size_t>(lane)]) same |= 1U << i;
      }
      self.value = same;
    } else if (op != WarpOp::kSync) {
      self.value = combined;
    }
  }
  if (op == WarpOp::kSync) {
    tracer_.note_warp_sync(warp);
    ++statistics.warp_syncs;
  } else {
    ++statistics.shuffles;
  }
}

// Nobody of the warp can go on, and some wait for lanes that do not come.
void Worker::fail_at_collective(int warp) {
  const std::uint32_t waiting = mask_where(warp, ThreadStatus::kAtCollective);
  const int lane = std::countr_zero(waiting);
  const CudaThread& self = thread(warp, lane);
  Fault fault{.kind = FaultKind::kLaneMissing, .code_address = self.waits_at};
  fault.mask = self.mask;
  for (int other = 0; other < lane_count(warp); ++other) {
    const CudaThread& thread_of = thread(warp, other);
    if ((self.mask >> other & 1U) == 0 || thread_of.status == ThreadStatus::kDone) continue;
    if (thread_of.status == ThreadStatus::kAtCollective && thread_of.mask == self.mask &&
        thread_of.op == self.op)
      continue;
    fault.missing_mask |= 1U << other;
    fault.other_code_address = thread_of.waits_at;
    fault.value = other;
    if (thread_of.status == ThreadStatus::kAtCollective) fault.kind = FaultKind::kOtherMask;
  }
  fail_for(32 * warp + lane, fault);
}

}  // namespace kit::simt::detail
