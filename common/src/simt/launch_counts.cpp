#include "kit/cuda/launch_counts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "kit/cuda/testing.h"

namespace kit::testing {

using simt::Access;
using simt::Counters;
using simt::LineReport;
using simt::Space;
using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

namespace {

std::string access_name(Access access) {
  return access == Access::kLoad ? "load" : access == Access::kStore ? "store" : "atomic";
}

std::string per_request(double n) {
  return fmt::format("{:.4g}", n);
}

/// Why the requests of a line touch more sectors than their bytes fill.
std::string sectors_cause(const LineReport& line, bool two_dimensional) {
  const Counters& c = line.counters;
  const double got = c.sectors_per_request();
  const double ideal = static_cast<double>(c.ideal_sectors) / static_cast<double>(c.requests);
  if (got <= ideal)
    return fmt::format("only {:.3g} of a warp's 32 threads take part", c.threads_per_request());
  if (got <= ideal + 1.0)
    return "its addresses begin inside a sector: pieces do not start at a multiple of 32 bytes";
  if (got > 31.0 && two_dimensional) {
    return "each thread of a warp is in a sector of its own: neighbouring threads are a row apart. "
           "Swap the roles of threadIdx.x and threadIdx.y, so that x runs along the row";
  }
  if (got > 31.0) {
    return "each thread of a warp is in a sector of its own. Neighbouring threads (threadIdx.x and "
           "threadIdx.x + 1) must take neighbouring elements, not pieces of their own";
  }
  return fmt::format(
      "neighbouring threads are about {:.2g} elements of {} bytes apart, not 1: there is a stride, or a warp "
      "is spread over several rows (make thread blocks 32 threads wide)",
      got / ideal, line.width);
}

}  // namespace

DeviceBuffer<float> nan_device_buffer(std::int64_t size) {
  DeviceBuffer<float> buffer(size);
  if (cuda::backend() == cuda::Backend::kGpu) buffer.fill_bytes(0xFF);
  return buffer;
}

Tensor<float> to_host(const DeviceBuffer<float>& buffer, const Shape& shape) {
  Tensor<float> host(shape);
  buffer.copy_to(host.span());
  for (float& x : host.span()) x = std::isnan(x) ? std::numeric_limits<float>::quiet_NaN() : x;
  return host;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

AssertionResult refuses(const std::function<void()>& statement, const DeviceBuffer<float>& out) {
  try {
    statement();
    cuda::synchronize();
  } catch (const simt::LaunchError& error) {
    return AssertionFailure()
           << "the kernel was launched, and failed. Check the arguments before (KIT_CHECK).\n"
           << error.what();
  } catch (const Error&) {
    const std::vector<float> host = out.to_host();
    if (std::ranges::all_of(host, [](float x) { return std::isnan(x); })) return AssertionSuccess();
    return AssertionFailure() << "a kit::Error was thrown, but after something had been written";
  }
  return AssertionFailure() << "nothing was thrown, a kit::Error was expected (use KIT_CHECK)";
}

LaunchCounts::LaunchCounts(const std::function<void()>& body) : launches_(simt::profile(body)) {}

Counters LaunchCounts::total(const std::function<bool(const LineReport&)>& counts) const {
  Counters sum;
  for (const auto& launch : launches_) {
    for (const LineReport& line : launch.lines) {
      if (counts(line)) sum += line.counters;
    }
  }
  return sum;
}

Counters LaunchCounts::total(Space space, Access access, int width) const {
  return total([&](const LineReport& line) {
    return line.space == space && line.access == access && (width == 0 || line.width == width);
  });
}

std::int64_t LaunchCounts::array_load_sectors() const {
  return total([](const LineReport& line) {
           return line.space == Space::kGlobal && line.access == Access::kLoad &&
                  line.counters.sectors > line.counters.requests;
         })
      .sectors;
}

std::int64_t LaunchCounts::bytes(Space space, Access access) const {
  std::int64_t sum = 0;
  for (const auto& launch : launches_) {
    for (const LineReport& line : launch.lines) {
      if (line.space == space && line.access == access) sum += line.counters.thread_accesses * line.width;
    }
  }
  return sum;
}

std::string LaunchCounts::to_string() const {
  std::string text;
  for (const auto& launch : launches_) {
    text += fmt::format("  {}: {} thread blocks of {}\n", launch.kernel,
                        launch.grid[0] * launch.grid[1] * launch.grid[2],
                        launch.thread_block[0] * launch.thread_block[1] * launch.thread_block[2]);
    for (const LineReport& line : launch.lines) {
      const Counters& c = line.counters;
      const auto requests = static_cast<double>(c.requests);
      const bool global = line.space == Space::kGlobal;
      text += fmt::format(
          "    {}:{} {} {} of {} bytes: {} requests, each {} {} (ideal {})\n",
          std::filesystem::path(line.file).filename().string(), line.line, global ? "device" : "shared",
          access_name(line.access), line.width, c.requests,
          per_request(static_cast<double>(global ? c.sectors : c.wavefronts) / requests),
          global ? "sectors" : "wavefronts",
          per_request(static_cast<double>(global ? c.ideal_sectors : c.ideal_wavefronts) / requests));
    }
  }
  return text;
}

std::string LaunchCounts::explain_sectors(Access access) const {
  const LineReport* worst = nullptr;
  bool two_dimensional = false;
  const auto excess = [](const LineReport& line) {
    return line.counters.sectors - line.counters.ideal_sectors;
  };
  for (const auto& launch : launches_) {
    for (const LineReport& line : launch.lines) {
      if (line.space != Space::kGlobal || line.access != access) continue;
      if (worst != nullptr && excess(line) <= excess(*worst)) continue;
      worst = &line;
      two_dimensional = launch.thread_block[1] > 1;
    }
  }
  if (worst == nullptr) return "";
  return fmt::format("{} sectors per request in line {}: {}.",
                     per_request(worst->counters.sectors_per_request()), worst->line,
                     sectors_cause(*worst, two_dimensional));
}

}  // namespace kit::testing
