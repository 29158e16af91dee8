#include "kit/cuda/bench.h"

#include <algorithm>
#include <vector>

#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"
#include "lab03/ragged_attention.h"

/// Task 8 on a GPU, as shares of its measured copy bandwidth. Heads as in Llama-3-8B: 32 query heads share 8
/// key/value heads of 128 elements.
namespace {

constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;
constexpr std::int64_t kHeadDim = 128;
constexpr std::int64_t kSeqs = 64;

/// As in lab 02: a decode step moves keys and values, and little else.
constexpr double kDecodeBar = 0.80;

/// kSeqs lengths around state.range(0), spread by state.range(1) percent of it to both sides, shuffled.
std::vector<std::int32_t> cumulative_lengths(std::int64_t mean, std::int64_t percent) {
  std::vector<std::int32_t> cu = {0};
  for (std::int64_t s = 0; s < kSeqs; ++s) {
    const std::int64_t place = s * 37 % kSeqs;  // 37 and 64 share no factor: each place once
    const std::int64_t offset = mean * percent * (2 * place - (kSeqs - 1)) / (100 * (kSeqs - 1));
    cu.push_back(cu.back() + static_cast<std::int32_t>(mean + offset));
  }
  return cu;
}

void ragged_decode_attention(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::vector<std::int32_t> host_cu = cumulative_lengths(state.range(0), state.range(1));
  const kit::Shape queries{kSeqs, kHeads, kHeadDim};
  const kit::Shape rows{host_cu.back(), kKvHeads, kHeadDim};
  kit::DeviceBuffer<float> q(queries.size());
  kit::DeviceBuffer<float> k(rows.size());
  kit::DeviceBuffer<float> v(rows.size());
  for (auto* buffer : {&q, &k, &v}) buffer->fill_bytes(0);
  kit::DeviceBuffer<float> out(queries.size());
  const kit::DeviceBuffer<std::int32_t> cu{std::span(host_cu)};
  kit::cuda::bench_against_copy(
      state, 8.0 * static_cast<double>(rows.size()),
      [&] {
        const kit::TensorView<const float> queries_view = q.view(queries);
        lab03::ragged_decode_attention_cuda(queries_view, k.view(rows), v.view(rows), cu.view({kSeqs + 1}),
                                            out.view(queries));
      },
      kDecodeBar);
}

// Equal lengths, up to three times as long as the shortest, up to nine times.
BENCHMARK(ragged_decode_attention)
    ->ArgNames({"mean_kv_len", "spread_percent"})
    ->Args({8192, 0})
    ->Args({8192, 50})
    ->Args({8192, 80})
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
