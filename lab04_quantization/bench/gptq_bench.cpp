#include "lab04/gptq.h"

#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <vector>

#include "kit/llama.h"
#include "kit/probe.h"
#include "kit/rng.h"
#include "kit/testing.h"

// GPTQ of all linears of the shipped target at 4 bits in groups of 64, and before that the Hessians of their
// inputs from 16,384 tokens. The bar for both together is 60 seconds on two cores; a share is of that, and of
// the float arithmetic of this machine, which is measured in the same run (double has half of it). The time
// does not depend on what the inputs are, so they are random.

namespace {

using kit::Tensor;

constexpr double kBarSeconds = 60.0;
constexpr std::int64_t kCalibrationTokens = 16'384;
constexpr std::int64_t kTokensAtOnce = 512;

const kit::LlamaWeights& target() {
  static const kit::LlamaWeights weights = [] {
    const auto folder = kit::testing::models_dir() / "target";
    return kit::load_llama_weights(folder, kit::load_config(folder));
  }();
  return weights;
}

/// H for inputs of this width, from `n_tokens` tokens.
Tensor<double> hessian(std::int64_t in, std::int64_t n_tokens) {
  kit::Rng rng(1);
  Tensor<float> x({kTokensAtOnce, in});
  rng.fill_normal(x.span());
  Tensor<double> h({in, in});
  for (std::int64_t t = 0; t < n_tokens; t += kTokensAtOnce) lab04::accumulate_hessian(x, h);
  return h;
}

/// Runs `work`, which does `flop` operations, and reports both shares.
template <class Work>
void report(benchmark::State& state, double flop, const Work& work) {
  using Clock = std::chrono::steady_clock;
  double seconds = 0.0;
  for (auto _ : state) {
    const auto start = Clock::now();
    work();
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    state.SetIterationTime(elapsed);
    seconds += elapsed;
  }
  seconds /= static_cast<double>(state.iterations());
  state.counters["percent_of_60_s"] = 100.0 * seconds / kBarSeconds;
  state.counters["percent_of_peak"] =
      100.0 * flop / (seconds * 1e9 * kit::measure_ceilings().peak_gflop_per_s);
}

/// Queries, keys and values share an input, and so do w_gate and w_up.
std::vector<std::int64_t> input_widths() {
  std::vector<std::int64_t> widths;
  for (const kit::LlamaLayerWeights& layer : target().layers) {
    for (const Tensor<float>* w : {&layer.wq, &layer.wo, &layer.w_gate, &layer.w_down})
      widths.push_back(w->dim(1));
  }
  return widths;
}

void hessians_of_the_target(benchmark::State& state) {
  double flop = 0.0;
  for (const std::int64_t in : input_widths())
    flop += 2.0 * static_cast<double>(kCalibrationTokens * in * in);
  report(state, flop, [] {
    for (const std::int64_t in : input_widths()) benchmark::DoNotOptimize(hessian(in, kCalibrationTokens));
  });
}

void gptq_of_the_target(benchmark::State& state) {
  const lab04::GptqConfig config{.grid = {.bits = 4, .group_size = 64}, .act_order = state.range(0) != 0};
  std::vector<const Tensor<float>*> weights;
  for (const kit::LlamaLayerWeights& layer : target().layers) {
    for (const Tensor<float>* w :
         {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w_gate, &layer.w_up, &layer.w_down}) {
      weights.push_back(w);
    }
  }
  const Tensor<double> narrow = hessian(weights.front()->dim(1), 4 * weights.front()->dim(1));
  const Tensor<double> wide = hessian(weights.back()->dim(1), 4 * weights.back()->dim(1));
  double flop = 0.0;
  for (const Tensor<float>* w : weights) {
    const auto rows = static_cast<double>(w->dim(0));
    const auto cols = static_cast<double>(w->dim(1));
    flop +=
        2.0 * cols * cols * cols / 3.0 + rows * cols * cols;  // a Cholesky factor, its inverse; the feedback
  }
  report(state, flop, [&] {
    for (const Tensor<float>* w : weights) {
      const Tensor<double>& h = w->dim(1) == narrow.dim(0) ? narrow : wide;
      benchmark::DoNotOptimize(lab04::gptq(*w, h, config));
    }
  });
}

BENCHMARK(hessians_of_the_target)->UseManualTime()->Iterations(1)->Unit(benchmark::kSecond);
BENCHMARK(gptq_of_the_target)
    ->ArgName("act_order")
    ->Arg(0)
    ->Arg(1)
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kSecond);

}  // namespace
