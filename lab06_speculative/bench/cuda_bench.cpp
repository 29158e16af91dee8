#include "kit/cuda/bench.h"

#include <vector>

#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"
#include "lab06/cuda_kernels.h"

/// Task 9 on a GPU, as a share of its measured copy bandwidth.
namespace {

constexpr std::int64_t kGamma = 4;

/// state.range(0) sequences with a vocabulary of state.range(1), the worst case: the first draft is rejected,
/// and the token that is drawn stands near the end of the row. p is uniform; q has all its mass on the draft
/// token. Bytes are a row of p and one of q for each sequence: the second reading comes from the cache.
void verify_drafts(benchmark::State& state) {
  if (!kit::cuda::device_present()) return kit::cuda::bench_against_copy(state, 0.0, [] {});
  const std::int64_t n_seqs = state.range(0);
  const std::int64_t vocab_size = state.range(1);
  const kit::Shape p_shape{n_seqs, kGamma + 1, vocab_size};
  const kit::Shape q_shape{n_seqs, kGamma, vocab_size};
  const auto filled = [](std::int64_t size, auto value) { return std::vector<decltype(value)>(size, value); };
  std::vector<float> q_host = filled(q_shape.size(), 0.0F);
  for (std::int64_t row = 0; row < n_seqs * kGamma; ++row) q_host[row * vocab_size] = 1.0F;
  const kit::DeviceBuffer<float> p(
      std::span<const float>(filled(p_shape.size(), 1.0F / static_cast<float>(vocab_size))));
  const kit::DeviceBuffer<float> q{std::span<const float>(q_host)};
  const kit::DeviceBuffer<std::int32_t> drafts(
      std::span<const std::int32_t>(filled(n_seqs * kGamma, std::int32_t{0})));
  const kit::DeviceBuffer<std::int32_t> n_draft(
      std::span<const std::int32_t>(filled(n_seqs, static_cast<std::int32_t>(kGamma))));
  const kit::DeviceBuffer<float> uniforms(std::span<const float>(filled(n_seqs * (kGamma + 1), 0.95F)));
  kit::DeviceBuffer<std::int32_t> n_accepted(n_seqs);
  kit::DeviceBuffer<std::int32_t> tokens(n_seqs * (kGamma + 1));
  const auto n_bytes = static_cast<double>(n_seqs * 2 * vocab_size) * sizeof(float);
  kit::cuda::bench_against_copy(state, n_bytes, [&] {
    lab06::verify_drafts_cuda(p.view(p_shape), q.view(q_shape), drafts.view({n_seqs, kGamma}),
                              n_draft.view({n_seqs}), uniforms.view({n_seqs, kGamma + 1}),
                              n_accepted.view({n_seqs}), tokens.view({n_seqs, kGamma + 1}));
  });
}

BENCHMARK(verify_drafts)
    ->ArgNames({"n_seqs", "vocab_size"})
    ->Args({1, 128256})
    ->Args({64, 32000})
    ->Args({64, 128256})
    ->Args({256, 128256})
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
