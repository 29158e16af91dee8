#include <algorithm>

#include "kit/parallel.h"
#include "lab04/quantized_products.h"

// By the book: a code becomes a float in a register and is multiplied there. fast_products.cpp has the same
// for rows of whole blocks at the speed of memory, and is used where it can be.

namespace lab04 {

namespace {

/// Below this many multiply-adds waking another core costs more than it saves.
constexpr std::int64_t kSerialWork = 192 * 1024;

float multiply_int8_row(std::span<const std::int8_t> w, std::span<const float> x) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<float>(w[i]) * x[i];
  return sum;
}

float multiply_int4_row(const GroupQuantized& w, std::int64_t row, std::span<const float> x) {
  const std::uint8_t* codes = w.codes.data() + row * w.row_bytes();
  const std::int64_t group_size = w.config.group_size == 0 ? w.cols : w.config.group_size;
  float total = 0.0F;
  for (std::int64_t g = 0; g < w.n_groups(); ++g) {
    const int zero_point = w.config.symmetric ? 8 : w.zero_points[row * w.n_groups() + g];
    float sum = 0.0F;
    for (std::int64_t i = std::max<std::int64_t>(0, g * group_size - 1);
         i < (g + 1 == w.n_groups() ? w.cols : (g + 1) * group_size - 1); ++i) {
      const int code = i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
      sum += static_cast<float>((w.config.symmetric ? code ^ 8 : code) - zero_point) * x[i];
    }
    total += kit::to_float(w.scales[row * w.n_groups() + g]) * sum;
  }
  return total;
}

void check_parts(const GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  KIT_CHECK(w.config.bits == 4, "matvec_w4a16: the codes have {} bits, not 4", w.config.bits);
  KIT_CHECK(w.config.group_size >= 0 && w.rows >= 0 && w.cols >= 0,
            "matvec_w4a16: w is [{}, {}] in groups of {}", w.rows, w.cols, w.config.group_size);
  const std::int64_t n_scales = w.rows * w.n_groups();
  const std::int64_t n_zero_points = w.config.symmetric ? 0 : n_scales;
  KIT_CHECK(std::ssize(w.codes) == w.rows * w.row_bytes() && std::ssize(w.scales) == n_scales &&
                std::ssize(w.zero_points) == n_zero_points,
            "matvec_w4a16: w [{}, {}] in groups of {} has {} bytes of codes, {} scales and {} zero points, "
            "not {}, {} and {}",
            w.rows, w.cols, w.config.group_size, w.codes.size(), w.scales.size(), w.zero_points.size(),
            w.rows * w.row_bytes(), n_scales, n_zero_points);
  KIT_CHECK(std::ssize(x) == w.cols && std::ssize(y) == w.rows,
            "matvec_w4a16: x has {} elements and y {}, for w [{}, {}]", x.size(), y.size(), w.rows, w.cols);
}

}  // namespace

void matvec_w8a16(kit::TensorView<const std::int8_t> w, std::span<const float> scales,
                  std::span<const float> x, std::span<float> y) {
  KIT_CHECK(
      w.rank() == 2 && std::ssize(x) == w.dim(1) && std::ssize(y) == w.dim(0) && scales.size() == y.size(),
      "matvec_w8a16: w {} (out, in), {} scales (out), x of {} (in) and y of {} (out) do not fit",
      w.shape().to_string(), scales.size(), x.size(), y.size());
  const std::int64_t grain = kSerialWork / std::max<std::int64_t>(w.dim(1), 1) + 1;
  kit::parallel_for(w.dim(0), grain, [&](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) y[row] = scales[row] * multiply_int8_row(w.row(row), x);
  });
}

void matvec_w4a16(const GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  check_parts(w, x, y);
  const std::int64_t grain = kSerialWork / std::max<std::int64_t>(w.cols, 1) + 1;
  kit::parallel_for(w.rows, grain, [&](std::int64_t row, std::int64_t end) {
    for (; row < end; ++row) y[row] = multiply_int4_row(w, row, x);
  });
}

}  // namespace lab04
