#include "lab04/asymmetric.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/check.h"

// Task 2.

namespace lab04 {

namespace {

constexpr float kLargestCode = 255.0F;

struct Range {
  float low = 0.0F;   // <= 0
  float high = 0.0F;  // >= 0
};

/// The smallest range that holds all of x, and 0: padding, ReLU and masks make zeros that must stay zeros.
Range checked_range(std::span<const float> x) {
  Range range;
  for (std::size_t i = 0; i < x.size(); ++i) {
    KIT_CHECK(std::isfinite(x[i]), "x[{}] is {}, only finite numbers can be quantized", i, x[i]);
    range.low = std::min(range.low, x[i]);
    range.high = std::max(range.high, x[i]);
  }
  KIT_CHECK(std::isfinite(range.high - range.low), "the range {} .. {} is wider than a float can say",
            range.low, range.high);
  return range;
}

/// Ties to the even integer, then 0 to 255.
float nearest_code(float x) {
  return std::clamp(std::nearbyint(x), 0.0F, kLargestCode);
}

AffineParameters parameters_for(Range range) {
  const float scale = (range.high - range.low) / kLargestCode;  // 256 codes have 255 steps between them
  if (scale < std::numeric_limits<float>::min()) return {.scale = 1.0F, .zero_point = 0};
  return {.scale = scale, .zero_point = static_cast<int>(nearest_code(-range.low / scale))};
}

}  // namespace

AffineParameters quantize_asymmetric(std::span<const float> x, std::span<std::uint8_t> q) {
  KIT_CHECK(x.size() == q.size(), "{} numbers do not fit {} codes", x.size(), q.size());
  const AffineParameters parameters = parameters_for(checked_range(x));
  const auto zero_point = static_cast<float>(parameters.zero_point);
  for (std::size_t i = 0; i < x.size(); ++i) {
    q[i] = static_cast<std::uint8_t>(nearest_code(x[i] / parameters.scale + zero_point));
  }
  return parameters;
}

void dequantize_asymmetric(std::span<const std::uint8_t> q, const AffineParameters& parameters,
                           std::span<float> x) {
  const auto [scale, zero_point] = parameters;
  KIT_CHECK(q.size() == x.size(), "{} codes do not fit {} numbers", q.size(), x.size());
  KIT_CHECK(std::isfinite(scale) && scale > 0.0F, "the scale is {}, must be positive and finite", scale);
  KIT_CHECK(zero_point >= 0 && zero_point <= 255, "the zero point is {}, must be a code, 0 to 255",
            zero_point);
  // The difference first, in integers: so the code of 0 gives 0 exactly.
  for (std::size_t i = 0; i < q.size(); ++i) x[i] = scale * static_cast<float>(q[i] - zero_point);
}

}  // namespace lab04
