#include "lab01/roofline.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"

namespace lab01 {

namespace {

// Both are written so that NaN fails.
void check_positive(const char* name, double value) {
  KIT_CHECK(value > 0 && std::isfinite(value), "{} is {}, must be positive and finite", name, value);
}

void check_not_negative(const char* name, double value) {
  KIT_CHECK(value >= 0 && std::isfinite(value), "{} is {}, must be finite and not negative", name, value);
}

void check_roof(const Roof& roof) {
  check_positive("peak_flop_per_s", roof.peak_flop_per_s);
  check_positive("bandwidth_bytes_per_s", roof.bandwidth_bytes_per_s);
}

}  // namespace

double arithmetic_intensity(double flops, double bytes) {
  check_not_negative("flops", flops);
  check_positive("bytes", bytes);
  return flops / bytes;
}

double ridge_point(const Roof& roof) {
  check_roof(roof);
  return roof.bandwidth_bytes_per_s / roof.peak_flop_per_s;
}

double attainable_flop_per_s(const Roof& roof, double intensity) {
  check_roof(roof);
  check_not_negative("intensity", intensity);
  return std::min(roof.peak_flop_per_s, intensity * roof.bandwidth_bytes_per_s);
}

Bound bound(const Roof& roof, double intensity) {
  check_not_negative("intensity", intensity);
  return intensity < ridge_point(roof) ? Bound::kMemory : Bound::kCompute;
}

double time_floor_ms(const Roof& roof, double flops, double bytes) {
  check_roof(roof);
  check_not_negative("flops", flops);
  check_positive("bytes", bytes);
  return 1e3 * std::max(flops / roof.peak_flop_per_s, bytes / roof.bandwidth_bytes_per_s);
}

}  // namespace lab01
