#include "lab04/per_channel.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/check.h"

// Task 3. Both axes walk the matrix in the order of memory; only which scale an element has is different.

namespace lab04 {

namespace {

constexpr float kLargestCode = 127.0F;

std::size_t channel_of(std::int64_t i, std::int64_t j, ChannelAxis axis) {
  return static_cast<std::size_t>(axis == ChannelAxis::kRows ? j : i);
}

void check_shapes(const kit::Shape& w, const kit::Shape& q, std::size_t n_scales, ChannelAxis axis) {
  KIT_CHECK(w.rank() == 2 && w == q, "w {} and q {}: want one shape [rows, cols]", w.to_string(),
            q.to_string());
  const bool by_rows = axis == ChannelAxis::kColumns;
  KIT_CHECK(n_scales == static_cast<std::size_t>(by_rows ? w[0] : w[1]), "{} scales for the {} of {}",
            n_scales, by_rows ? "rows" : "columns", w.to_string());
}

/// scales[c] = a step of channel c, max|w| / 127; 1 where that is no normal float.
void find_scales(kit::TensorView<const float> w, ChannelAxis axis, std::span<float> scales) {
  std::ranges::fill(scales, 0.0F);
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      KIT_CHECK(std::isfinite(w(i, j)), "w({}, {}) is {}, only finite numbers can be quantized", i, j,
                w(i, j));
      float& max = scales[channel_of(i, j, axis)];
      max = std::max(max, std::abs(w(i, j)));
    }
  }
  for (float& scale : scales) {
    scale /= kLargestCode;
    if (scale < std::numeric_limits<float>::min()) scale = 1.0F;
  }
}

}  // namespace

void quantize_per_channel(kit::TensorView<const float> w, ChannelAxis axis, kit::TensorView<std::int8_t> q,
                          std::span<float> scales) {
  check_shapes(w.shape(), q.shape(), scales.size(), axis);
  find_scales(w, axis, scales);
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      const float steps = std::nearbyint(w(i, j) / scales[channel_of(i, j, axis)]);  // ties to even
      q(i, j) = static_cast<std::int8_t>(std::clamp(steps, -kLargestCode, kLargestCode));
    }
  }
}

void dequantize_per_channel(kit::TensorView<const std::int8_t> q, std::span<const float> scales,
                            ChannelAxis axis, kit::TensorView<float> w) {
  check_shapes(w.shape(), q.shape(), scales.size(), axis);
  for (std::size_t c = 0; c < scales.size(); ++c) {
    KIT_CHECK(std::isfinite(scales[c]) && scales[c] > 0.0F, "scales[{}] is {}, must be positive and finite",
              c, scales[c]);
  }
  for (std::int64_t i = 0; i < q.dim(0); ++i) {
    for (std::int64_t j = 0; j < q.dim(1); ++j)
      w(i, j) = scales[channel_of(i, j, axis)] * static_cast<float>(q(i, j));
  }
}

}  // namespace lab04
