#include "lab04/smoothquant.h"

#include <algorithm>
#include <cmath>

namespace lab04 {

namespace {

void check_inputs(std::span<const float> x_max_abs, kit::TensorView<const float> w, double alpha) {
  KIT_CHECK(w.rank() == 2 && w.dim(1) == std::ssize(x_max_abs),
            "w {} is not [out, in] with {} input channels", w.shape().to_string(), x_max_abs.size());
  KIT_CHECK(alpha >= 0.0 && alpha <= 1.0, "alpha is {}, want 0 to 1", alpha);
  for (std::size_t j = 0; j < x_max_abs.size(); ++j) {
    KIT_CHECK(x_max_abs[j] >= 0.0F && std::isfinite(x_max_abs[j]),
              "the largest |activation| of channel {} is {}, want a number from 0", j, x_max_abs[j]);
  }
  for (std::int64_t o = 0; o < w.dim(0); ++o) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      KIT_CHECK(std::isfinite(w(o, j)), "w({}, {}) is {}", o, j, w(o, j));
    }
  }
}

/// max|W_j| over the outputs of all linears: [in]
std::vector<float> column_maxima(kit::TensorView<const float> w) {
  std::vector<float> maxima(static_cast<std::size_t>(w.dim(1)), 0.0F);
  for (std::int64_t o = 0; o < std::min(w.dim(0), w.dim(1)); ++o) {
    const std::span<const float> row = w.row(o);
    for (std::size_t j = 0; j < row.size(); ++j) maxima[j] = std::max(maxima[j], std::abs(row[j]));
  }
  return maxima;
}

}  // namespace

std::vector<float> smoothquant_scales(std::span<const float> x_max_abs, kit::TensorView<const float> w,
                                      double alpha) {
  check_inputs(x_max_abs, w, alpha);
  const std::vector<float> w_max_abs = column_maxima(w);
  std::vector<float> scales(x_max_abs.size(), 1.0F);
  for (std::size_t j = 0; j < scales.size(); ++j) {
    if (x_max_abs[j] == 0.0F || w_max_abs[j] == 0.0F) continue;  // nothing to move
    scales[j] = static_cast<float>(std::pow(double{x_max_abs[j]}, alpha) /
                                   std::pow(double{w_max_abs[j]}, 1.0 - alpha));
  }
  return scales;
}

std::vector<float> smooth(std::span<const float> x_max_abs, double alpha, std::span<float> gain,
                          kit::TensorView<float> w) {
  KIT_CHECK(gain.size() == x_max_abs.size(), "a gain of {} channels with {} maxima", gain.size(),
            x_max_abs.size());
  std::vector<float> scales = smoothquant_scales(x_max_abs, w, alpha);
  for (std::size_t j = 0; j < scales.size(); ++j) gain[j] /= scales[j];
  for (std::int64_t o = 0; o < w.dim(0); ++o) {
    const std::span<float> row = w.row(o);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] *= scales[j];
  }
  return scales;
}

}  // namespace lab04
