#include <benchmark/benchmark.h>

#include <algorithm>
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

using kit::Shape;
using kit::Tensor;

/// Runs `body`, turning a missing task or an error into a skipped benchmark.
template <class Body>
void guarded(benchmark::State& state, const Body& body) {
  try {
    body();
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
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
  Tensor<float> k({kv_len, kKvHeads, kHeadDim}, 0.01F);
  Tensor<float> v({kv_len, kKvHeads, kHeadDim}, 0.01F);
  Tensor<float> out(q.shape());
  const std::int64_t n_bytes = (k.size() + v.size()) * static_cast<std::int64_t>(sizeof(float));
  guarded(state, [&] {
    for (auto _ : state) {
      lab02::attention(q, k, v, out);
      benchmark::DoNotOptimize(out.data());
    }
  });
  const double ceiling = kit::measure_read_gb_per_s(n_bytes, 3);
  state.counters["bytes"] = static_cast<double>(n_bytes);
  state.counters["read_ceiling_gb_per_s"] = ceiling;
  // kIsRate divides by the elapsed time: bytes per second over the ceiling in bytes per second.
  state.counters["share_of_ceiling"] = benchmark::Counter(
      static_cast<double>(n_bytes) * static_cast<double>(state.iterations()) / (ceiling * 1e9),
      benchmark::Counter::kIsRate);
}

/// Generation on the shipped model. The ceiling is the read bandwidth over the model's bytes: the decode
/// limit of a model that is read from memory once a token. A model this small lives in the cache, so it may
/// pass 1.
void generate(benchmark::State& state, bool with_cache) {
  const int n = static_cast<int>(state.range(0));
  guarded(state, [&] {
    const auto directory = kit::testing::models_dir() / "target";
    const kit::ModelConfig config = kit::load_config(directory);
    const auto weights = std::make_shared<kit::LlamaWeights>(kit::load_llama_weights(directory, config));
    const auto model =
        kit::make_llama(config, weights,
                        {.attention = lab02::attention, .attention_with_cache = lab02::attention_with_cache});
    const std::vector<int> prompt(16, 42);
    const auto run = with_cache ? lab02::generate_with_cache : lab02::generate_without_cache;
    std::int64_t n_tokens = 0;
    for (auto _ : state) {
      kit::Rng rng(1);
      n_tokens += static_cast<std::int64_t>(
          run(*model, prompt, {.max_new_tokens = n, .temperature = 1.0F}, rng, {}).size());
    }
    const double ceiling = kit::measure_read_gb_per_s(std::int64_t{1} << 30, 3) * 1e9 /
                           (static_cast<double>(weights->size()) * sizeof(float));
    state.counters["tokens_per_s"] =
        benchmark::Counter(static_cast<double>(n_tokens), benchmark::Counter::kIsRate);
    state.counters["tokens_processed"] =
        static_cast<double>(model->tokens_processed()) / static_cast<double>(state.iterations());
    state.counters["share_of_ceiling"] =
        benchmark::Counter(static_cast<double>(n_tokens) / ceiling, benchmark::Counter::kIsRate);
  });
}

BENCHMARK(decode_attention)->Arg(65536)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(generate, without_cache, false)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(generate, with_cache, true)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
