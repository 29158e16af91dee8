#include "lab04/group_quantization.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"

namespace lab04 {

namespace {

std::int64_t group_of(const GroupQuantized& q, std::int64_t row, std::int64_t column) {
  return row * q.n_groups() + (q.config.group_size == 0 ? 0 : column / q.config.group_size);
}

/// The smallest and the largest weight of every group, and zero.
struct Extremes {
  std::vector<float> low;
  std::vector<float> high;
};

Extremes extremes(kit::TensorView<const float> w, const GroupQuantized& q) {
  const std::vector<float> zeros(static_cast<std::size_t>(q.rows * q.n_groups()), 0.0F);
  Extremes e{.low = zeros, .high = zeros};
  for (std::int64_t row = 0; row < q.rows; ++row) {
    for (std::int64_t column = 0; column < q.cols; ++column) {
      const float x = w(row, column);
      KIT_CHECK(x - x == 0.0F, "{} in row {}, column {}", x, row, column);
      const auto g = static_cast<std::size_t>(group_of(q, row, column));
      e.low[g] = std::min(e.low[g], x);
      e.high[g] = std::max(e.high[g], x);
    }
  }
  return e;
}

void check_config(const GroupConfig& config) {
  KIT_CHECK(config.bits > 1 && config.bits < 9, "{} bits", config.bits);
  KIT_CHECK(config.group_size >= 0, "group_size {}", config.group_size);
}

}  // namespace

GroupQuantized quantize_groups(kit::TensorView<const float> w, const GroupConfig& config) {
  check_config(config);
  KIT_CHECK(w.rank() == 2, "{}", w.shape().to_string());
  GroupQuantized q{
      .config = config, .rows = w.dim(0), .cols = w.dim(1), .codes = {}, .scales = {}, .zero_points = {}};
  const float highest = std::exp2(static_cast<float>(config.bits - (config.symmetric ? 1 : 0))) - 1.0F;
  const float lowest = config.symmetric ? -highest : 0.0F;

  const Extremes e = extremes(w, q);
  for (std::size_t g = 0; g < e.low.size(); ++g) {
    const float width = config.symmetric ? std::max(e.high[g], -e.low[g]) : e.high[g] - e.low[g];
    q.scales.push_back(kit::to_half(width / highest));
    float scale = kit::to_float(q.scales.back());
    KIT_CHECK(scale <= 65504.0F, "a scale of {}", width / highest);
    if (scale == 0.0F) {
      q.scales.back() = kit::to_half(1.0F);
      scale = kit::to_float(kit::to_half(INFINITY));  // everything, and so the zero point, is 0 of these
    }
    if (!config.symmetric) {
      const float zero_point = std::min(std::rint(-e.low[g] / scale), highest);
      q.zero_points.push_back(static_cast<std::uint8_t>(zero_point));
    }
  }

  std::vector<std::uint8_t> row_codes(static_cast<std::size_t>(q.cols));
  for (std::int64_t row = 0; row < q.rows; ++row) {
    for (std::int64_t column = 0; column < q.cols; ++column) {
      const auto g = static_cast<std::size_t>(group_of(q, row, column));
      float code = std::rint(w(row, column) / kit::to_float(q.scales[g]));
      if (!config.symmetric) code += static_cast<float>(q.zero_points[g]);
      code = std::min(std::max(code, lowest), highest);
      // A negative code and 2^bits more have the same low bits.
      if (code < 0) code += 2.0F * highest + 2.0F;
      row_codes[static_cast<std::size_t>(column)] = static_cast<std::uint8_t>(code);
    }
    for (const std::uint8_t byte : pack_bits(row_codes, config.bits)) q.codes.push_back(byte);
  }
  return q;
}

void dequantize_groups(const GroupQuantized& q, kit::TensorView<float> w) {
  check_config(q.config);
  KIT_CHECK(w.rank() == 2 && w.dim(0) == q.rows && w.dim(1) == q.cols, "{} for [{}, {}]",
            w.shape().to_string(), q.rows, q.cols);
  const auto n_groups = static_cast<std::size_t>(q.rows * q.n_groups());
  KIT_CHECK(q.codes.size() == static_cast<std::size_t>(q.rows * q.row_bytes()), "{} bytes", q.codes.size());
  KIT_CHECK(q.scales.size() == n_groups, "{} scales", q.scales.size());
  KIT_CHECK(q.zero_points.size() == (q.config.symmetric ? 0 : n_groups), "{} zero points",
            q.zero_points.size());

  const int n_codes = 1 << q.config.bits;
  std::vector<float> values(static_cast<std::size_t>(n_codes));  // of each code, in the group at hand
  std::vector<std::uint8_t> row_codes(static_cast<std::size_t>(q.cols));
  for (std::int64_t row = 0; row < q.rows; ++row) {
    const std::span<const std::uint8_t> packed(q.codes.data() + row * q.row_bytes(),
                                               static_cast<std::size_t>(q.row_bytes()));
    unpack_bits(packed, q.config.bits, row_codes);
    std::int64_t tabulated = -1;
    for (std::int64_t column = 0; column < q.cols; ++column) {
      const std::int64_t g = group_of(q, row, column);
      for (int code = 0; g != tabulated && code < n_codes; ++code) {
        const int zero_point = q.config.symmetric ? (code < n_codes / 2 ? 0 : n_codes)
                                                  : q.zero_points[static_cast<std::size_t>(g)];
        values[static_cast<std::size_t>(code)] =
            static_cast<float>(code - zero_point) * kit::to_float(q.scales[static_cast<std::size_t>(g)]);
      }
      tabulated = g;
      w(row, column) = values[row_codes[static_cast<std::size_t>(column)]];
    }
  }
}

}  // namespace lab04
