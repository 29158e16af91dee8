#include "lab04/awq.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kit/linear.h"

namespace lab04 {

namespace {

using Matrix = kit::TensorView<const float>;

kit::Tensor<float> transposed(Matrix a) {
  kit::Tensor<float> result({a.dim(1), a.dim(0)});
  for (std::int64_t i = 0; i < a.dim(0); ++i) {
    for (std::int64_t j = 0; j < a.dim(1); ++j) result(j, i) = a(i, j);
  }
  return result;
}

bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

/// Sum over all outputs of d G d^T, where G = X^T X and d is what quantizing does to an output's weights.
double squared_output_error(const kit::Tensor<float>& gram, Matrix w, std::span<const float> scales,
                            const GroupConfig& grid) {
  const std::int64_t in = w.dim(1);
  kit::Tensor<float> scaled(w.shape());
  for (std::int64_t i = 0; i < w.size(); ++i) {
    scaled.data()[i] = w.data()[i] * scales[static_cast<std::size_t>(i % in)];
  }
  kit::Tensor<float> d(w.shape());
  dequantize_groups(quantize_groups(scaled, grid), d);
  for (std::int64_t i = 0; i < w.size(); ++i) {
    d.data()[i] = w.data()[i] - d.data()[i] * (1.0F / scales[static_cast<std::size_t>(i % in)]);
  }
  kit::Tensor<float> dg(w.shape());
  kit::linear(d, gram, dg);  // G is its own transpose
  double sum = 0.0;
  for (std::int64_t i = 0; i < w.size(); ++i) sum += double{d.data()[i]} * double{dg.data()[i]};
  return std::max(sum, 0.0);
}

void fold(std::span<const float> scales, kit::TensorView<float> before, kit::TensorView<float> w) {
  const auto n = static_cast<std::int64_t>(scales.size());
  KIT_CHECK(before.rank() == 2 && before.dim(0) == n && w.rank() == 2 && w.dim(1) == n,
            "{} scales between {} and {}", n, before.shape().to_string(), w.shape().to_string());
  KIT_CHECK(std::ranges::all_of(scales, [](float s) { return s > 0.0F && std::isfinite(s); }),
            "a scale is not positive and finite");
  for (std::int64_t j = 0; j < n; ++j) {
    const float s = scales[static_cast<std::size_t>(j)];
    const float inverse = 1.0F / s;
    for (std::int64_t i = 0; i < before.dim(1); ++i) before(j, i) *= inverse;
    for (std::int64_t o = 0; o < w.dim(0); ++o) w(o, j) *= s;
  }
}

}  // namespace

AwqScales search_awq_scales(Matrix x, Matrix w, const GroupConfig& grid) {
  KIT_CHECK(x.rank() == 2 && w.rank() == 2 && x.dim(0) > 0 && x.dim(1) == w.dim(1),
            "x {} and w {} do not fit", x.shape().to_string(), w.shape().to_string());
  KIT_CHECK(all_finite(x.span()) && all_finite(w.span()), "a NaN or an infinity among inputs or weights");
  const kit::Tensor<float> columns = transposed(x);
  kit::Tensor<float> gram({x.dim(1), x.dim(1)});
  kit::linear(columns, columns, gram);
  std::vector<float> logs;  // of the mean magnitudes, base 2
  for (std::int64_t j = 0; j < x.dim(1); ++j) {
    float sum = 0.0F;
    for (const float value : columns.row(j)) sum += std::abs(value);
    logs.push_back(std::log2(std::max(sum / static_cast<float>(x.dim(0)), 1e-4F)));
  }
  const auto [low, high] = std::ranges::minmax(logs);
  const double n_outputs = static_cast<double>(x.dim(0) * w.dim(0));

  std::vector<AwqScales> points;
  for (int i = 0; i < 20; ++i) {
    AwqScales point{.scales = {}, .exponent = i / 20.0};
    for (const float log : logs) {
      point.scales.push_back(std::exp2(static_cast<float>(point.exponent) * (log - 0.5F * (low + high))));
    }
    point.error = squared_output_error(gram, w, point.scales, grid) / n_outputs;
    points.push_back(std::move(point));
  }
  AwqScales best = *std::ranges::min_element(points, std::less<>(), &AwqScales::error);
  best.plain_error = points.front().error;
  return best;
}

void fold_into_norm(std::span<const float> scales, std::span<float> gain, kit::TensorView<float> w) {
  fold(scales, {gain.data(), {static_cast<std::int64_t>(gain.size()), 1}}, w);
}

void fold_into_linear(std::span<const float> scales, kit::TensorView<float> previous,
                      kit::TensorView<float> w) {
  fold(scales, previous, w);
}

}  // namespace lab04
