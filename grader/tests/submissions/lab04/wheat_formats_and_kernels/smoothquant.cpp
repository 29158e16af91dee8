#include "lab04/smoothquant.h"

#include <algorithm>
#include <cmath>

#include "lab04/awq.h"

namespace lab04 {

std::vector<float> smoothquant_scales(std::span<const float> x_max_abs, kit::TensorView<const float> w,
                                      double alpha) {
  KIT_CHECK(w.rank() == 2 && w.dim(1) == static_cast<std::int64_t>(x_max_abs.size()),
            "w {} with {} input channels", w.shape().to_string(), x_max_abs.size());
  KIT_CHECK(alpha >= 0.0 && alpha <= 1.0, "alpha is {}", alpha);
  const auto a = static_cast<float>(alpha);
  std::vector<float> scales;
  for (std::int64_t j = 0; j < w.dim(1); ++j) {
    const float x_max = x_max_abs[static_cast<std::size_t>(j)];
    KIT_CHECK(x_max >= 0.0F && std::isfinite(x_max), "maximum {} is {}", j, x_max);
    float w_max = 0.0F;
    for (std::int64_t o = 0; o < w.dim(0); ++o) {
      KIT_CHECK(std::isfinite(w(o, j)), "weight ({}, {}) is {}", o, j, w(o, j));
      w_max = std::max(w_max, std::abs(w(o, j)));
    }
    // x^a / w^(1-a) = (x w)^a / w
    scales.push_back(x_max > 0.0F && w_max > 0.0F ? std::pow(x_max * w_max, a) / w_max : 1.0F);
  }
  return scales;
}

std::vector<float> smooth(std::span<const float> x_max_abs, double alpha, std::span<float> gain,
                          kit::TensorView<float> w) {
  std::vector<float> scales = smoothquant_scales(x_max_abs, w, alpha);
  fold_into_norm(scales, gain, w);
  return scales;
}

}  // namespace lab04
