#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <vector>

#include "kit/linear.h"
#include "kit/llama.h"
#include "kit/parallel.h"
#include "kit/probe.h"

// Everything runs on the layer stack: real shapes, random weights, larger than the last-level cache. A share
// is the median over iterations of this work's rate over the ceiling's, which is measured right after it, so
// that both see the same machine however busy that is.

namespace {

using Clock = std::chrono::steady_clock;
using kit::Tensor;
using kit::TensorView;

std::shared_ptr<const kit::LlamaWeights> layer_stack() {
  static const std::shared_ptr<const kit::LlamaWeights> weights = [] {
    kit::Rng rng(1);
    return std::make_shared<const kit::LlamaWeights>(
        kit::random_llama_weights(kit::layer_stack_config(), rng));
  }();
  return weights;
}

/// The seven matrices of every layer: what a decode step reads.
std::vector<TensorView<const float>> matrices() {
  std::vector<TensorView<const float>> all;
  for (const kit::LlamaLayerWeights& w : layer_stack()->layers) {
    for (const Tensor<float>* matrix : {&w.wq, &w.wk, &w.wv, &w.wo, &w.w_gate, &w.w_up, &w.w_down}) {
      all.push_back(matrix->view());
    }
  }
  return all;
}

std::int64_t size_of(const std::vector<TensorView<const float>>& all) {
  std::int64_t size = 0;
  for (const auto& matrix : all) size += matrix.size();
  return size;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

/// The faster of kPasses runs, as the ceilings are the fastest of as many passes: one is as lucky as the
/// other.
constexpr int kPasses = 3;
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

/// Work that streams `n_bytes` in each iteration, each followed by a measurement of the read bandwidth.
template <class Work>
void run_against_read_ceiling(benchmark::State& state, std::int64_t n_bytes, const Work& work) {
  std::vector<double> rates, ceilings, shares;
  for (auto _ : state) {
    const double seconds = best_seconds(work);
    state.SetIterationTime(seconds);
    rates.push_back(static_cast<double>(n_bytes) / seconds / 1e9);
    ceilings.push_back(kit::measure_read_gb_per_s(n_bytes, kPasses));
    shares.push_back(rates.back() / ceilings.back());
  }
  state.counters["gb_per_s"] = median(rates);
  state.counters["read_ceiling_gb_per_s"] = median(ceilings);
  state.counters["share_of_read_bandwidth"] = median(shares);
}

/// Runs `product(x, w, y)` with n tokens over every matrix.
template <class Product>
void run_stack(std::int64_t n, const std::vector<TensorView<const float>>& all, const Product& product) {
  const kit::ModelConfig config = kit::layer_stack_config();
  const std::int64_t widest = std::max(config.dim, config.hidden_dim);
  const Tensor<float> x({n, widest}, 0.5F);
  Tensor<float> y({n, widest});
  for (const auto& w : all) {
    product(TensorView<const float>(x.data(), {n, w.dim(1)}), w, TensorView<float>(y.data(), {n, w.dim(0)}));
  }
  benchmark::DoNotOptimize(y.data());
}

void matrix_vector(benchmark::State& state) {
  const auto all = matrices();
  run_against_read_ceiling(state, size_of(all) * 4, [&] { run_stack(1, all, kit::linear); });
}

/// The peer: a plain C loop that the compiler may reorder and so vectorise (llama2.c builds with -Ofast).
float plain_dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void plain_matrix_vector(TensorView<const float> x, TensorView<const float> w, TensorView<float> y) {
  const std::int64_t in = w.dim(1);
  kit::parallel_for(w.dim(0), std::max<std::int64_t>(1, (1 << 18) / in),
                    [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t row = begin; row < end; ++row) {
                        y.data()[row] = plain_dot(w.data() + row * in, x.data(), in);
                      }
                    });
}

void plain_loop_matrix_vector(benchmark::State& state) {
  const auto all = matrices();
  run_against_read_ceiling(state, size_of(all) * 4, [&] { run_stack(1, all, plain_matrix_vector); });
}

void prefill(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const auto all = matrices();
  const double flops = 2.0 * static_cast<double>(n) * static_cast<double>(size_of(all));
  std::vector<double> rates, shares;
  for (auto _ : state) {
    const double seconds = best_seconds([&] { run_stack(n, all, kit::linear); });
    state.SetIterationTime(seconds);
    rates.push_back(flops / seconds / 1e9);
    shares.push_back(rates.back() / kit::measure_ceilings().peak_gflop_per_s);
  }
  state.counters["gflop_per_s"] = median(rates);
  state.counters["share_of_fma_peak"] = median(shares);
}

/// Attention that costs nothing: the work of a step is then its weights.
kit::AttentionOps trivial_attention() {
  return {.attention =
              [](TensorView<const float> q, TensorView<const float> /*k*/, TensorView<const float> /*v*/,
                 TensorView<float> out) { std::copy(q.span().begin(), q.span().end(), out.span().begin()); },
          .attention_with_cache = {}};
}

void decode_step(benchmark::State& state) {
  const auto model = kit::make_llama(kit::layer_stack_config(), layer_stack(), trivial_attention());
  const std::vector<int> token = {1};
  run_against_read_ceiling(state, layer_stack()->size() * 4,
                           [&] { benchmark::DoNotOptimize(model->forward(token)); });
  state.counters["tokens_per_s"] =
      state.counters["gb_per_s"] * 1e9 / static_cast<double>(layer_stack()->size() * 4);
}

BENCHMARK(matrix_vector)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(11);
BENCHMARK(plain_loop_matrix_vector)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(11);
BENCHMARK(decode_step)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(11);
BENCHMARK(prefill)
    ->Arg(64)
    ->Arg(256)
    ->Arg(512)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3);

}  // namespace
