#include "lab04/asymmetric.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "kit/check.h"

namespace lab04 {

AffineParameters quantize_asymmetric(std::span<const float> x, std::span<std::uint8_t> q) {
  KIT_CHECK(q.size() == x.size(), "x has {} elements, q has {}", x.size(), q.size());
  const auto bad = std::ranges::find_if_not(x, [](float v) { return std::isfinite(v); });
  KIT_CHECK(bad == x.end(), "element {} is {}", bad - x.begin(), *bad);
  const float low = x.empty() ? 0.0F : std::min(0.0F, std::ranges::min(x));
  const float high = x.empty() ? 0.0F : std::max(0.0F, std::ranges::max(x));
  KIT_CHECK(high <= FLT_MAX + low, "{} .. {} is too wide", low, high);

  const float scale = (high - low) / 255.0F;
  if (scale < FLT_MIN) {
    std::ranges::fill(q, std::uint8_t{0});
    return {};
  }
  const long zero_point = std::min(std::lrintf(-low / scale), 255L);
  for (std::size_t i = 0; i < x.size(); ++i) {
    // From -255 steps to 255; the zero point is a whole number of them.
    const long code = zero_point + std::lrintf(x[i] / scale);
    q[i] = static_cast<std::uint8_t>(std::min(std::max(code, 0L), 255L));
  }
  return {scale, static_cast<int>(zero_point)};
}

void dequantize_asymmetric(std::span<const std::uint8_t> q, const AffineParameters& parameters,
                           std::span<float> x) {
  KIT_CHECK(q.size() == x.size(), "x has {} elements, q has {}", x.size(), q.size());
  KIT_CHECK(parameters.scale > 0.0F && parameters.scale <= FLT_MAX, "scale {}", parameters.scale);
  KIT_CHECK(0 <= parameters.zero_point && parameters.zero_point < 256, "zero point {}",
            parameters.zero_point);
  std::array<float, 256> number{};
  for (int code = 0; code < 256; ++code) {
    number[static_cast<std::size_t>(code)] =
        static_cast<float>(code - parameters.zero_point) * parameters.scale;
  }
  for (std::size_t i = 0; i < q.size(); ++i) x[i] = number[q[i]];
}

}  // namespace lab04
