#include "lab04/quantized_products.h"

namespace lab04 {

void matvec_w8a16(kit::TensorView<const std::int8_t> w, std::span<const float> scales,
                  std::span<const float> x, std::span<float> y) {
  KIT_CHECK(w.rank() == 2, "w has rank {}", w.rank());
  const auto rows = static_cast<std::size_t>(w.dim(0));
  const auto cols = static_cast<std::size_t>(w.dim(1));
  KIT_CHECK(scales.size() == rows && y.size() == rows && x.size() == cols, "shapes do not fit");
  for (std::size_t o = 0; o < rows; ++o) {
    double sum = 0.0;
    for (std::size_t i = 0; i < cols; ++i) {
      sum += double{scales[o]} * w.row(static_cast<std::int64_t>(o))[i] * double{x[i]};
    }
    y[o] = static_cast<float>(sum);
  }
}

void matvec_w4a16(const GroupQuantized& w, std::span<const float> x, std::span<float> y) {
  const bool symmetric = w.config.symmetric;
  const auto rows = static_cast<std::size_t>(w.rows);
  const auto cols = static_cast<std::size_t>(w.cols);
  const auto n_groups = static_cast<std::size_t>(w.n_groups());
  KIT_CHECK(w.config.bits == 4, "{} bits", w.config.bits);
  KIT_CHECK(x.size() == cols && y.size() == rows, "x or y does not fit w");
  KIT_CHECK(w.codes.size() == rows * ((cols + 1) / 2) && w.scales.size() == rows * n_groups &&
                w.zero_points.size() == (symmetric ? 0 : rows * n_groups),
            "the parts of w do not fit each other");
  const std::size_t group_size =
      w.config.group_size == 0 ? cols : static_cast<std::size_t>(w.config.group_size);
  for (std::size_t o = 0; o < rows; ++o) {
    double sum = 0.0;
    for (std::size_t i = 0; i < cols; ++i) {
      const std::size_t group = o * n_groups + i / group_size;
      int code = (w.codes[o * ((cols + 1) / 2) + i / 2] >> (i % 2 * 4)) & 15;
      if (symmetric && code >= 8) code -= 16;
      if (!symmetric) code -= w.zero_points[group];
      sum += double{kit::to_float(w.scales[group])} * code * double{x[i]};
    }
    y[o] = static_cast<float>(sum);
  }
}

}  // namespace lab04
