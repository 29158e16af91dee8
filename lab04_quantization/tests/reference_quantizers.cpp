#include "reference_quantizers.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/linear.h"

namespace lab04_tests {
namespace {

using kit::Tensor;
using kit::TensorView;
using lab04::GroupConfig;
using lab04::GroupQuantized;

constexpr float kSmallestNormal = std::numeric_limits<float>::min();

float max_abs(std::span<const float> x) {
  float largest = 0.0F;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

/// Symmetric INT8 of some numbers; returns the scale.
float int8(std::span<const float> x, std::span<std::int8_t> codes) {
  float scale = max_abs(x) / 127.0F;
  if (scale < kSmallestNormal) scale = 1.0F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    codes[i] = static_cast<std::int8_t>(std::clamp(round_half_even(x[i] / scale), -127.0F, 127.0F));
  }
  return scale;
}

/// The scale as it is stored, and the zero point, of one group.
struct Grid {
  kit::Half scale;
  int zero_point = 0;
};

Grid grid_of(std::span<const float> group, const GroupConfig& config) {
  Grid grid;
  if (config.symmetric) {
    const int largest_code = (1 << (config.bits - 1)) - 1;
    grid.scale = kit::to_half(max_abs(group) / static_cast<float>(largest_code));
    if (kit::to_float(grid.scale) == 0.0F) grid.scale = kit::to_half(1.0F);
    return grid;
  }
  const auto n_steps = static_cast<float>((1 << config.bits) - 1);
  float low = 0.0F;
  float high = 0.0F;
  for (const float value : group) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  grid.scale = kit::to_half((high - low) / n_steps);
  const float scale = kit::to_float(grid.scale);
  if (scale == 0.0F) return {kit::to_half(1.0F), 0};
  grid.zero_point = static_cast<int>(std::clamp(round_half_even(-low / scale), 0.0F, n_steps));
  return grid;
}

int code_of(float x, const Grid& grid, const GroupConfig& config) {
  const float steps = round_half_even(x / kit::to_float(grid.scale));
  const int largest = config.symmetric ? (1 << (config.bits - 1)) - 1 : (1 << config.bits) - 1;
  const int smallest = config.symmetric ? -largest : 0;
  // In float: a weight far beyond the others' scale must not overflow an int.
  return static_cast<int>(std::clamp(steps + static_cast<float>(grid.zero_point),
                                     static_cast<float>(smallest), static_cast<float>(largest)));
}

void put_bits(std::span<std::uint8_t> row, std::int64_t index, int bits, int code) {
  for (int b = 0; b < bits; ++b) {
    const std::int64_t bit = index * bits + b;
    const int value = (code >> b) & 1;
    row[static_cast<std::size_t>(bit / 8)] |= static_cast<std::uint8_t>(value << (bit % 8));
  }
}

int get_bits(std::span<const std::uint8_t> row, std::int64_t index, int bits) {
  int code = 0;
  for (int b = 0; b < bits; ++b) {
    const std::int64_t bit = index * bits + b;
    code |= ((row[static_cast<std::size_t>(bit / 8)] >> (bit % 8)) & 1) << b;
  }
  return code;
}

std::int64_t group_length(const GroupQuantized& q) {
  return q.config.group_size == 0 ? q.cols : q.config.group_size;
}

}  // namespace

float round_half_even(float x) {
  // Numbers from 2^23 on are integers already; below, floor and the rest are exact.
  if (!(std::abs(x) < 8388608.0F)) return x;
  const float below = std::floor(x);
  const float rest = x - below;
  if (rest != 0.5F) return rest < 0.5F ? below : below + 1.0F;
  return std::fmod(below, 2.0F) == 0.0F ? below : below + 1.0F;
}

Int8Matrix reference_int8_rows(TensorView<const float> w) {
  Int8Matrix q{Tensor<std::int8_t>(w.shape()), {}};
  for (std::int64_t i = 0; i < w.dim(0); ++i) q.scales.push_back(int8(w.row(i), q.codes.row(i)));
  return q;
}

Tensor<float> reference_dequantize_rows(TensorView<const std::int8_t> codes, std::span<const float> scales) {
  KIT_CHECK(static_cast<std::int64_t>(scales.size()) == codes.dim(0), "{} scales for {} rows", scales.size(),
            codes.dim(0));
  Tensor<float> w(codes.shape());
  for (std::int64_t i = 0; i < codes.dim(0); ++i) {
    for (std::int64_t j = 0; j < codes.dim(1); ++j) {
      w(i, j) = static_cast<float>(codes(i, j)) * scales[static_cast<std::size_t>(i)];
    }
  }
  return w;
}

Tensor<float> reference_int8_per_tensor(TensorView<const float> w) {
  Tensor<std::int8_t> codes(w.shape());
  const float scale = int8(w.span(), codes.span());
  Tensor<float> result(w.shape());
  for (std::int64_t i = 0; i < w.size(); ++i) result.data()[i] = static_cast<float>(codes.data()[i]) * scale;
  return result;
}

GroupQuantized reference_quantize_groups(TensorView<const float> w, const GroupConfig& config) {
  GroupQuantized q{
      .config = config, .rows = w.dim(0), .cols = w.dim(1), .codes = {}, .scales = {}, .zero_points = {}};
  q.codes.resize(static_cast<std::size_t>(q.rows * q.row_bytes()));
  for (std::int64_t i = 0; i < q.rows; ++i) {
    const std::span<std::uint8_t> row(q.codes.data() + i * q.row_bytes(),
                                      static_cast<std::size_t>(q.row_bytes()));
    for (std::int64_t g = 0; g < q.n_groups(); ++g) {
      const std::int64_t begin = g * group_length(q);
      const std::int64_t end = std::min(q.cols, begin + group_length(q));
      const Grid grid = grid_of(
          w.row(i).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)), config);
      q.scales.push_back(grid.scale);
      if (!config.symmetric) q.zero_points.push_back(static_cast<std::uint8_t>(grid.zero_point));
      for (std::int64_t j = begin; j < end; ++j)
        put_bits(row, j, config.bits, code_of(w(i, j), grid, config));
    }
  }
  return q;
}

std::string problem_of(const GroupQuantized& q) {
  if (q.config.bits < 2 || q.config.bits > 8) return fmt::format("{} bits", q.config.bits);
  if (q.config.group_size < 0) return fmt::format("a group_size of {}", q.config.group_size);
  constexpr std::int64_t kMostElements = std::int64_t{1} << 31;
  if (q.rows < 0 || q.cols < 0 || (q.cols > 0 && q.rows > kMostElements / q.cols))
    return fmt::format("{} rows of {} columns", q.rows, q.cols);
  const auto n_codes = static_cast<std::size_t>(q.rows * q.row_bytes());
  if (q.codes.size() != n_codes) {
    return fmt::format(
        "{} bytes of codes instead of {}: {} rows of {} codes of {} bits, each from a byte of its own",
        q.codes.size(), n_codes, q.rows, q.cols, q.config.bits);
  }
  const auto n_scales = static_cast<std::size_t>(q.rows * q.n_groups());
  if (q.scales.size() != n_scales)
    return fmt::format("{} scales instead of {} rows of {}", q.scales.size(), q.rows, q.n_groups());
  const std::size_t n_zero_points = q.config.symmetric ? 0 : n_scales;
  if (q.zero_points.size() != n_zero_points)
    return fmt::format("{} zero points instead of {}", q.zero_points.size(), n_zero_points);
  for (std::size_t i = 0; i < n_scales; ++i) {
    const float scale = kit::to_float(q.scales[i]);
    if (!(scale > 0.0F) || !std::isfinite(scale)) return fmt::format("scale {} is {}", i, scale);
  }
  return {};
}

Tensor<int> reference_codes(const GroupQuantized& q) {
  const std::string problem = problem_of(q);
  KIT_CHECK(problem.empty(), "quantized groups with {}", problem);
  Tensor<int> codes({q.rows, q.cols});
  const int sign = 1 << (q.config.bits - 1);
  for (std::int64_t i = 0; i < q.rows; ++i) {
    const std::span<const std::uint8_t> row(q.codes.data() + i * q.row_bytes(),
                                            static_cast<std::size_t>(q.row_bytes()));
    for (std::int64_t j = 0; j < q.cols; ++j) {
      const int code = get_bits(row, j, q.config.bits);
      codes(i, j) = q.config.symmetric ? (code ^ sign) - sign : code;
    }
  }
  return codes;
}

Tensor<float> reference_dequantize_groups(const GroupQuantized& q) {
  const Tensor<int> codes = reference_codes(q);
  Tensor<float> w({q.rows, q.cols});
  const std::int64_t length = std::max<std::int64_t>(group_length(q), 1);
  for (std::int64_t i = 0; i < q.rows; ++i) {
    for (std::int64_t j = 0; j < q.cols; ++j) {
      const auto group = static_cast<std::size_t>(i * q.n_groups() + j / length);
      const int zero_point = q.config.symmetric ? 0 : q.zero_points[group];
      w(i, j) = kit::to_float(q.scales[group]) * static_cast<float>(codes(i, j) - zero_point);
    }
  }
  return w;
}

std::int64_t size_bytes(const GroupQuantized& q) {
  return static_cast<std::int64_t>(q.codes.size() + 2 * q.scales.size() + q.zero_points.size());
}

Tensor<double> reference_hessian(TensorView<const float> x) {
  const std::int64_t n = x.dim(0);
  const std::int64_t in = x.dim(1);
  Tensor<float> columns({in, n});
  for (std::int64_t t = 0; t < n; ++t) {
    for (std::int64_t j = 0; j < in; ++j) columns(j, t) = x(t, j);
  }
  Tensor<float> products({in, in});
  kit::linear(columns, columns, products);
  Tensor<double> h({in, in});
  for (std::int64_t i = 0; i < in; ++i) {
    // One triangle for both: a Cholesky factor wants symmetry.
    for (std::int64_t j = 0; j <= i; ++j) h(i, j) = h(j, i) = 2.0 * products(i, j);
  }
  return h;
}

kit::Tensor<float> decoded_or_fail(const lab04::GroupQuantized& q, kit::TensorView<const float> w) {
  const std::string problem = problem_of(q);
  EXPECT_EQ(problem, "");
  if (!problem.empty() || q.rows != w.dim(0) || q.cols != w.dim(1)) return kit::clone(w);
  return reference_dequantize_groups(q);
}

}  // namespace lab04_tests
