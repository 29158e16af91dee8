#include "kit/cuda/bench.h"
#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"
#include "lab01/cuda_kernels.h"

/// Task 7 on a GPU, as shares of its measured copy bandwidth.
namespace {

constexpr std::int64_t kSide = 8192;  // 256 MiB of floats: larger than any L2 cache
constexpr std::int64_t kN = kSide * kSide;

/// Input and output, once there is a GPU to hold them.
struct Buffers {
  kit::DeviceBuffer<float> in{kit::cuda::device_present() ? kN : 0};
  kit::DeviceBuffer<float> out{kit::cuda::device_present() ? kN : 0};
};

using Operation = void (*)(kit::TensorView<const float>, kit::TensorView<float>);

/// The milestone on a GPU: what coalescing is worth in time.
constexpr double kCopyBar = 0.85;

void copy(benchmark::State& state, Operation operation) {
  Buffers x;
  kit::cuda::bench_against_copy(
      state, 8.0 * kN, [&] { operation(x.in.view({kN}), x.out.view({kN})); }, kCopyBar);
}

// Counted are the bytes that are used, 4 read and 4 written for each element of the output.
void copy_strided(benchmark::State& state) {
  Buffers x;
  const std::int64_t n = kN / state.range(0);
  kit::cuda::bench_against_copy(state, 8.0 * static_cast<double>(n), [&] {
    lab01::copy_strided_cuda(x.in.view({kN}), kit::TensorView<float>(x.out.data(), {n}), state.range(0));
  });
}

void transpose(benchmark::State& state, Operation operation) {
  Buffers x;
  kit::cuda::bench_against_copy(state, 8.0 * kN, [&] {
    operation(x.in.view({kSide, kSide}), x.out.view({kSide, kSide}));
  });
}

void sum(benchmark::State& state) {
  Buffers x;
  kit::cuda::bench_against_copy(
      state, 4.0 * kN, [&] { lab01::sum_cuda(x.in.view({kN}), kit::TensorView<float>(x.out.data(), {1})); });
}

void once(benchmark::internal::Benchmark* bench) {
  bench->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(copy, coalesced, lab01::copy_cuda)->Apply(once);
BENCHMARK_CAPTURE(copy, vectorized, lab01::copy_vectorized_cuda)->Apply(once);
BENCHMARK(copy_strided)->Arg(1)->Arg(2)->Arg(8)->Arg(32)->Apply(once);
BENCHMARK_CAPTURE(transpose, naive, lab01::transpose_naive_cuda)->Apply(once);
BENCHMARK_CAPTURE(transpose, tiled, lab01::transpose_tiled_cuda)->Apply(once);
BENCHMARK_CAPTURE(transpose, padded, lab01::transpose_padded_cuda)->Apply(once);
BENCHMARK(sum)->Apply(once);

}  // namespace
