#include "lab04/per_channel.h"

#include <cmath>
#include <vector>

#include "kit/check.h"
#include "lab04/symmetric.h"

namespace lab04 {

namespace {

/// Where the elements of a channel lie: `count` of them, `stride` apart, from c * step on.
struct Layout {
  std::size_t n_channels, count, step, stride;
};

Layout layout_of(const kit::Shape& shape, ChannelAxis axis, std::size_t n_scales) {
  KIT_CHECK(shape.rank() == 2, "a matrix is needed, not {}", shape.to_string());
  const auto rows = static_cast<std::size_t>(shape[0]);
  const auto cols = static_cast<std::size_t>(shape[1]);
  const Layout layout =
      axis == ChannelAxis::kRows ? Layout{rows, cols, cols, 1} : Layout{cols, rows, 1, cols};
  KIT_CHECK(n_scales == layout.n_channels, "{} scales, {} channels", n_scales, layout.n_channels);
  return layout;
}

}  // namespace

void quantize_per_channel(kit::TensorView<const float> w, ChannelAxis axis, kit::TensorView<std::int8_t> q,
                          std::span<float> scales) {
  KIT_CHECK(w.shape() == q.shape(), "w is {}, q is {}", w.shape().to_string(), q.shape().to_string());
  const Layout layout = layout_of(w.shape(), axis, scales.size());
  for (std::int64_t flat = 0; flat < w.size(); ++flat) {
    KIT_CHECK(std::isfinite(w.data()[flat]), "{} in row {}, column {}", w.data()[flat], flat / w.dim(1),
              flat % w.dim(1));
  }
  std::vector<float> numbers(layout.count);
  std::vector<std::int8_t> codes(layout.count);
  for (std::size_t c = 0; c < layout.n_channels; ++c) {
    for (std::size_t k = 0; k < layout.count; ++k) numbers[k] = w.data()[c * layout.step + k * layout.stride];
    scales[c] = quantize_symmetric(numbers, codes);
    for (std::size_t k = 0; k < layout.count; ++k) q.data()[c * layout.step + k * layout.stride] = codes[k];
  }
}

void dequantize_per_channel(kit::TensorView<const std::int8_t> q, std::span<const float> scales,
                            ChannelAxis axis, kit::TensorView<float> w) {
  KIT_CHECK(w.shape() == q.shape(), "w is {}, q is {}", w.shape().to_string(), q.shape().to_string());
  const Layout layout = layout_of(q.shape(), axis, scales.size());
  std::vector<float> numbers(layout.count);
  std::vector<std::int8_t> codes(layout.count);
  for (std::size_t c = 0; c < layout.n_channels; ++c) {
    for (std::size_t k = 0; k < layout.count; ++k) codes[k] = q.data()[c * layout.step + k * layout.stride];
    dequantize_symmetric(codes, scales[c], numbers);
    for (std::size_t k = 0; k < layout.count; ++k) w.data()[c * layout.step + k * layout.stride] = numbers[k];
  }
}

}  // namespace lab04
