#include "kit/cuda/bench.h"

#include <vector>

#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"
#include "lab02/cuda_kernels.h"

/// Task 9 on a GPU, as shares of its measured copy bandwidth. Heads as in Llama-3-8B: 32 query heads share 8
/// key/value heads of 128 elements.
namespace {

constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;
constexpr std::int64_t kHeadDim = 128;
constexpr std::int64_t kBlockSize = 16;
constexpr double kBytesOfRow = 4.0 * kKvHeads * kHeadDim;  // keys, or values, of one position

/// The milestone on a GPU: a decode step moves keys and values, and little else.
constexpr double kDecodeBar = 0.80;

template <class T>
kit::DeviceBuffer<T> filled(const std::vector<T>& values) {
  return kit::DeviceBuffer<T>(std::span<const T>(values));
}

/// Zeros.
kit::DeviceBuffer<float> zeros(std::int64_t size) {
  kit::DeviceBuffer<float> buffer(size);
  buffer.fill_bytes(0);
  return buffer;
}

/// 0, n / 2, 1, n / 2 + 1, ...: neighbours are half the cache apart. n is even.
std::vector<std::int32_t> scattered(std::int64_t n) {
  std::vector<std::int32_t> order;
  for (std::int64_t i = 0; i < n; ++i) order.push_back(static_cast<std::int32_t>(i / 2 + i % 2 * (n / 2)));
  return order;
}

/// state.range(0) sequences of state.range(1) positions each.
void decode_attention(benchmark::State& state, bool paged) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n_seqs = state.range(0);
  const std::int64_t kv_len = state.range(1);
  const std::int64_t n_blocks = n_seqs * kv_len / kBlockSize;
  const kit::DeviceBuffer<float> q = zeros(n_seqs * kHeads * kHeadDim);
  const kit::DeviceBuffer<float> k = zeros(n_seqs * kv_len * kKvHeads * kHeadDim);
  const kit::DeviceBuffer<float> v = zeros(n_seqs * kv_len * kKvHeads * kHeadDim);
  kit::DeviceBuffer<float> out(n_seqs * kHeads * kHeadDim);
  const auto lens =
      filled(std::vector<std::int32_t>(static_cast<std::size_t>(n_seqs), static_cast<std::int32_t>(kv_len)));
  const auto tables = filled(scattered(n_blocks));
  const kit::Shape queries{n_seqs, kHeads, kHeadDim};
  const kit::Shape contiguous{n_seqs, kv_len, kKvHeads, kHeadDim};
  const kit::Shape blocks{n_blocks, kBlockSize, kKvHeads, kHeadDim};
  const double n_bytes = 2.0 * kBytesOfRow * static_cast<double>(n_seqs * kv_len);
  kit::cuda::bench_against_copy(
      state, n_bytes,
      [&] {
        if (paged) {
          lab02::paged_decode_attention_cuda(q.view(queries), k.view(blocks), v.view(blocks),
                                             tables.view({n_seqs, kv_len / kBlockSize}), lens.view({n_seqs}),
                                             out.view(queries));
        } else {
          lab02::decode_attention_cuda(q.view(queries), k.view(contiguous), v.view(contiguous),
                                       lens.view({n_seqs}), out.view(queries));
        }
      },
      kv_len >= 8192 ? kDecodeBar : 0.0);
}

/// state.range(0) new tokens, each to a slot far from its neighbour's. Read and written, keys and values.
void reshape_and_cache(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n = state.range(0);
  const kit::DeviceBuffer<float> k = zeros(n * kKvHeads * kHeadDim);
  const kit::DeviceBuffer<float> v = zeros(n * kKvHeads * kHeadDim);
  kit::DeviceBuffer<float> k_blocks(n * kKvHeads * kHeadDim);
  kit::DeviceBuffer<float> v_blocks(n * kKvHeads * kHeadDim);
  const std::vector<std::int32_t> order = scattered(n);
  const auto slots = filled(std::vector<std::int64_t>(order.begin(), order.end()));
  const kit::Shape tokens{n, kKvHeads, kHeadDim};
  const kit::Shape blocks{n / kBlockSize, kBlockSize, kKvHeads, kHeadDim};
  kit::cuda::bench_against_copy(state, 4.0 * kBytesOfRow * static_cast<double>(n), [&] {
    lab02::reshape_and_cache_cuda(k.view(tokens), v.view(tokens), slots.view({n}), k_blocks.view(blocks),
                                  v_blocks.view(blocks));
  });
}

/// state.range(0) pairs of blocks: the first half of the cache into the second.
void copy_blocks(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n = state.range(0);
  const kit::Shape blocks{2 * n, kBlockSize, kKvHeads, kHeadDim};
  kit::DeviceBuffer<float> k_blocks = zeros(blocks.size());
  kit::DeviceBuffer<float> v_blocks = zeros(blocks.size());
  std::vector<std::int32_t> host;
  for (std::int64_t i = 0; i < n; ++i) {
    host.push_back(static_cast<std::int32_t>(i));
    host.push_back(static_cast<std::int32_t>(2 * n - 1 - i));
  }
  const auto pairs = filled(host);
  kit::cuda::bench_against_copy(state, 4.0 * kBytesOfRow * kBlockSize * static_cast<double>(n), [&] {
    lab02::copy_blocks_cuda(pairs.view({n, 2}), k_blocks.view(blocks), v_blocks.view(blocks));
  });
}

void once(benchmark::internal::Benchmark* bench) {
  bench->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond);
}

// 64 sequences of 8192 positions are 4.3 GB. A thread block serves a key/value head of a sequence, so a few
// long sequences would leave most of a GPU idle: a kernel for those splits sequences over thread blocks.
void decode_sizes(benchmark::internal::Benchmark* bench) {
  once(bench);
  bench->ArgNames({"n_seqs", "kv_len"})->Args({64, 1024})->Args({64, 8192})->Args({32, 16384});
}

BENCHMARK_CAPTURE(decode_attention, contiguous, false)->Apply(decode_sizes);
BENCHMARK_CAPTURE(decode_attention, paged, true)->Apply(decode_sizes);
BENCHMARK(reshape_and_cache)->Arg(256)->Arg(16384)->Apply(once);
BENCHMARK(copy_blocks)->Arg(16)->Arg(2048)->Apply(once);

}  // namespace
