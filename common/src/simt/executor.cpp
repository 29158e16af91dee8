#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>

#include "kit/check.h"
#include "kit/parallel.h"
#include "kit/rng.h"
#include "kit/simt/launch.h"
#include "kit/simt/profile.h"
#include "report.h"
#include "source_lines.h"
#include "worker.h"

namespace kit::simt {

namespace detail {

namespace {

// Launches are one after the other, as on a stream; the blocks of one run on all cores.
std::recursive_mutex& launch_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

struct KernelInfo {
  std::string name;
  std::size_t static_shared_bytes = 0;
};

// Looked up once a kernel: a search through the symbol table takes longer than a small launch.
const KernelInfo& kernel_info(const void* kernel) {
  static std::map<const void*, KernelInfo> known;  // guarded by launch_mutex()
  const auto found = known.find(kernel);
  if (found != known.end()) return found->second;
  const FunctionName name = find_function(kernel);
  return known[kernel] = {.name = name.demangled, .static_shared_bytes = static_shared_bytes(name.mangled)};
}

void check_config(const LaunchState& launch, const std::string& kernel, std::size_t static_bytes) {
  const auto check_dim = [&](const char* what, const Index3& size, std::array<unsigned, 3> limit) {
    KIT_CHECK(size.x > 0 && size.y > 0 && size.z > 0, "{}: a {} of ({}, {}, {})", kernel, what, size.x,
              size.y, size.z);
    KIT_CHECK(size.x <= limit[0] && size.y <= limit[1] && size.z <= limit[2],
              "{}: a {} of ({}, {}, {}); at most ({}, {}, {}) are allowed", kernel, what, size.x, size.y,
              size.z, limit[0], limit[1], limit[2]);
  };
  check_dim("grid", launch.grid, {2147483647U, 65535, 65535});
  check_dim("thread block", launch.thread_block, {1024, 1024, 64});
  const auto& limits = launch.options.limits;
  const std::uint64_t n_threads =
      std::uint64_t{launch.thread_block.x} * launch.thread_block.y * launch.thread_block.z;
  KIT_CHECK(n_threads <= static_cast<std::uint64_t>(limits.max_threads_per_block),
            "{}: thread blocks of {} threads; {} allows {}", kernel, n_threads, limits.device,
            limits.max_threads_per_block);
  KIT_CHECK(static_bytes <= static_cast<std::size_t>(limits.max_static_shared_bytes),
            "{}: {} bytes of __shared__ arrays; {} bytes are allowed, more only as dynamic shared memory",
            kernel, static_bytes, limits.max_static_shared_bytes);
  KIT_CHECK(
      static_bytes + launch.dynamic_shared_bytes <= static_cast<std::size_t>(limits.max_dynamic_shared_bytes),
      "{}: {} bytes of shared memory ({} of them dynamic); {} allows {}", kernel,
      static_bytes + launch.dynamic_shared_bytes, launch.dynamic_shared_bytes, limits.device,
      limits.max_dynamic_shared_bytes);
}

void make_order(LaunchState& launch) {
  const int n_warps = (launch.n_threads + 31) / 32;
  const LaneOrder order = launch.options.order;
  launch.warp_order.resize(static_cast<std::size_t>(n_warps));
  launch.lane_order.resize(static_cast<std::size_t>(n_warps));
  std::iota(launch.warp_order.begin(), launch.warp_order.end(), 0);
  for (auto& lanes : launch.lane_order) std::iota(lanes.begin(), lanes.end(), 0);
  if (order.kind == LaneOrder::Kind::kReverse) {
    std::reverse(launch.warp_order.begin(), launch.warp_order.end());
    for (auto& lanes : launch.lane_order) std::reverse(lanes.begin(), lanes.end());
  }
  if (order.kind != LaneOrder::Kind::kSeeded) return;
  Rng rng(order.seed, 0x51337);
  const auto shuffle = [&rng](auto& values) {
    for (std::size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[rng.below(static_cast<std::uint32_t>(i))]);
  };
  shuffle(launch.warp_order);
  for (auto& lanes : launch.lane_order) shuffle(lanes);
  launch.block_offset =
      rng.below(static_cast<std::uint32_t>(std::min<std::uint64_t>(launch.n_blocks, 1U << 31)));
  do {
    launch.block_stride = 1 + rng.below(1U << 30);
  } while (std::gcd(launch.block_stride, launch.n_blocks) != 1);
}

}  // namespace

void launch(const KernelCall& call, std::array<unsigned, 3> grid, std::array<unsigned, 3> thread_block,
            std::size_t dynamic_shared_bytes) {
  if (current_worker != nullptr && current_worker->runs_kernel())
    current_worker->fail({.kind = FaultKind::kNestedLaunch,
                          .code_address = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1});
  const std::scoped_lock lock(launch_mutex());
  LaunchState state;
  state.call = call;
  state.options = options();
  state.grid = {grid[0], grid[1], grid[2]};
  state.thread_block = {thread_block[0], thread_block[1], thread_block[2]};
  state.dynamic_shared_bytes = dynamic_shared_bytes;
  const KernelInfo& kernel = kernel_info(call.kernel);
  check_config(state, kernel.name, kernel.static_shared_bytes);
  state.n_blocks = std::uint64_t{grid[0]} * grid[1] * grid[2];
  state.n_threads = static_cast<int>(thread_block[0] * thread_block[1] * thread_block[2]);
  state.launch_tag = DeviceMemory::instance().next_launch_tag();
  for (int tid = 0; tid < state.n_threads; ++tid)
    state.thread_index.push_back(unflatten(static_cast<std::uint64_t>(tid), state.thread_block));
  make_order(state);

  ReportBuilder report(kernel.name, grid, thread_block, static_cast<std::int64_t>(kernel.static_shared_bytes),
                       static_cast<std::int64_t>(dynamic_shared_bytes));
  std::string address_text;
  std::mutex report_mutex;
  // Enough pieces for every core to have work, large enough that a block's own cost outweighs a piece's.
  const std::int64_t n_blocks = static_cast<std::int64_t>(state.n_blocks);
  const std::int64_t grain = std::max<std::int64_t>(1, n_blocks / n_threads());
  parallel_for(n_blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    Worker& worker = Worker::of_this_thread();
    worker.run_blocks(state, static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end));
    const std::scoped_lock report_lock(report_mutex);
    report.add(worker);
    if (state.failed && address_text.empty() && worker.failed())
      address_text = worker.address_text(state.fault);
  });
  if (state.failed) {
    throw LaunchError(describe(state.fault, kernel.name, grid, thread_block, state.options.order,
                               [&](const Fault&) { return address_text; }));
  }
  if (state.options.trace) report.publish();
}

}  // namespace detail

}  // namespace kit::simt
