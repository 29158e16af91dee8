#include "lab04/symmetric.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "kit/check.h"

namespace lab04 {

float quantize_symmetric(std::span<const float> x, std::span<std::int8_t> q) {
  KIT_CHECK(q.size() == x.size(), "x has {} elements, q has {}", x.size(), q.size());
  // NaN and infinity are what is not less than or equal to the largest float.
  const auto bad = std::ranges::find_if_not(x, [](float v) { return std::fabs(v) <= FLT_MAX; });
  KIT_CHECK(bad == x.end(), "element {} is {}", bad - x.begin(), *bad);

  const float largest = std::transform_reduce(
      x.begin(), x.end(), 0.0F, [](float a, float b) { return a < b ? b : a; },
      [](float v) { return std::fabs(v); });
  const float candidate = largest / 127.0F;
  const float scale = candidate >= FLT_MIN ? candidate : 1.0F;
  std::ranges::transform(x, q.begin(), [scale](float v) {
    const long code = std::lrintf(v / scale);
    return static_cast<std::int8_t>(code > 127 ? 127 : code < -127 ? -127 : code);
  });
  return scale;
}

void dequantize_symmetric(std::span<const std::int8_t> q, float scale, std::span<float> x) {
  KIT_CHECK(q.size() == x.size(), "x has {} elements, q has {}", x.size(), q.size());
  KIT_CHECK(scale > 0.0F && scale <= FLT_MAX, "scale {}", scale);
  std::ranges::transform(q, x.begin(),
                         [scale](std::int8_t code) { return static_cast<float>(code) * scale; });
}

}  // namespace lab04
