#include "lab04/awq.h"

#include <algorithm>
#include <cmath>

#include "kit/linear.h"

namespace lab04 {

namespace {

constexpr int kGridPoints = 20;
constexpr double kSmallestMean = 1e-4;  // keeps the scale of a silent channel away from 0

void check_finite(const char* name, kit::TensorView<const float> matrix) {
  for (std::int64_t i = 0; i < matrix.dim(0); ++i) {
    for (std::int64_t j = 0; j < matrix.dim(1); ++j) {
      KIT_CHECK(std::isfinite(matrix(i, j)), "{}({}, {}) is {}", name, i, j, matrix(i, j));
    }
  }
}

/// m_j = mean|x_j|: [in]
std::vector<double> mean_magnitudes(kit::TensorView<const float> x) {
  std::vector<double> means(static_cast<std::size_t>(x.dim(1)), 0.0);
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    const std::span<const float> row = x.row(t);
    for (std::size_t j = 0; j < row.size(); ++j) means[j] += std::abs(double{row[j]});
  }
  for (double& mean : means) mean /= static_cast<double>(x.dim(0));
  return means;
}

/// max(m_j, kSmallestMean)^exponent, divided by the middle of their range: a common factor changes next to no
/// rounding, and this one keeps weights and activations at about their size.
std::vector<float> scales_of(std::span<const double> magnitudes, double exponent) {
  std::vector<double> powers;
  for (const double m : magnitudes) powers.push_back(std::pow(std::max(m, kSmallestMean), exponent));
  const auto [low, high] = std::ranges::minmax_element(powers);
  const double middle = std::sqrt(*low * *high);
  std::vector<float> scales(powers.size());
  std::ranges::transform(powers, scales.begin(),
                         [middle](double power) { return static_cast<float>(power / middle); });
  return scales;
}

/// w(o, j) *= s_j
void scale_columns(std::span<const float> scales, kit::TensorView<float> w) {
  for (std::int64_t o = 0; o < w.dim(0); ++o) {
    const std::span<float> row = w.row(o);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] *= scales[j];
  }
}

/// What quantizing w(o, j) s_j changes in the outputs: the mean of (x (w - q / s)^T)^2.
double output_error(kit::TensorView<const float> x, kit::TensorView<const float> w,
                    std::span<const float> scales, const GroupConfig& grid) {
  kit::Tensor<float> scaled = kit::clone(w);
  scale_columns(scales, scaled);
  kit::Tensor<float> error(w.shape());
  // Not this task's mistake: the codes for the scales as they are stored.
  const GroupQuantized q = quantize_groups(scaled, grid);
  const float most = std::exp2(static_cast<float>(grid.bits - (grid.symmetric ? 1 : 0))) - 1.0F;
  for (std::int64_t o = 0; o < w.dim(0); ++o) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      const std::int64_t group = grid.group_size == 0 ? 0 : j / grid.group_size;
      const auto g = static_cast<std::size_t>(o * q.n_groups() + group);
      const float scale = kit::to_float(q.scales[g]);
      const float zero_point = grid.symmetric ? 0.0F : static_cast<float>(q.zero_points[g]);
      const float code = std::rint(scaled(o, j) / scale) + zero_point;
      error(o, j) = scale * (std::clamp(code, grid.symmetric ? -most : 0.0F, most) - zero_point);
    }
  }
  for (std::int64_t o = 0; o < w.dim(0); ++o) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      error(o, j) = w(o, j) - error(o, j) / scales[static_cast<std::size_t>(j)];
    }
  }
  kit::Tensor<float> y({x.dim(0), w.dim(0)});
  kit::linear(x, error, y);
  double sum = 0.0;
  for (const float value : y.span()) sum += double{value} * double{value};
  return sum / static_cast<double>(y.size());
}

void check_scales(std::span<const float> scales, kit::TensorView<const float> w) {
  KIT_CHECK(w.rank() == 2 && w.dim(1) == std::ssize(scales), "w {} is not [out, in] with {} scales",
            w.shape().to_string(), scales.size());
  for (std::size_t j = 0; j < scales.size(); ++j) {
    KIT_CHECK(scales[j] > 0.0F && std::isfinite(scales[j]), "scale {} is {}, it must be positive and finite",
              j, scales[j]);
  }
}

}  // namespace

AwqScales search_awq_scales(kit::TensorView<const float> x, kit::TensorView<const float> w,
                            const GroupConfig& grid) {
  KIT_CHECK(x.rank() == 2 && w.rank() == 2 && x.dim(1) == w.dim(1) && x.size() > 0 && w.size() > 0,
            "x {} (n, in) and w {} (out, in) do not fit, or are empty", x.shape().to_string(),
            w.shape().to_string());
  check_finite("x", x);
  check_finite("w", w);
  const std::vector<double> magnitudes = mean_magnitudes(x);
  AwqScales best;
  for (int point = 0; point < kGridPoints; ++point) {
    const double exponent = static_cast<double>(point) / kGridPoints;
    std::vector<float> scales = scales_of(magnitudes, exponent);
    const double error = output_error(x, w, scales, grid);
    if (point == 0) best.plain_error = error;
    if (point > 0 && error >= best.error) continue;
    best.scales = std::move(scales);
    best.exponent = exponent;
    best.error = error;
  }
  return best;
}

void fold_into_norm(std::span<const float> scales, std::span<float> gain, kit::TensorView<float> w) {
  check_scales(scales, w);
  KIT_CHECK(gain.size() == scales.size(), "a gain of {} channels with {} scales", gain.size(), scales.size());
  for (std::size_t j = 0; j < scales.size(); ++j) gain[j] /= scales[j];
  scale_columns(scales, w);
}

void fold_into_linear(std::span<const float> scales, kit::TensorView<float> previous,
                      kit::TensorView<float> w) {
  check_scales(scales, w);
  KIT_CHECK(previous.rank() == 2 && previous.dim(0) == std::ssize(scales),
            "the linear before, {}, does not have {} outputs", previous.shape().to_string(), scales.size());
  for (std::int64_t j = 0; j < previous.dim(0); ++j) {
    for (float& value : previous.row(j)) value /= scales[static_cast<std::size_t>(j)];
  }
  scale_columns(scales, w);
}

}  // namespace lab04
