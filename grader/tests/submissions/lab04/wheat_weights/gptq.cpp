#include "lab04/gptq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lab04 {

namespace {

using Matrix = std::vector<std::vector<double>>;

/// Turns a positive definite matrix into its inverse, in place: a sweep over every pivot.
void invert(Matrix& a, const std::vector<std::int32_t>& order) {
  const std::size_t n = a.size();
  for (std::size_t p = 0; p < n; ++p) {
    const double pivot = a[p][p];
    KIT_CHECK(pivot > 0.0, "column {}: H is not positive definite there ({})", order[p], pivot);
    for (std::size_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double factor = a[i][p] / pivot;
      for (std::size_t k = 0; k < n; ++k) {
        if (k != p) a[i][k] -= factor * a[p][k];
      }
      a[i][p] = -factor;
    }
    for (std::size_t k = 0; k < n; ++k) {
      if (k != p) a[p][k] /= pivot;
    }
    a[p][p] = 1.0 / pivot;
  }
}

struct Grid {
  float scale = 1.0F;
  int zero_point = 0;
};

Grid grid_of(const float* begin, const float* end, const GroupConfig& config) {
  const float low = std::min(0.0F, *std::min_element(begin, end));
  const float high = std::max(0.0F, *std::max_element(begin, end));
  const int n_steps = config.symmetric ? (1 << (config.bits - 1)) - 1 : (1 << config.bits) - 1;
  const float width = config.symmetric ? std::max(high, -low) : high - low;
  const float scale = kit::to_float(kit::to_half(width / static_cast<float>(n_steps)));
  KIT_CHECK(std::isfinite(scale), "a scale beyond binary16 for weights {} to {}", low, high);
  if (scale == 0.0F) return {};
  const float zero_point = config.symmetric ? 0.0F : std::rint(-low / scale);
  return {scale, std::min(static_cast<int>(zero_point), n_steps)};
}

void put(std::uint8_t* row, std::int64_t index, int bits, int code) {
  for (int b = 0; b < bits; ++b) {
    const std::int64_t at = index * bits + b;
    if (((code >> b) & 1) != 0) row[at / 8] = static_cast<std::uint8_t>(row[at / 8] | 1 << at % 8);
  }
}

void check(kit::TensorView<const float> w, kit::TensorView<const double> h, const GptqConfig& config) {
  KIT_CHECK(w.rank() == 2 && h.rank() == 2, "w {} and H {} must be matrices", w.shape().to_string(),
            h.shape().to_string());
  KIT_CHECK(h.dim(0) == w.dim(1) && h.dim(1) == w.dim(1), "H {} for w {}", h.shape().to_string(),
            w.shape().to_string());
  KIT_CHECK(config.grid.bits >= 2 && config.grid.bits <= 8, "{} bits", config.grid.bits);
  KIT_CHECK(config.grid.group_size >= 0 && config.block_size > 0, "group_size {}, block_size {}",
            config.grid.group_size, config.block_size);
  KIT_CHECK(config.damping >= 0.0, "damping {}", config.damping);
  for (const float x : w.span()) KIT_CHECK(std::isfinite(x), "a weight is {}", x);
  for (const double x : h.span()) KIT_CHECK(std::isfinite(x), "an element of H is {}", x);
  for (std::int64_t j = 0; j < h.dim(0); ++j) KIT_CHECK(h(j, j) >= 0.0, "H({0}, {0}) is {1}", j, h(j, j));
}

/// One row from its first column to its last.
void quantize_row(std::vector<float> w, const Matrix& shares, std::int64_t row, GroupQuantized& q) {
  const GroupConfig& config = q.config;
  const std::int64_t length = config.group_size == 0 ? q.cols : config.group_size;
  const int highest = config.symmetric ? (1 << (config.bits - 1)) - 1 : (1 << config.bits) - 1;
  Grid grid;
  for (std::int64_t j = 0; j < q.cols; ++j) {
    if (j % length == 0) {
      grid = grid_of(w.data() + j, w.data() + std::min(j + length, q.cols), config);
      q.scales.push_back(kit::to_half(grid.scale));
      if (!config.symmetric) q.zero_points.push_back(static_cast<std::uint8_t>(grid.zero_point));
    }
    const auto at = static_cast<std::size_t>(j);
    const int steps = static_cast<int>(std::rint(w[at] / grid.scale)) + grid.zero_point;
    const int code = std::clamp(steps, config.symmetric ? -highest : 0, highest);
    put(q.codes.data() + row * q.row_bytes(), j, config.bits, code);
    const float missing = w[at] - grid.scale * static_cast<float>(code - grid.zero_point);
    for (std::size_t k = at + 1; k < w.size(); ++k) w[k] -= static_cast<float>(missing * shares[at][k]);
  }
}

}  // namespace

void accumulate_hessian(kit::TensorView<const float> x, kit::TensorView<double> h) {
  KIT_CHECK(x.rank() == 2 && h.rank() == 2 && h.dim(0) == x.dim(1) && h.dim(1) == x.dim(1), "x {}, H {}",
            x.shape().to_string(), h.shape().to_string());
  for (const float value : x.span()) KIT_CHECK(std::isfinite(value), "an input is {}", value);
  for (std::int64_t i = 0; i < x.dim(1); ++i) {
    for (std::int64_t j = i; j < x.dim(1); ++j) {
      double sum = 0.0;
      for (std::int64_t t = 0; t < x.dim(0); ++t) sum += double{x(t, i)} * x(t, j);
      h(i, j) += 2.0 * sum;
      if (i != j) h(j, i) += 2.0 * sum;
    }
  }
}

GptqResult gptq(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
                const GptqConfig& config) {
  check(w, hessian, config);
  const auto n = static_cast<std::size_t>(w.dim(1));
  std::vector<std::pair<double, std::int32_t>> columns;  // -H(j, j), j: sorts by falling diagonal, then by j
  double sum = 0.0;
  for (std::int32_t j = 0; j < w.dim(1); ++j) {
    const double diagonal = hessian(j, j) == 0.0 ? 1.0 : hessian(j, j);
    columns.emplace_back(-diagonal, j);
    sum += diagonal;
  }
  if (config.act_order) std::sort(columns.begin(), columns.end());
  GptqResult result;
  for (const auto& [diagonal, j] : columns) result.order.push_back(j);

  Matrix inverse(n, std::vector<double>(n));
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t k = 0; k < n; ++k) inverse[j][k] = hessian(columns[j].second, columns[k].second);
    inverse[j][j] = -columns[j].first + config.damping * sum / static_cast<double>(n);
  }
  invert(inverse, result.order);
  // Once column j is decided it leaves the problem: the inverse of the smaller H is the larger one with j
  // eliminated. What w_k must take over of column j's error is then inverse(j, k) / inverse(j, j).
  for (std::size_t j = 0; j < n; ++j) {
    const double pivot = inverse[j][j];
    for (std::size_t k = j; k < n; ++k) inverse[j][k] /= pivot;
    for (std::size_t i = j + 1; i < n; ++i) {
      const double factor = inverse[i][j];
      for (std::size_t k = j; k < n; ++k) inverse[i][k] -= factor * inverse[j][k];
    }
  }

  GroupQuantized& q = result.weights;
  q.config = config.grid;
  q.rows = w.dim(0);
  q.cols = w.dim(1);
  q.codes.resize(static_cast<std::size_t>(q.rows * q.row_bytes()));
  for (std::int64_t i = 0; i < q.rows; ++i) {
    std::vector<float> row;
    for (const std::int32_t j : result.order) row.push_back(hessian(j, j) == 0.0 ? 0.0F : w(i, j));
    quantize_row(std::move(row), inverse, i, q);
  }
  if (!config.act_order) result.order.clear();
  return result;
}

}  // namespace lab04
