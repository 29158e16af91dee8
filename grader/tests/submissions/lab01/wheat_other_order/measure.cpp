#include "lab01/measure.h"

#include <algorithm>

#include "kit/check.h"
#include "kit/rng.h"

namespace lab01 {

std::vector<RooflinePoint> measure_linear(std::int64_t in, std::int64_t out,
                                          std::span<const std::int64_t> batches, int n_repeats,
                                          const kit::MachineCeilings& machine, const Linear& linear,
                                          const Clock& now_s) {
  KIT_CHECK(in > 0 && out > 0 && n_repeats > 0, "in = {}, out = {}, n_repeats = {}", in, out, n_repeats);
  KIT_CHECK(machine.read_gb_per_s > 0 && machine.peak_gflop_per_s > 0, "{} GB/s, {} GFLOP/s",
            machine.read_gb_per_s, machine.peak_gflop_per_s);
  std::int64_t largest = 1;
  for (const std::int64_t batch : batches) {
    KIT_CHECK(batch > 0, "batch = {}", batch);
    largest = std::max(largest, batch);
  }
  // One x and one y for all batches; each uses their first rows.
  kit::Rng rng(5);
  kit::Tensor<float> w({out, in});
  kit::Tensor<float> x({largest, in});
  kit::Tensor<float> y({largest, out});
  for (float& value : w.span()) value = 0.5F;
  rng.fill_uniform(x.span(), -1.0F, 1.0F);

  std::vector<RooflinePoint> points;
  for (const std::int64_t batch : batches) {
    const kit::TensorView<const float> x_view(x.data(), {batch, in});
    const kit::TensorView<float> y_view(y.data(), {batch, out});
    std::vector<double> times;
    for (int i = -1; i < n_repeats; ++i) {
      const double start = now_s();
      linear(x_view, w, y_view);
      if (i >= 0) times.push_back(now_s() - start);
    }
    std::sort(times.begin(), times.end());
    KIT_CHECK(times.front() > 0, "{} s", times.front());
    RooflinePoint p;
    p.batch = batch;
    p.flops = 2 * batch * in * out;
    p.bytes = 4 * (in * out + batch * in + batch * out);
    p.intensity = static_cast<double>(p.flops) / static_cast<double>(p.bytes);
    p.seconds = times.front();
    p.gflop_per_s = static_cast<double>(p.flops) * 1e-9 / p.seconds;
    p.roof_gflop_per_s = std::min(machine.peak_gflop_per_s, p.intensity * machine.read_gb_per_s);
    points.push_back(p);
  }
  return points;
}

}  // namespace lab01
