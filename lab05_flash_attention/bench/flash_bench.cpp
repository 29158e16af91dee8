#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "kit/memory.h"
#include "kit/parallel.h"
#include "kit/testing.h"
#include "lab05/flash_forward.h"

// Attention of one head at N = 4096, d = 64: the standard three passes over an N x N array, and the lab's
// flash_attention. `share_of_sgemm` is its GFLOP/s as a share of what OpenBLAS reaches in the same run, one
// thread for each of kit::n_threads(), on the product whose shape is that of Q K^T but square, which is the
// friendliest there is; `times_naive` is against the three passes. FLOPs are 4 N^2 d, half of that when
// causal. A task that is not written yet is reported as such and skipped.

namespace {

using kit::Tensor;

constexpr std::int64_t kLength = 4096;
constexpr std::int64_t kHeadDim = 64;

/// Least seconds of one call, of at least three and as many as fit into half a second: others use the
/// machine, too.
template <class Step>
double seconds_of(const Step& step) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double least = 1e30;
  for (int n = 0; n < 3 || Clock::now() - begin < std::chrono::milliseconds(500); ++n) {
    const auto start = Clock::now();
    step();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return least;
}

/// sgemm of OpenBLAS, where it is installed; no build needs it.
class OpenBlas {
 public:
  static const OpenBlas& instance() {
    static const OpenBlas blas;
    return blas;
  }
  bool present() const { return sgemm_ != nullptr; }
  /// GFLOP/s of a product of two 2048 x 2048 matrices.
  double gflop_per_s() const {
    constexpr int kSize = 2048;
    constexpr int kRowMajor = 101;
    constexpr int kNoTranspose = 111;
    const std::vector<float> a(std::size_t{kSize} * kSize, 0.5F);
    const std::vector<float> b(std::size_t{kSize} * kSize, 0.25F);
    std::vector<float> c(std::size_t{kSize} * kSize);
    const double seconds = seconds_of([&] {
      sgemm_(kRowMajor, kNoTranspose, kNoTranspose, kSize, kSize, kSize, 1.0F, a.data(), kSize, b.data(),
             kSize, 0.0F, c.data(), kSize);
    });
    return 2.0 * kSize * kSize * kSize / seconds / 1e9;
  }

 private:
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                         float*, int);
  using SetThreads = void (*)(int);
  OpenBlas() {
    void* const library = ::dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    sgemm_ = reinterpret_cast<Sgemm>(::dlsym(library, "cblas_sgemm"));
    const auto set_threads = reinterpret_cast<SetThreads>(::dlsym(library, "openblas_set_num_threads"));
    if (set_threads != nullptr) set_threads(kit::n_threads());
  }
  Sgemm sgemm_ = nullptr;
};

struct Problem {
  kit::Rng rng{1};
  Tensor<float> q = kit::testing::random_tensor({kLength, 1, kHeadDim}, rng);
  Tensor<float> k = kit::testing::random_tensor({kLength, 1, kHeadDim}, rng);
  Tensor<float> v = kit::testing::random_tensor({kLength, 1, kHeadDim}, rng);
  Tensor<float> out = kit::testing::nan_tensor({kLength, 1, kHeadDim});
  Tensor<float> log_sum_exp = kit::testing::nan_tensor({kLength, 1});
  Tensor<float> scores = kit::testing::nan_tensor({kLength, kLength});
};

/// S = Q K^T; P = softmax(S); O = P V: each a pass over all of an N x N array, inner loops vectorised.
void naive_attention(Problem& p, bool causal) {
  const auto end_of = [&](std::int64_t i) { return causal ? i + 1 : kLength; };
  const float scale = 1.0F / std::sqrt(static_cast<float>(kHeadDim));
  const auto each_row = [&](const auto& body) {
    kit::parallel_for(kLength, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) body(i);
    });
  };
  each_row([&](std::int64_t i) {
    const float* q = p.q.data() + i * kHeadDim;
    for (std::int64_t j = 0; j < end_of(i); ++j) {
      const float* k = p.k.data() + j * kHeadDim;
      float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t d = 0; d < kHeadDim; ++d) sum += q[d] * k[d];
      p.scores(i, j) = scale * sum;
    }
  });
  each_row([&](std::int64_t i) {
    const std::span<float> row = p.scores.row(i).first(static_cast<std::size_t>(end_of(i)));
    const float m = *std::ranges::max_element(row);
    float l = 0.0F;
    for (float& x : row) l += x = std::exp(x - m);
    for (float& x : row) x /= l;
  });
  each_row([&](std::int64_t i) {
    float* out = p.out.data() + i * kHeadDim;
    std::fill_n(out, kHeadDim, 0.0F);
    for (std::int64_t j = 0; j < end_of(i); ++j) {
      const float weight = p.scores(i, j);
      const float* v = p.v.data() + j * kHeadDim;
#pragma omp simd
      for (std::int64_t d = 0; d < kHeadDim; ++d) out[d] += weight * v[d];
    }
  });
}

/// `gflop_per_s` beside the ceilings, interleaved: the best of three rounds of each.
void flash_forward(benchmark::State& state, bool causal, int br, int bc) {
  Problem p;
  const double flop = 4.0 * kLength * kLength * kHeadDim * (causal ? 0.5 : 1.0);
  double flash = 0.0;
  double naive = 0.0;
  double sgemm = 0.0;
  kit::CountingResource scratch;
  const auto run = [&] {
    lab05::flash_attention(p.q, p.k, p.v, {.br = br, .bc = bc, .causal = causal}, scratch, p.out,
                           p.log_sum_exp);
  };
  for (auto _ : state) {
    try {
      for (int round = 0; round < 3; ++round) {
        flash = std::max(flash, flop / seconds_of(run) / 1e9);
        naive = std::max(naive, flop / seconds_of([&] { naive_attention(p, causal); }) / 1e9);
        if (OpenBlas::instance().present()) sgemm = std::max(sgemm, OpenBlas::instance().gflop_per_s());
      }
    } catch (const kit::NotImplemented& error) {
      state.SkipWithError(error.what());
      return;
    }
    state.SetIterationTime(flop / flash / 1e9);
  }
  state.counters["gflop_per_s"] = flash;
  state.counters["times_naive"] = flash / naive;
  state.counters["scratch_kib"] = static_cast<double>(scratch.peak_bytes()) / 1024.0;
  if (sgemm > 0.0) {
    state.counters["sgemm_gflop_per_s"] = sgemm;
    state.counters["share_of_sgemm"] = flash / sgemm;
  } else {
    state.SetLabel("OpenBLAS (libopenblas.so.0) is not installed: no share of sgemm");
  }
}

void once(benchmark::internal::Benchmark* bench) {
  bench->UseManualTime()->Iterations(1)->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(flash_forward, full, false, 64, 64)->Apply(once);
BENCHMARK_CAPTURE(flash_forward, causal, true, 64, 64)->Apply(once);
BENCHMARK_CAPTURE(flash_forward, full_64_by_256, false, 64, 256)->Apply(once);
BENCHMARK_CAPTURE(flash_forward, full_128_by_128, false, 128, 128)->Apply(once);

}  // namespace
