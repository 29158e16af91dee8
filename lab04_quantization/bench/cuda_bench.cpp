#include "kit/cuda/bench.h"

#include <vector>

#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"
#include "lab04/cuda_kernels.h"

/// Task 14 on a GPU, as shares of its measured copy bandwidth. Shapes of Llama-3-8B: rows of 4096, a hidden
/// dimension of 14336, 32 query heads on 8 key/value heads of 128 elements.
namespace {

constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;
constexpr std::int64_t kHeadDim = 128;
constexpr std::int64_t kGroupSize = 128;

/// The milestone on a GPU: a 4-bit product moves codes, and little else. It counts for matrices of 25 MB and
/// more; smaller ones are over before a GPU is at full speed.
constexpr double kMatvecBar = 0.75;

/// Zeros.
template <class T>
kit::DeviceBuffer<T> zeros(std::int64_t size) {
  kit::DeviceBuffer<T> buffer(size);
  buffer.fill_bytes(0);
  return buffer;
}

/// A matrix [state.range(0), state.range(1)].
void matvec_w4a16(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t out = state.range(0);
  const std::int64_t in = state.range(1);
  const auto codes = zeros<std::uint8_t>(out * in / 2);
  const auto scales = zeros<kit::Half>(out * in / kGroupSize);
  const auto x = zeros<float>(in);
  kit::DeviceBuffer<float> y(out);
  const auto n_bytes = static_cast<double>(codes.n_bytes() + scales.n_bytes() + x.n_bytes() + y.n_bytes());
  kit::cuda::bench_against_copy(
      state, n_bytes,
      [&] {
        lab04::matvec_w4a16_cuda(codes.view({out, in / 2}), scales.view({out, in / kGroupSize}), x.view({in}),
                                 y.view({out}));
      },
      out * in / 2 >= 25'000'000 ? kMatvecBar : 0.0);
}

/// state.range(0) rows of 4096. A row is read twice, the second time from the cache: it counts once.
void quantize_rows(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const kit::Shape shape{state.range(0), 4096};
  const auto x = zeros<float>(shape.size());
  kit::DeviceBuffer<std::int8_t> q(shape.size());
  kit::DeviceBuffer<float> scales(shape[0]);
  const auto n_bytes = static_cast<double>(x.n_bytes() + q.n_bytes() + scales.n_bytes());
  kit::cuda::bench_against_copy(state, n_bytes, [&] {
    lab04::quantize_rows_cuda(x.view(shape), q.view(shape), scales.view({shape[0]}));
  });
}

/// state.range(0) rows of x by a matrix of 4096 x 4096. With many rows arithmetic is the limit, not memory:
/// the share falls, and operations a second stay.
void linear_w8a8(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  constexpr std::int64_t kDim = 4096;
  const std::int64_t n = state.range(0);
  const auto xq = zeros<std::int8_t>(n * kDim);
  const auto wq = zeros<std::int8_t>(kDim * kDim);
  const auto x_scales = zeros<float>(n);
  const auto w_scales = zeros<float>(kDim);
  kit::DeviceBuffer<float> y(n * kDim);
  const auto n_bytes = static_cast<double>(xq.n_bytes() + wq.n_bytes() + y.n_bytes());
  kit::cuda::bench_against_copy(state, n_bytes, [&] {
    lab04::linear_w8a8_cuda(xq.view({n, kDim}), x_scales.view({n}), wq.view({kDim, kDim}),
                            w_scales.view({kDim}), y.view({n, kDim}));
  });
}

/// A cache of state.range(0) sequences of state.range(1) positions, all visible.
void decode_attention_int8(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n_seqs = state.range(0);
  const std::int64_t kv_len = state.range(1);
  const kit::Shape queries{n_seqs, kHeads, kHeadDim};
  const kit::Shape cache{n_seqs, kv_len, kKvHeads, kHeadDim};
  const kit::Shape scales{n_seqs, kv_len, kKvHeads};
  const auto q = zeros<float>(queries.size());
  const auto k = zeros<std::int8_t>(cache.size());
  const auto v = zeros<std::int8_t>(cache.size());
  const auto k_scales = zeros<float>(scales.size());
  const auto v_scales = zeros<float>(scales.size());
  const std::vector<std::int32_t> host_lens(static_cast<std::size_t>(n_seqs),
                                            static_cast<std::int32_t>(kv_len));
  const kit::DeviceBuffer<std::int32_t> lens{std::span(host_lens)};
  kit::DeviceBuffer<float> out(queries.size());
  const auto n_bytes = static_cast<double>(2 * (k.n_bytes() + k_scales.n_bytes()));
  kit::cuda::bench_against_copy(state, n_bytes, [&] {
    lab04::decode_attention_int8_cuda(q.view(queries), k.view(cache), k_scales.view(scales), v.view(cache),
                                      v_scales.view(scales), lens.view({n_seqs}), out.view(queries));
  });
}

/// A token of each of state.range(0) sequences into caches of 64 positions.
void append_kv_int8(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n_seqs = state.range(0);
  const kit::Shape tokens{n_seqs, kKvHeads, kHeadDim};
  const kit::Shape cache{n_seqs, 64, kKvHeads, kHeadDim};
  const kit::Shape scales{n_seqs, 64, kKvHeads};
  const auto k = zeros<float>(tokens.size());
  const auto v = zeros<float>(tokens.size());
  const auto positions = zeros<std::int32_t>(n_seqs);
  kit::DeviceBuffer<std::int8_t> k_cache(cache.size());
  kit::DeviceBuffer<std::int8_t> v_cache(cache.size());
  kit::DeviceBuffer<float> k_scales(scales.size());
  kit::DeviceBuffer<float> v_scales(scales.size());
  const double n_bytes = 2.0 * static_cast<double>(tokens.size()) * (4.0 + 1.0);
  kit::cuda::bench_against_copy(state, n_bytes, [&] {
    lab04::append_kv_int8_cuda(k.view(tokens), v.view(tokens), positions.view({n_seqs}), k_cache.view(cache),
                               k_scales.view(scales), v_cache.view(cache), v_scales.view(scales));
  });
}

void once(benchmark::internal::Benchmark* bench) {
  bench->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond);
}

// Queries and the output of attention; gate; gate and up together; down; the head of 128256 tokens.
void matrices(benchmark::internal::Benchmark* bench) {
  once(bench);
  bench->ArgNames({"out", "in"})
      ->Args({4096, 4096})
      ->Args({14336, 4096})
      ->Args({28672, 4096})
      ->Args({4096, 14336})
      ->Args({128256, 4096});
}

BENCHMARK(matvec_w4a16)->Apply(matrices);
BENCHMARK(quantize_rows)->Arg(16)->Arg(2048)->Apply(once);
BENCHMARK(linear_w8a8)->Arg(64)->Arg(2048)->Apply(once);
BENCHMARK(decode_attention_int8)
    ->ArgNames({"n_seqs", "kv_len"})
    ->Args({64, 1024})
    ->Args({64, 8192})
    ->Args({32, 16384})
    ->Apply(once);
BENCHMARK(append_kv_int8)->Arg(64)->Arg(1024)->Apply(once);

}  // namespace
