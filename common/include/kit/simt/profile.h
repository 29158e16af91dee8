#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kit/check.h"

/// What the SIMT executor counts, how it is told to run, and how a launch fails.
namespace kit::simt {

/// A kernel did what it must not. The message names kernel, thread block, thread, source line and what to
/// look at.
class LaunchError : public Error {
 public:
  using Error::Error;
};

enum class Space { kGlobal, kShared };
enum class Access { kLoad, kStore, kAtomic };
std::string_view name(Space space);
std::string_view name(Access access);

/// Counts of warp instructions ("requests") of one kind. Sectors are 32 bytes of global memory, wavefronts
/// passes over the 32 banks of shared memory; each is 0 in the other space.
struct Counters {
  std::int64_t requests = 0;          // warp instructions
  std::int64_t thread_accesses = 0;   // active lanes, all requests together
  std::int64_t partial_requests = 0;  // requests in which some of the warp's threads, not all, took part
  std::int64_t sectors = 0;
  std::int64_t ideal_sectors = 0;  // ceil(active lanes * width / 32) for each request
  std::int64_t useful_bytes = 0;   // active lanes * width, at most what the sectors hold
  std::int64_t wavefronts = 0;
  std::int64_t ideal_wavefronts = 0;  // ceil(active lanes * width / 128) for each request
  void operator+=(const Counters& other);
  bool operator==(const Counters&) const = default;

  double sectors_per_request() const;
  /// useful_bytes / (32 * sectors); 1 when there are none.
  double sector_efficiency() const;
  /// wavefronts / ideal_wavefronts; 1 when there are none. Above 1 there were bank conflicts.
  double bank_conflict_degree() const;
  /// Active lanes per request, of 32: ncu's thread_inst_executed_per_inst_executed over memory instructions.
  double threads_per_request() const;
};

/// One place in the source that accesses memory.
struct LineReport {
  std::string file;  // as the debug information has it
  std::string function;
  int line = 0;
  int column = 0;
  Space space = Space::kGlobal;
  Access access = Access::kLoad;
  int width = 0;  // bytes per thread: 1, 2, 4, 8 or 16
  Counters counters;
};

struct LaunchReport {
  std::string kernel;
  std::array<unsigned, 3> grid{};
  std::array<unsigned, 3> thread_block{};
  std::int64_t static_shared_bytes = 0;
  std::int64_t dynamic_shared_bytes = 0;
  std::int64_t barriers = 0;      // __syncthreads, one for each thread block that passed it
  std::int64_t warp_syncs = 0;    // __syncwarp, by warp
  std::int64_t shuffles = 0;      // shuffles, votes and reductions, by warp
  std::vector<LineReport> lines;  // by file, line, column

  /// The sum over the lines of one kind.
  Counters total(Space space, Access access) const;
  /// Bytes of all sectors of global memory: what a GPU without caches would move. Divided by a bandwidth it
  /// is a floor for the time, never the time.
  std::int64_t global_bytes() const;
};

/// One JSON object; keys that Nsight Compute also has carry its names (docs/simt_executor.md).
std::string to_json(const LaunchReport& report);

/// Runs `body` and returns what its launches did, in order. Throws what `body` throws.
std::vector<LaunchReport> profile(const std::function<void()>& body);

/// The order in which threads that a GPU runs at once are run here. A kernel whose result depends on it has a
/// race.
struct LaneOrder {
  enum class Kind { kForward, kReverse, kSeeded };
  Kind kind = Kind::kForward;
  std::uint64_t seed = 0;
  std::string to_string() const;
};

/// What a launch may use, by CUDA's occupancy limits for the chosen device.
struct DeviceLimits {
  std::string_view device;
  int max_threads_per_block;
  std::int64_t max_static_shared_bytes;
  std::int64_t max_dynamic_shared_bytes;  // static and dynamic together, with opt-in
};
/// Throws kit::Error naming the known devices. Compute capability 8.0, 8.9, 9.0.
DeviceLimits device_limits(std::string_view device);

/// How launches run; thread-safe to read, set it while none runs.
struct Options {
  bool trace = true;  // count and check accesses; without, only barriers and warp functions are checked
  LaneOrder order;
  DeviceLimits limits = device_limits("a100-80gb");
  /// For one launch, all cores together, shared out evenly; a kernel that takes longer never ends. Below the
  /// 10 s that the grader grants a test, so that the message is the executor's.
  double max_cpu_seconds = 6;
};
Options options();
void set_options(const Options& options);

/// Options for one scope.
class ScopedOptions {
 public:
  explicit ScopedOptions(const Options& options) : before_(simt::options()) { set_options(options); }
  ~ScopedOptions() { set_options(before_); }
  ScopedOptions(const ScopedOptions&) = delete;
  ScopedOptions& operator=(const ScopedOptions&) = delete;

 private:
  Options before_;
};

}  // namespace kit::simt
