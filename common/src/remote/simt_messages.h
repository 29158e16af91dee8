#pragma once

#include "kit/remote/passing.h"
#include "kit/simt/profile.h"

/// The executor in the worker, asked by the checker: what crosses, and under which names.
namespace kit::remote {

template <>
struct LastEnumerator<simt::Space> {
  static constexpr simt::Space kValue = simt::Space::kShared;
};
template <>
struct LastEnumerator<simt::Access> {
  static constexpr simt::Access kValue = simt::Access::kAtomic;
};
template <>
struct LastEnumerator<simt::LaneOrder::Kind> {
  static constexpr simt::LaneOrder::Kind kValue = simt::LaneOrder::Kind::kSeeded;
};

}  // namespace kit::remote

namespace kit::simt {

template <class Archive>
void serialize(Archive& archive, Counters& x) {
  auto& [requests, thread_accesses, partial, sectors, ideal_sectors, useful, wavefronts, ideal_wavefronts] =
      x;
  archive(requests, thread_accesses, partial, sectors, ideal_sectors, useful, wavefronts, ideal_wavefronts);
}
template <class Archive>
void serialize(Archive& archive, LineReport& x) {
  auto& [file, function, line, column, space, access, width, counters] = x;
  archive(file, function, line, column, space, access, width, counters);
}
template <class Archive>
void serialize(Archive& archive, LaunchReport& x) {
  auto& [kernel, grid, thread_block, static_shared, dynamic_shared, barriers, warp_syncs, shuffles, lines] =
      x;
  archive(kernel, grid[0], grid[1], grid[2], thread_block[0], thread_block[1], thread_block[2], static_shared,
          dynamic_shared, barriers, warp_syncs, shuffles, lines);
}
template <class Archive>
void serialize(Archive& archive, LaneOrder& x) {
  auto& [kind, seed] = x;
  archive(kind, seed);
}

/// Options without their limits, which are a row of a table.
struct OptionsMessage {
  bool trace = true;
  LaneOrder order;
  std::string device;
  double max_cpu_seconds = 0.0;
};
template <class Archive>
void serialize(Archive& archive, OptionsMessage& x) {
  auto& [trace, order, device, max_cpu_seconds] = x;
  archive(trace, order, device, max_cpu_seconds);
}

}  // namespace kit::simt

namespace kit::remote {

using Allocate = std::uint64_t(std::uint64_t n_bytes);
using Free = void(std::uint64_t address);
using CopyToDevice = void(std::uint64_t device, std::span<const std::byte> host);
using CopyToHost = void(std::span<std::byte> host, std::uint64_t device);
using Fill = void(std::uint64_t device, std::int32_t byte, std::uint64_t n_bytes);
using SetOptions = void(const simt::OptionsMessage& options);
using Profile = std::vector<simt::LaunchReport>(const std::function<void()>& body);

inline constexpr std::string_view kAllocate = "kit::device_allocate";
inline constexpr std::string_view kFree = "kit::device_free";
inline constexpr std::string_view kCopyToDevice = "kit::copy_to_device";
inline constexpr std::string_view kCopyToHost = "kit::copy_to_host";
inline constexpr std::string_view kFill = "kit::device_fill";
inline constexpr std::string_view kSetOptions = "kit::simt::set_options";
inline constexpr std::string_view kProfile = "kit::simt::profile";

}  // namespace kit::remote
