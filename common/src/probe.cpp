#include "kit/probe.h"

#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#define HWY_COMPILE_ONLY_STATIC
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <new>
#include <string>

#include "kit/aligned_vector.h"
#include "kit/check.h"
#include "kit/parallel.h"
#include "unroll.h"

namespace kit {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;
constexpr std::int64_t kLanes = hn::MaxLanes(Lanes());

constexpr int kPasses = 6;
constexpr std::int64_t kMinBufferBytes = std::int64_t{256} << 20;
constexpr std::int64_t kFloatBytes = sizeof(float);

/// Results end here, so that no compiler can leave the work out.
std::atomic<float> result_sink;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The fastest of `n_passes`: what the machine can do when nobody disturbs it.
double best_seconds(int n_passes, const std::function<void()>& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < n_passes; ++pass) best = std::min(best, seconds_of(work));
  return best;
}

/// Sums [begin, end); eight independent sums, so that the loads and not the additions are what takes time.
float sum_range(const float* data, std::int64_t begin, std::int64_t end) {
  constexpr int kSums = 8;
  const Lanes d;
  std::array<Vector, kSums> sums;
  sums.fill(hn::Zero(d));
  std::int64_t i = begin;
  for (; i + kSums * kLanes <= end; i += kSums * kLanes) {
    KIT_UNROLL
    for (int s = 0; s < kSums; ++s) sums[s] = hn::Add(sums[s], hn::LoadU(d, data + i + s * kLanes));
  }
  Vector total = hn::Zero(d);
  KIT_UNROLL
  for (const Vector& sum : sums) total = hn::Add(total, sum);
  float result = hn::GetLane(hn::SumOfLanes(d, total));
  for (; i < end; ++i) result += data[i];
  return result;
}

/// One contiguous piece a thread.
void for_each_piece(std::int64_t n, const std::function<void(std::int64_t, std::int64_t)>& body) {
  parallel_for(n, std::max<std::int64_t>((n - 1) / n_threads() + 1, 1), body);
}

double read_gb_per_s(const AlignedVector<float>& buffer, int n_passes) {
  const auto n = static_cast<std::int64_t>(buffer.size());
  const double seconds = best_seconds(n_passes, [&] {
    for_each_piece(n, [&](std::int64_t begin, std::int64_t end) {
      result_sink.store(sum_range(buffer.data(), begin, end), std::memory_order_relaxed);
    });
  });
  return static_cast<double>(n * kFloatBytes) / seconds / 1e9;
}

/// Copies the first half of the buffer to the second.
double copy_gb_per_s(AlignedVector<float>& buffer, int n_passes) {
  const auto half = static_cast<std::int64_t>(buffer.size() / 2);
  const double seconds = best_seconds(n_passes, [&] {
    for_each_piece(half, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(buffer.data() + half + begin, buffer.data() + begin,
                  static_cast<std::size_t>(end - begin) * sizeof(float));
    });
  });
  return static_cast<double>(2 * half * kFloatBytes) / seconds / 1e9;
}

constexpr int kFmaChains = 12;  // latency 4 x 2 units needs 8; two 16-register ports still hold 12

/// `n_rounds` dependent FMAs on each of kFmaChains registers.
float run_fma(std::int64_t n_rounds) {
  const Lanes d;
  std::array<Vector, kFmaChains> chains;
  KIT_UNROLL
  for (int c = 0; c < kFmaChains; ++c) chains[c] = hn::Set(d, static_cast<float>(c));
  const Vector factor = hn::Set(d, 0.999F);
  const Vector term = hn::Set(d, 0.001F);
  for (std::int64_t round = 0; round < n_rounds; ++round) {
    KIT_UNROLL
    for (Vector& chain : chains) chain = hn::MulAdd(chain, factor, term);
  }
  Vector total = hn::Zero(d);
  KIT_UNROLL
  for (const Vector& chain : chains) total = hn::Add(total, chain);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

double fma_gflop_per_s(int n_passes) {
  constexpr std::int64_t kRounds = 2'000'000;
  const double seconds = best_seconds(n_passes, [&] {
    for_each_piece(n_threads(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        result_sink.store(run_fma(kRounds), std::memory_order_relaxed);
    });
  });
  const auto flops = static_cast<double>(n_threads() * kRounds * kFmaChains * kLanes * 2);
  return flops / seconds / 1e9;
}

/// Bytes of memory that are free now; 0 when unknown.
std::int64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::int64_t kib = 0;
  for (std::string unit; file >> key >> kib; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

/// Four times the last-level cache, but at most a quarter of the free memory.
std::int64_t probe_buffer_bytes() {
  std::int64_t bytes = std::max(kMinBufferBytes, 4 * last_level_cache_bytes());
  const std::int64_t available = available_bytes();
  if (available > 0) bytes = std::min(bytes, available / 4);
  return std::max<std::int64_t>(bytes, 1 << 20);
}

AlignedVector<float> make_buffer(std::int64_t n_bytes) {
  KIT_CHECK(n_bytes >= 2 * kFloatBytes, "a buffer of {} bytes is too small to be measured", n_bytes);
  try {
    return AlignedVector<float>(static_cast<std::size_t>(n_bytes / kFloatBytes), 1.0F);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("no memory for a buffer of {} bytes to measure bandwidth with", n_bytes));
  }
}

/// "36864K" -> bytes.
std::int64_t parse_cache_size(const std::string& text) {
  std::size_t used = 0;
  std::int64_t size = 0;
  try {
    size = std::stoll(text, &used);
  } catch (const std::exception&) {
    return 0;
  }
  const char unit = used < text.size() ? text[used] : ' ';
  return unit == 'K' ? size << 10 : unit == 'M' ? size << 20 : size;
}

}  // namespace

std::int64_t last_level_cache_bytes() {
  const std::filesystem::path folder = "/sys/devices/system/cpu/cpu0/cache";
  std::int64_t largest = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::ifstream file(entry.path() / "size");
    std::string text;
    if (file >> text) largest = std::max(largest, parse_cache_size(text));
  }
  return largest;
}

double measure_read_gb_per_s(std::int64_t buffer_bytes, int n_passes) {
  KIT_CHECK(n_passes > 0, "{} passes cannot be measured", n_passes);
  return read_gb_per_s(make_buffer(buffer_bytes), n_passes);
}

MachineCeilings measure_ceilings() {
  MachineCeilings ceilings;
  ceilings.n_threads = n_threads();
  ceilings.last_level_cache_bytes = last_level_cache_bytes();
  AlignedVector<float> buffer = make_buffer(probe_buffer_bytes());
  ceilings.buffer_bytes = static_cast<std::int64_t>(buffer.size()) * kFloatBytes;
  ceilings.read_gb_per_s = read_gb_per_s(buffer, kPasses);
  ceilings.copy_gb_per_s = copy_gb_per_s(buffer, kPasses);
  ceilings.peak_gflop_per_s = fma_gflop_per_s(kPasses);
  return ceilings;
}

}  // namespace kit
