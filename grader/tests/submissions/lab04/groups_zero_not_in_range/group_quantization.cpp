#include "lab04/group_quantization.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"

namespace lab04 {

namespace {

struct CodeRange {
  int low = 0;
  int high = 0;
};

/// -m .. m, or 0 .. 2^bits - 1. So `high` is also what the widest weight of a group is divided by.
CodeRange code_range(const GroupConfig& config) {
  const int high = (1 << (config.symmetric ? config.bits - 1 : config.bits)) - 1;
  return {.low = config.symmetric ? -high : 0, .high = high};
}

void check_config(const GroupConfig& config) {
  KIT_CHECK(config.bits >= 2 && config.bits <= 8, "bits is {}, must be 2 to 8", config.bits);
  KIT_CHECK(config.group_size >= 0, "group_size is {}, must not be negative", config.group_size);
}

void check_finite(kit::TensorView<const float> w) {
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j)
      KIT_CHECK(std::isfinite(w(i, j)), "w({}, {}) is {}, must be finite", i, j, w(i, j));
  }
}

/// Columns [begin, end): a group never leaves its row.
struct Columns {
  Columns(const GroupQuantized& q, std::int64_t group)
      : begin(group * q.config.group_size),
        end(q.config.group_size == 0 ? q.cols : std::min(begin + q.config.group_size, q.cols)) {}

  std::span<const float> of(std::span<const float> row) const {
    return row.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }

  std::int64_t begin;
  std::int64_t end;
};

/// Ties to even: the rounding mode that every program starts with.
int round_to_int(float x) {
  return static_cast<int>(std::lrint(x));
}

struct Grid {
  kit::Half scale;
  int zero_point = 0;
};

Grid fit_grid(std::span<const float> group, const GroupConfig& config) {
  float low = group.empty() ? 0.0F : group[0];
  float high = low;
  for (const float x : group) {
    low = std::min(low, x);
    high = std::max(high, x);
  }
  const CodeRange range = code_range(config);
  const float width = config.symmetric ? std::max(-low, high) : high - low;
  const kit::Half scale = kit::to_half(width / static_cast<float>(range.high));
  const float step = kit::to_float(scale);  // what a reader of the codes will multiply by
  KIT_CHECK(std::isfinite(step), "weights from {} to {} need a scale of {}, binary16 ends at 65504", low,
            high, width / static_cast<float>(range.high));
  if (step == 0.0F) return {.scale = kit::to_half(1.0F)};
  if (config.symmetric) return {.scale = scale};
  return {.scale = scale, .zero_point = std::clamp(round_to_int(-low / step), range.low, range.high)};
}

/// The low `bits` bits of `code` as a number in two's complement.
int sign_extended(std::uint8_t code, int bits) {
  const int sign_bit = 1 << (bits - 1);
  return (code ^ sign_bit) - sign_bit;
}

}  // namespace

GroupQuantized quantize_groups(kit::TensorView<const float> w, const GroupConfig& config) {
  check_config(config);
  KIT_CHECK(w.rank() == 2, "w {} must be [rows, cols]", w.shape().to_string());
  check_finite(w);
  GroupQuantized q;
  q.config = config;
  q.rows = w.dim(0);
  q.cols = w.dim(1);
  const CodeRange range = code_range(config);
  const int mask = (1 << config.bits) - 1;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(q.cols));  // of a row
  for (std::int64_t row = 0; row < q.rows; ++row) {
    for (std::int64_t group = 0; group < q.n_groups(); ++group) {
      const Columns columns(q, group);
      const Grid grid = fit_grid(columns.of(w.row(row)), config);
      const float scale = kit::to_float(grid.scale);
      for (std::int64_t j = columns.begin; j < columns.end; ++j) {
        const int code = std::clamp(round_to_int(w(row, j) / scale) + grid.zero_point, range.low, range.high);
        codes[static_cast<std::size_t>(j)] = static_cast<std::uint8_t>(code & mask);
      }
      q.scales.push_back(grid.scale);
      if (!config.symmetric) q.zero_points.push_back(static_cast<std::uint8_t>(grid.zero_point));
    }
    const std::vector<std::uint8_t> packed = pack_bits(codes, config.bits);
    q.codes.insert(q.codes.end(), packed.begin(), packed.end());
  }
  return q;
}

void dequantize_groups(const GroupQuantized& q, kit::TensorView<float> w) {
  check_config(q.config);
  KIT_CHECK(w.shape() == kit::Shape({q.rows, q.cols}), "w is {}, the weight [{}, {}]", w.shape().to_string(),
            q.rows, q.cols);
  const std::int64_t n_groups = q.rows * q.n_groups();
  KIT_CHECK(std::ssize(q.codes) == q.rows * q.row_bytes() && std::ssize(q.scales) == n_groups &&
                std::ssize(q.zero_points) == (q.config.symmetric ? 0 : n_groups),
            "{} bytes of codes, {} scales and {} zero points for {} rows of {} bytes and {} groups",
            q.codes.size(), q.scales.size(), q.zero_points.size(), q.rows, q.row_bytes(), q.n_groups());
  const int bits = q.config.bits;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(q.cols));  // of a row
  for (std::int64_t row = 0; row < q.rows; ++row) {
    const auto row_bytes = static_cast<std::size_t>(q.row_bytes());
    unpack_bits(std::span(q.codes).subspan(static_cast<std::size_t>(row) * row_bytes, row_bytes), bits,
                codes);
    for (std::int64_t group = 0; group < q.n_groups(); ++group) {
      const Columns columns(q, group);
      const auto g = static_cast<std::size_t>(row * q.n_groups() + group);
      const float scale = kit::to_float(q.scales[g]);
      for (std::int64_t j = columns.begin; j < columns.end; ++j) {
        const std::uint8_t code = codes[static_cast<std::size_t>(j)];
        const int steps = q.config.symmetric ? sign_extended(code, bits) : code - q.zero_points[g];
        w(row, j) = scale * static_cast<float>(steps);
      }
    }
  }
}

}  // namespace lab04
