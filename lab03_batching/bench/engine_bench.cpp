#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kit/llama.h"
#include "kit/probe.h"
#include "kit/sampling.h"
#include "kit/step_executor.h"

// Batched decode on the layer stack: a step reads each weight once, however many sequences it serves, so
// tokens a second grow with the batch until the arithmetic is the limit. This is the kit's executor, the same
// for every engine: what an engine can win.

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kContextLen = 32;
constexpr int kBlockSize = 16;
constexpr int kPasses = 3;

std::shared_ptr<const kit::LlamaWeights> layer_stack() {
  static const std::shared_ptr<const kit::LlamaWeights> weights = [] {
    kit::Rng rng(1);
    return std::make_shared<const kit::LlamaWeights>(
        kit::random_llama_weights(kit::layer_stack_config(), rng));
  }();
  return weights;
}

/// Sequence i's tokens from first_pos on, in blocks of its own.
kit::StepSequence sequence(int i, int first_pos, int n_tokens) {
  kit::StepSequence s;
  s.first_pos = first_pos;
  for (int t = 0; t < n_tokens; ++t) s.tokens.push_back((31 * i + 7 * (first_pos + t)) % 2048);
  for (int b = 0; b < kContextLen / kBlockSize; ++b)
    s.block_table.push_back(i * (kContextLen / kBlockSize) + b);
  return s;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

template <class Work>
double best_seconds(const Work& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

/// The last position of `batch` sequences of kContextLen tokens. Its floor, by the roofline: the larger of
/// bytes / read bandwidth and FLOPs / FMA peak, both measured beside it in every iteration, each the best of
/// several passes like the step itself.
void batched_decode(benchmark::State& state) {
  const int batch = static_cast<int>(state.range(0));
  const kit::ModelConfig c = kit::layer_stack_config();
  const auto executor = kit::make_llama_executor(
      c, layer_stack(), {c.n_layers, c.n_kv_heads, c.head_dim, kBlockSize, batch * kContextLen / kBlockSize},
      kit::gathered_paged_attention);
  std::vector<kit::StepSequence> prompts;
  std::vector<kit::StepSequence> step;
  for (int i = 0; i < batch; ++i) {
    prompts.push_back(sequence(i, 0, kContextLen - 1));
    step.push_back(sequence(i, kContextLen - 1, 1));
  }
  executor->run(prompts);

  const double weight_bytes = static_cast<double>(layer_stack()->size()) * 4;
  const double kv_bytes = 2.0 * c.n_layers * c.n_kv_heads * c.head_dim * kContextLen * 4 * batch;
  const double attention_flops = 4.0 * c.n_layers * c.n_heads * c.head_dim * kContextLen * batch;
  const double flops = 2.0 * static_cast<double>(layer_stack()->size()) * batch + attention_flops;
  std::vector<double> rates, memory_shares, compute_shares, roofline_shares;
  for (auto _ : state) {
    const double seconds = best_seconds([&] { benchmark::DoNotOptimize(executor->run(step)); });
    state.SetIterationTime(seconds);
    const kit::MachineCeilings ceilings = kit::measure_ceilings();
    rates.push_back(batch / seconds);
    memory_shares.push_back((weight_bytes + kv_bytes) / (ceilings.read_gb_per_s * 1e9) / seconds);
    compute_shares.push_back(flops / (ceilings.peak_gflop_per_s * 1e9) / seconds);
    roofline_shares.push_back(std::max(memory_shares.back(), compute_shares.back()));
  }
  state.counters["tokens_per_s"] = median(rates);
  state.counters["share_of_read_bandwidth"] = median(memory_shares);
  state.counters["share_of_fma_peak"] = median(compute_shares);
  state.counters["share_of_roofline"] = median(roofline_shares);
}

BENCHMARK(batched_decode)
    ->RangeMultiplier(2)
    ->Range(1, 64)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(5);

}  // namespace
