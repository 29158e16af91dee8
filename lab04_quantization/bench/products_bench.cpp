#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <vector>

#include "kit/linear.h"
#include "kit/model_table.h"
#include "kit/parallel.h"
#include "kit/probe.h"
#include "kit/rng.h"
#include "lab04/quantized_products.h"

// One token through the matrices of a large layer, in 32, 8 and 4 bits. Smaller weights come in more
// layers, so that each benchmark streams the same bytes, more than any last-level cache holds. A share is the
// rate of bytes (codes and scales) over the read bandwidth that is measured right after it; a speedup is in
// tokens a second of one stack, over kit::linear on float weights, run right after both. Each is the median
// over iterations, so that a busy machine disturbs numerator and denominator alike.

namespace {

using Clock = std::chrono::steady_clock;
using kit::Tensor;
using kit::TensorView;

constexpr int kPasses = 3;
constexpr int kIterations = 11;

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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

/// [out, in] of the matrices of one layer of Llama-3-8B: 218 million weights, what people quantize. (In the
/// kit's layer stack a matrix in 4 bits takes 100 us, and two threads some 10 to begin and to end.)
const kit::ModelConfig& layer_config() {
  return kit::find_model("llama3-8b").config;
}

std::vector<kit::Shape> stack_shapes() {
  const kit::ModelConfig& c = layer_config();
  const std::int64_t kv_dim = std::int64_t{c.n_kv_heads} * c.head_dim;
  const std::int64_t q_dim = std::int64_t{c.n_heads} * c.head_dim;
  return {{q_dim, c.dim},        {kv_dim, c.dim},       {kv_dim, c.dim},      {c.dim, q_dim},
          {c.hidden_dim, c.dim}, {c.hidden_dim, c.dim}, {c.dim, c.hidden_dim}};
}

std::int64_t stack_size() {
  std::int64_t size = 0;
  for (const kit::Shape& shape : stack_shapes()) size += shape.size();
  return size;
}

/// Any bytes: all codes are equally fast.
template <class T>
void fill_bytes(std::span<T> bytes, kit::Rng& rng) {
  for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    const std::uint32_t four = rng.next_u32();
    for (std::size_t b = 0; b < 4; ++b) bytes[i + b] = static_cast<T>(four >> (8 * b));
  }
}

/// `n` copies of the stack, made by `make(shape)`.
template <class Make>
auto make_stacks(int n, const Make& make) {
  std::vector<decltype(make(kit::Shape{}))> all;
  for (int copy = 0; copy < n; ++copy) {
    for (const kit::Shape& shape : stack_shapes()) all.push_back(make(shape));
  }
  return all;
}

struct Int8Weight {
  Tensor<std::int8_t> codes;
  std::vector<float> scales;
};

std::vector<Int8Weight> int8_stacks(int n) {
  kit::Rng rng(1);
  return make_stacks(n, [&](const kit::Shape& shape) {
    Int8Weight w{Tensor<std::int8_t>(shape), std::vector<float>(static_cast<std::size_t>(shape[0]), 0.01F)};
    fill_bytes(w.codes.span(), rng);
    return w;
  });
}

std::vector<lab04::GroupQuantized> int4_stacks(int n, bool symmetric) {
  kit::Rng rng(2);
  return make_stacks(n, [&](const kit::Shape& shape) {
    lab04::GroupQuantized w{.config = {.bits = 4, .group_size = 128, .symmetric = symmetric},
                            .rows = shape[0],
                            .cols = shape[1],
                            .codes = {},
                            .scales = {},
                            .zero_points = {}};
    w.codes.resize(static_cast<std::size_t>(w.rows * w.row_bytes()));
    fill_bytes(std::span(w.codes), rng);
    w.scales.resize(static_cast<std::size_t>(w.rows * w.n_groups()), kit::to_half(0.01F));
    if (!symmetric) w.zero_points.resize(w.scales.size(), 7);
    return w;
  });
}

const std::vector<Tensor<float>>& float_stack() {
  static const std::vector<Tensor<float>> weights = [] {
    kit::Rng rng(3);
    return make_stacks(1, [&](const kit::Shape& shape) {
      Tensor<float> w(shape);
      rng.fill_uniform(w.span(), -0.01F, 0.01F);
      return w;
    });
  }();
  return weights;
}

/// Inputs and outputs of n tokens, as wide as the widest matrix.
struct Buffers {
  Tensor<float> x, y;
  explicit Buffers(std::int64_t n) {
    const kit::ModelConfig& c = layer_config();
    x = Tensor<float>({n, std::max(c.dim, c.hidden_dim)}, 0.5F);
    y = Tensor<float>(x.shape());
  }
  TensorView<const float> in(std::int64_t n, std::int64_t dim) const { return {x.data(), {n, dim}}; }
  TensorView<float> out(std::int64_t n, std::int64_t dim) { return {y.data(), {n, dim}}; }
};

/// One pass of n tokens over the float stack.
void run_float_stack(std::int64_t n, Buffers& b) {
  for (const Tensor<float>& w : float_stack()) kit::linear(b.in(n, w.dim(1)), w, b.out(n, w.dim(0)));
  benchmark::DoNotOptimize(b.y.data());
}

/// `work` takes n tokens through n_stacks stacks, n_bytes in all.
template <class Work>
void compare(benchmark::State& state, std::int64_t n, int n_stacks, std::int64_t n_bytes, const Work& work) {
  Buffers buffers(n);
  std::vector<double> tokens, ceilings, shares, speedups;
  for (auto _ : state) {
    const double seconds = best_seconds([&] { work(buffers); });
    state.SetIterationTime(seconds);
    ceilings.push_back(kit::measure_read_gb_per_s(4 * stack_size(), kPasses));
    const double float_seconds = best_seconds([&] { run_float_stack(n, buffers); });
    tokens.push_back(static_cast<double>(n * n_stacks) / seconds);
    shares.push_back(static_cast<double>(n_bytes) / seconds / 1e9 / ceilings.back());
    speedups.push_back(tokens.back() * float_seconds / static_cast<double>(n));
  }
  state.counters["read_ceiling_gb_per_s"] = median(ceilings);
  state.counters["share_of_read_bandwidth"] = median(shares);
  state.counters["tokens_per_s"] = median(tokens);
  state.counters["speedup_over_fp32"] = median(speedups);
}

void fp32(benchmark::State& state) {
  compare(state, 1, 1, 4 * stack_size(), [](Buffers& b) { run_float_stack(1, b); });
}

constexpr int kInt8Stacks = 4;
constexpr int kInt4Stacks = 8;

using Int8Product = std::function<void(TensorView<const std::int8_t>, std::span<const float>,
                                       std::span<const float>, std::span<float>)>;

void w8a16(benchmark::State& state, const Int8Product& product) {
  const std::vector<Int8Weight> all = int8_stacks(kInt8Stacks);
  std::int64_t n_bytes = 0;
  for (const Int8Weight& w : all) n_bytes += w.codes.size() + 4 * std::ssize(w.scales);
  compare(state, 1, kInt8Stacks, n_bytes, [&](Buffers& b) {
    for (const Int8Weight& w : all) {
      product(w.codes, w.scales, b.in(1, w.codes.dim(1)).span(), b.out(1, w.codes.dim(0)).span());
    }
  });
}

/// The peer: the loop that everybody writes, on all cores.
void plain_w8a16(TensorView<const std::int8_t> w, std::span<const float> scales, std::span<const float> x,
                 std::span<float> y) {
  kit::parallel_for(w.dim(0), (1 << 18) / w.dim(1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int8_t* codes = w.row(row).data();
      const float* inputs = x.data();
      const std::int64_t n = w.dim(1);
      float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < n; ++i) sum += static_cast<float>(codes[i]) * inputs[i];
      y[static_cast<std::size_t>(row)] = scales[static_cast<std::size_t>(row)] * sum;
    }
  });
}

using Int4Product =
    std::function<void(const lab04::GroupQuantized&, std::span<const float>, std::span<float>)>;

void w4a16(benchmark::State& state, bool symmetric, const Int4Product& product) {
  const std::vector<lab04::GroupQuantized> all = int4_stacks(kInt4Stacks, symmetric);
  std::int64_t n_bytes = 0;
  for (const auto& w : all)
    n_bytes += std::ssize(w.codes) + 2 * std::ssize(w.scales) + std::ssize(w.zero_points);
  compare(state, 1, kInt4Stacks, n_bytes, [&](Buffers& b) {
    for (const auto& w : all) product(w, b.in(1, w.cols).span(), b.out(1, w.rows).span());
  });
}

/// The peer: group by group, two codes a byte, for symmetric codes and full groups.
void plain_w4a16(const lab04::GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  const int group_bytes = w.config.group_size / 2;
  kit::parallel_for(w.rows, (1 << 18) / w.cols + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float total = 0.0F;
      for (std::int64_t g = 0; g < w.n_groups(); ++g) {
        const std::uint8_t* codes = w.codes.data() + row * w.row_bytes() + g * group_bytes;
        const float* inputs = x.data() + g * w.config.group_size;
        float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < group_bytes; ++i) {
          const int low = ((codes[i] & 15) ^ 8) - 8;
          const int high = ((codes[i] >> 4) ^ 8) - 8;
          sum += static_cast<float>(low) * inputs[2 * i] + static_cast<float>(high) * inputs[2 * i + 1];
        }
        total += kit::to_float(w.scales[static_cast<std::size_t>(row * w.n_groups() + g)]) * sum;
      }
      y[static_cast<std::size_t>(row)] = total;
    }
  });
}

/// Activations are quantized in the measured time. Beside it, kit::linear with as many tokens.
void w8a8_dynamic(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const std::vector<Int8Weight> all = int8_stacks(kInt8Stacks);
  std::int64_t n_bytes = 0;
  for (const Int8Weight& w : all) n_bytes += w.codes.size() + 4 * std::ssize(w.scales);
  compare(state, n, kInt8Stacks, n_bytes, [&](Buffers& b) {
    for (const Int8Weight& w : all) {
      lab04::linear_w8a8_dynamic(b.in(n, w.codes.dim(1)), w.codes, w.scales, b.out(n, w.codes.dim(0)));
    }
  });
}

BENCHMARK(fp32)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(kIterations);
BENCHMARK_CAPTURE(w8a16, solution, lab04::matvec_w8a16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(kIterations);
BENCHMARK_CAPTURE(w8a16, plain_loop, plain_w8a16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(kIterations);
BENCHMARK_CAPTURE(w4a16, solution, true, lab04::matvec_w4a16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(kIterations);
BENCHMARK_CAPTURE(w4a16, asymmetric, false, lab04::matvec_w4a16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(kIterations);
BENCHMARK_CAPTURE(w4a16, plain_loop, true, plain_w4a16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(kIterations);
BENCHMARK(w8a8_dynamic)->Arg(1)->Arg(64)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(5);

}  // namespace
