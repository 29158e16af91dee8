#include "lab04/symmetric.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kit/check.h"

// Task 1.

namespace lab04 {

namespace {

constexpr float kLargestCode = 127.0F;

/// max|x|, of numbers that all are numbers.
float checked_max_abs(std::span<const float> x) {
  float max = 0.0F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    KIT_CHECK(std::isfinite(x[i]), "x[{}] is {}, only finite numbers can be quantized", i, x[i]);
    max = std::max(max, std::abs(x[i]));
  }
  return max;
}

/// One step of the grid. Below the normal floats a step would lose its precision, or be 0 and divide by it.
float scale_for(float max_abs) {
  const float scale = max_abs / kLargestCode;
  return scale < std::numeric_limits<float>::min() ? 1.0F : scale;
}

}  // namespace

float quantize_symmetric(std::span<const float> x, std::span<std::int8_t> q) {
  KIT_CHECK(x.size() == q.size(), "{} numbers do not fit {} codes", x.size(), q.size());
  const float scale = scale_for(checked_max_abs(x));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float code = std::clamp(std::round(x[i] / scale), -kLargestCode, kLargestCode);
    q[i] = static_cast<std::int8_t>(code);
  }
  return scale;
}

void dequantize_symmetric(std::span<const std::int8_t> q, float scale, std::span<float> x) {
  KIT_CHECK(q.size() == x.size(), "{} codes do not fit {} numbers", q.size(), x.size());
  KIT_CHECK(std::isfinite(scale) && scale > 0.0F, "the scale is {}, must be positive and finite", scale);
  for (std::size_t i = 0; i < q.size(); ++i) x[i] = scale * static_cast<float>(q[i]);
}

}  // namespace lab04
