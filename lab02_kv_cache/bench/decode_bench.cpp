#include <benchmark/benchmark.h>

#include <chrono>
#include <vector>

#include "kit/llama.h"
#include "kit/probe.h"
#include "kit/testing.h"
#include "lab02/attention.h"
#include "lab02/attention_with_cache.h"
#include "lab02/generate.h"
#include "lab02/kv_cache.h"

// Every benchmark reports `share_of_ceiling`: what it reached as a fraction of what this machine can do,
// measured in the same run. A task that is not written yet is reported as such and skipped.

namespace {

using kit::Tensor;

/// Runs `step` once an iteration and returns the mean seconds of one; 0 after an error, which skips the
/// benchmark.
template <class Step>
double seconds_per_iteration(benchmark::State& state, const Step& step) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  try {
    for (auto _ : state) step();
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
    return 0.0;
  }
  return std::chrono::duration<double>(Clock::now() - start).count() /
         static_cast<double>(state.iterations());
}

/// One decode step's attention over a long cache. Its floor is reading keys and values once; the ceiling is
/// the read bandwidth of all cores, because nothing forbids using them.
void decode_attention(benchmark::State& state) {
  const std::int64_t kv_len = state.range(0);
  constexpr std::int64_t kHeads = 32;
  constexpr std::int64_t kKvHeads = 8;
  constexpr std::int64_t kHeadDim = 128;
  kit::Rng rng(1);
  const Tensor<float> q = kit::testing::random_tensor({1, kHeads, kHeadDim}, rng);
  const Tensor<float> k({kv_len, kKvHeads, kHeadDim}, 0.01F);
  const Tensor<float> v({kv_len, kKvHeads, kHeadDim}, 0.01F);
  Tensor<float> out(q.shape());
  const std::int64_t n_bytes = (k.size() + v.size()) * static_cast<std::int64_t>(sizeof(float));
  const double seconds = seconds_per_iteration(state, [&] {
    lab02::attention(q, k, v, out);
    benchmark::DoNotOptimize(out.data());
  });
  if (seconds == 0.0) return;
  const double gb_per_s = static_cast<double>(n_bytes) / seconds / 1e9;
  const double ceiling = kit::measure_read_gb_per_s(n_bytes, 3);
  state.counters["gb_per_s"] = gb_per_s;
  state.counters["read_ceiling_gb_per_s"] = ceiling;
  state.counters["share_of_ceiling"] = gb_per_s / ceiling;
}

/// Generation on the shipped model. The ceiling is the read bandwidth over the model's bytes: the decode
/// limit of a model that is read from memory once a token. A model this small lives in the processor's cache,
/// so it may pass 1.
void generate(benchmark::State& state, bool with_cache) {
  const int n = static_cast<int>(state.range(0));
  const auto directory = kit::testing::models_dir() / "target";
  const kit::ModelConfig config = kit::load_config(directory);
  const auto weights = std::make_shared<kit::LlamaWeights>(kit::load_llama_weights(directory, config));
  const auto model = kit::make_llama(
      config, weights, {.attention = lab02::attention, .attention_with_cache = lab02::attention_with_cache});
  const std::vector<int> prompt(16, 42);
  const auto run = with_cache ? lab02::generate_with_cache : lab02::generate_without_cache;
  std::size_t n_tokens = 0;
  const double seconds = seconds_per_iteration(state, [&] {
    kit::Rng rng(1);  // the same tokens every time
    n_tokens = run(*model, prompt, {.max_new_tokens = n, .temperature = 1.0F}, rng, {}).size();
  });
  if (seconds == 0.0) return;
  const double model_bytes = static_cast<double>(weights->size()) * sizeof(float);
  const double ceiling = kit::measure_read_gb_per_s(std::int64_t{1} << 30, 3) * 1e9 / model_bytes;
  const double tokens_per_s = static_cast<double>(n_tokens) / seconds;
  state.counters["tokens_per_s"] = tokens_per_s;
  state.counters["tokens_processed"] =
      static_cast<double>(model->tokens_processed()) / static_cast<double>(state.iterations());
  state.counters["share_of_ceiling"] = tokens_per_s / ceiling;
}

BENCHMARK(decode_attention)->Arg(65536)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(generate, without_cache, false)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(generate, with_cache, true)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
