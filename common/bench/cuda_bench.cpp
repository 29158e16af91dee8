#include "../tests/simt/calibration.h"
#include "kit/cuda/bench.h"
#include "kit/cuda/device.h"
#include "kit/cuda/device_buffer.h"

/// The calibration kernels on a GPU, as shares of its measured copy bandwidth: what width, stride and bank
/// conflicts cost.
namespace {

constexpr std::int64_t kSide = 8192;  // 256 MiB of floats: larger than any L2 cache
constexpr std::int64_t kN = kSide * kSide;

/// Input and output, once there is a GPU to hold them.
struct Buffers {
  kit::DeviceBuffer<float> in{kit::cuda::device_present() ? kN : 0};
  kit::DeviceBuffer<float> out{kit::cuda::device_present() ? kN : 0};
};

void copy(benchmark::State& state) {
  Buffers x;
  kit::cuda::bench_against_copy(state, 8.0 * kN, [&] {
    calibration::copy(x.in.view({kN}), x.out.view({kN}), static_cast<int>(state.range(0)));
  });
}

// Counted are the bytes that are used, 4 read and 4 written for each element of the output.
void strided_copy(benchmark::State& state) {
  Buffers x;
  const std::int64_t n = kN / state.range(0);
  kit::cuda::bench_against_copy(state, 8.0 * static_cast<double>(n), [&] {
    calibration::strided_copy(x.in.view({kN}), kit::TensorView<float>(x.out.data(), {n}),
                              static_cast<int>(state.range(0)));
  });
}

void transpose(benchmark::State& state, calibration::Transpose variant) {
  Buffers x;
  kit::cuda::bench_against_copy(state, 8.0 * kN, [&] {
    calibration::transpose(x.in.view({kSide, kSide}), x.out.view({kSide, kSide}), variant);
  });
}

void once(benchmark::internal::Benchmark* bench) {
  bench->UseManualTime()->Iterations(1)->Unit(benchmark::kMicrosecond);
}

BENCHMARK(copy)->Arg(4)->Arg(8)->Arg(16)->Apply(once);
BENCHMARK(strided_copy)->RangeMultiplier(2)->Range(1, 32)->Apply(once);
BENCHMARK_CAPTURE(transpose, naive, calibration::Transpose::kNaive)->Apply(once);
BENCHMARK_CAPTURE(transpose, tiled, calibration::Transpose::kTiled)->Apply(once);
BENCHMARK_CAPTURE(transpose, padded, calibration::Transpose::kPadded)->Apply(once);

}  // namespace
