#include <benchmark/benchmark.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "kit/cuda/bench.h"
#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"
#include "kit/cuda/timing.h"
#include "lab05/cuda_kernels.h"

/// Tasks 6 to 8 on a GPU. Attention over many queries is limited by arithmetic: TFLOP/s, and their share of
/// the datasheet's peak where it is known. Decoding is limited by bytes: a share of the measured copy
/// bandwidth. `bench/sdpa.py` prints what PyTorch reaches on the same shapes.
namespace {

constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;  // of decoding; queries of many rows have as many kv heads as heads
constexpr std::int64_t kDecodeHeadDim = 128;

/// Dense peaks from NVIDIA's datasheets, TFLOP/s: FP32 without tensor cores, and FP16 on them.
struct Peak {
  std::string_view device;
  double fp32;
  double tensor_cores;
};
constexpr Peak kPeaks[] = {{"A100", 19.5, 312.0}, {"H100", 66.9, 989.4}, {"H200", 66.9, 989.4}};

/// Numbers like 0.001: not zeros, which save power and so run faster.
template <class T>
kit::DeviceBuffer<T> small_numbers(std::int64_t size) {
  kit::DeviceBuffer<T> buffer(size);
  buffer.fill_bytes(0x15);
  return buffer;
}

/// [state.range(0), kHeads, state.range(1)], causal if state.range(2).
template <class T>
void attention(benchmark::State& state,
               void (*function)(kit::TensorView<const T>, kit::TensorView<const T>, kit::TensorView<const T>,
                                bool, kit::TensorView<float>, kit::TensorView<float>),
               double Peak::*peak) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n = state.range(0);
  const kit::Shape shape{n, kHeads, state.range(1)};
  const bool causal = state.range(2) != 0;
  const auto q = small_numbers<T>(shape.size());
  const auto k = small_numbers<T>(shape.size());
  const auto v = small_numbers<T>(shape.size());
  kit::DeviceBuffer<float> out(shape.size());
  kit::DeviceBuffer<float> sums(n * kHeads);
  double seconds = 0.0;
  for (auto _ : state) {
    try {
      seconds = kit::cuda::median_seconds([&] {
        function(q.view(shape), k.view(shape), v.view(shape), causal, out.view(shape),
                 sums.view({n, kHeads}));
      });
    } catch (const kit::Error& error) {
      state.SkipWithError(error.what());
      return;
    }
    state.SetIterationTime(seconds);
  }
  const auto length = static_cast<double>(n);
  const double pairs = causal ? length * (length + 1.0) / 2.0 : length * length;
  const double tflop_per_s = 4.0 * static_cast<double>(shape[2] * kHeads) * pairs / seconds / 1e12;
  state.counters["tflop_per_s"] = tflop_per_s;
  const std::string device = kit::cuda::query_device().name;
  const auto* const known =
      std::ranges::find_if(kPeaks, [&](const Peak& p) { return device.find(p.device) != std::string::npos; });
  if (known != std::end(kPeaks)) state.counters["share_of_peak"] = tflop_per_s / (known->*peak);
}

void flash_attention(benchmark::State& state) {
  attention<float>(state, &lab05::flash_attention_cuda, &Peak::fp32);
}
void flash_attention_half(benchmark::State& state) {
  attention<kit::Half>(state, &lab05::flash_attention_half_cuda, &Peak::fp32);
}
void flash_attention_tensor_cores(benchmark::State& state) {
  attention<kit::Half>(state, &lab05::flash_attention_tensor_cores_cuda, &Peak::tensor_cores);
}

/// state.range(0) sequences of state.range(1) positions in state.range(2) splits.
void flash_decoding(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n_seqs = state.range(0);
  const std::int64_t kv_len = state.range(1);
  const auto n_splits = static_cast<int>(state.range(2));
  const kit::Shape queries{n_seqs, kHeads, kDecodeHeadDim};
  const kit::Shape cache{n_seqs, kv_len, kKvHeads, kDecodeHeadDim};
  const auto q = small_numbers<float>(queries.size());
  const auto k = small_numbers<float>(cache.size());
  const auto v = small_numbers<float>(cache.size());
  const std::vector<std::int32_t> host_lens(static_cast<std::size_t>(n_seqs),
                                            static_cast<std::int32_t>(kv_len));
  const kit::DeviceBuffer<std::int32_t> lens{std::span(host_lens)};
  kit::DeviceBuffer<float> partial(queries.size() * n_splits);
  kit::DeviceBuffer<float> partial_sums(n_seqs * kHeads * n_splits);
  kit::DeviceBuffer<float> out(queries.size());
  kit::DeviceBuffer<float> sums(n_seqs * kHeads);
  kit::cuda::bench_against_copy(state, static_cast<double>(k.n_bytes() + v.n_bytes()), [&] {
    lab05::flash_decoding_cuda(q.view(queries), k.view(cache), v.view(cache), lens.view({n_seqs}), n_splits,
                               partial.view({n_seqs, kHeads, n_splits, kDecodeHeadDim}),
                               partial_sums.view({n_seqs, kHeads, n_splits}), out.view(queries),
                               sums.view({n_seqs, kHeads}));
  });
}

void once(benchmark::internal::Benchmark* bench) {
  bench->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond);
}
void lengths(benchmark::internal::Benchmark* bench) {
  once(bench);
  bench->ArgNames({"n", "head_dim", "causal"})->ArgsProduct({{1024, 4096}, {64, 128}, {0, 1}});
}

BENCHMARK(flash_attention)->Apply(lengths);
BENCHMARK(flash_attention_half)->Apply(lengths);
BENCHMARK(flash_attention_tensor_cores)->Apply(lengths);
BENCHMARK(flash_decoding)
    ->ArgNames({"n_seqs", "kv_len", "n_splits"})
    ->ArgsProduct({{1, 16}, {4096, 32768}, {1, 8, 32}})
    ->Apply(once);

}  // namespace
