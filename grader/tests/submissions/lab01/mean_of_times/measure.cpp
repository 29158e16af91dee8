#include "lab01/measure.h"

#include <algorithm>
#include <limits>

#include "kit/check.h"
#include "lab01/operations.h"
#include "lab01/roofline.h"

namespace lab01 {

namespace {

constexpr float kWeight = 0.01F;  // any value will do, as long as it is not a slow one such as a subnormal
constexpr float kInput = 1.0F;

/// The fastest of n_repeats calls, after one that is not timed.
double fastest_seconds(int n_repeats, const Clock& now_s, const std::function<void()>& call) {
  call();
  double sum = 0.0;
  for (int i = 0; i < n_repeats; ++i) {
    const double start = now_s();
    call();
    sum += now_s() - start;
  }
  return sum / n_repeats;
}

RooflinePoint place(std::int64_t batch, const Work& work, double seconds, const Roof& roof) {
  KIT_CHECK(seconds > 0, "batch {} took {} s: the clock is too coarse", batch, seconds);
  const auto flops = static_cast<double>(work.flops);
  const double intensity = arithmetic_intensity(flops, static_cast<double>(work.bytes));
  return {batch,
          work.flops,
          work.bytes,
          intensity,
          seconds,
          flops / seconds / 1e9,
          attainable_flop_per_s(roof, intensity) / 1e9};
}

}  // namespace

std::vector<RooflinePoint> measure_linear(std::int64_t in, std::int64_t out,
                                          std::span<const std::int64_t> batches, int n_repeats,
                                          const kit::MachineCeilings& machine, const Linear& linear,
                                          const Clock& now_s) {
  KIT_CHECK(in > 0, "in is {}, must be positive", in);
  KIT_CHECK(out > 0, "out is {}, must be positive", out);
  KIT_CHECK(n_repeats > 0, "n_repeats is {}, must be positive", n_repeats);
  for (const std::int64_t batch : batches) KIT_CHECK(batch > 0, "a batch is {}, must be positive", batch);
  const Roof roof{machine.peak_gflop_per_s * 1e9, machine.read_gb_per_s * 1e9};
  (void)ridge_point(roof);  // refuses a roof that is not one, before anything is measured

  const Formats floats{{kit::NumberFormat::kFp32}, kit::NumberFormat::kFp32, kit::NumberFormat::kFp32};
  const kit::Tensor<float> w({out, in}, kWeight);
  std::vector<RooflinePoint> points;
  for (const std::int64_t batch : batches) {
    const kit::Tensor<float> x({batch, in}, kInput);
    kit::Tensor<float> y({batch, out});
    const double seconds = fastest_seconds(n_repeats, now_s, [&] { linear(x, w, y); });
    points.push_back(place(batch, linear_work(batch, in, out, floats), seconds, roof));
  }
  return points;
}

}  // namespace lab01
