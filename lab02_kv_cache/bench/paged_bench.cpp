#include <benchmark/benchmark.h>

#include <chrono>
#include <numeric>
#include <vector>

#include "kit/probe.h"
#include "kit/testing.h"
#include "lab02/attention.h"
#include "lab02/paged_attention.h"

// What paging costs a decode step: the same attention over contiguous keys and values and over scattered
// blocks, in turns, both as shares of the read bandwidth measured in the same run.

namespace {

using kit::Tensor;

constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;
constexpr std::int64_t kHeadDim = 128;

template <class Work>
double seconds_of(const Work& work) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// 0 .. n - 1 in random order: neighbours in the sequence are not neighbours in memory.
std::vector<int> shuffled(int n, kit::Rng& rng) {
  std::vector<int> blocks(static_cast<std::size_t>(n));
  std::iota(blocks.begin(), blocks.end(), 0);
  for (std::size_t i = blocks.size(); i > 1; --i)
    std::swap(blocks[i - 1], blocks[rng.below(static_cast<std::uint32_t>(i))]);
  return blocks;
}

void paged_against_dense(benchmark::State& state) {
  const auto kv_len = static_cast<int>(state.range(0));
  const auto block_size = static_cast<int>(state.range(1));
  kit::Rng rng(1);
  const std::vector<int> block_table = shuffled(kv_len / block_size, rng);
  const Tensor<float> q = kit::testing::random_tensor({1, kHeads, kHeadDim}, rng);
  const Tensor<float> k({kv_len, kKvHeads, kHeadDim}, 0.01F);
  const Tensor<float> v(k.shape(), 0.01F);
  const Tensor<float> k_blocks({kv_len / block_size, block_size, kKvHeads, kHeadDim}, 0.01F);
  const Tensor<float> v_blocks(k_blocks.shape(), 0.01F);
  Tensor<float> out(q.shape());
  const auto dense = [&] { lab02::attention(q, k, v, out); };
  const auto paged = [&] { lab02::paged_attention(q, k_blocks, v_blocks, block_table, kv_len, out); };
  double dense_s = 0.0;
  double paged_s = 0.0;
  try {
    for (auto _ : state) {
      dense_s += seconds_of(dense);
      paged_s += seconds_of(paged) + seconds_of(paged);
      dense_s += seconds_of(dense);
    }
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
    return;
  }
  const std::int64_t n_bytes = (k.size() + v.size()) * static_cast<std::int64_t>(sizeof(float));
  const double gb = 2.0 * static_cast<double>(n_bytes * state.iterations()) / 1e9;  // two calls an iteration
  const double ceiling = kit::measure_read_gb_per_s(n_bytes, 3);
  state.counters["read_ceiling_gb_per_s"] = ceiling;
  state.counters["dense_share"] = gb / dense_s / ceiling;
  state.counters["paged_share"] = gb / paged_s / ceiling;
  state.counters["paged_over_dense_time"] = paged_s / dense_s;
}

BENCHMARK(paged_against_dense)
    ->ArgNames({"kv_len", "block_size"})
    ->ArgsProduct({{4096, 32768}, {16, 64}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
