#include "lab01/roofline.h"

#include <cmath>

#include "kit/check.h"

namespace lab01 {

namespace {

double checked(const char* name, double value, bool may_be_zero) {
  KIT_CHECK(std::isfinite(value) && (value > 0 || (may_be_zero && value == 0)), "{}: {}", name, value);
  return value;
}

double compute_s(const Roof& roof, double flops) {
  return checked("flops", flops, true) / checked("peak_flop_per_s", roof.peak_flop_per_s, false);
}

double memory_s(const Roof& roof, double bytes) {
  return checked("bytes", bytes, false) / checked("bandwidth_bytes_per_s", roof.bandwidth_bytes_per_s, false);
}

}  // namespace

double arithmetic_intensity(double flops, double bytes) {
  return checked("flops", flops, true) / checked("bytes", bytes, false);
}

double ridge_point(const Roof& roof) {
  return memory_s(roof, 1.0) / compute_s(roof, 1.0);  // FLOPs that take as long as one byte
}

double attainable_flop_per_s(const Roof& roof, double intensity) {
  const double flops = checked("intensity", intensity, true);  // of one byte
  return flops / std::fmax(compute_s(roof, flops), memory_s(roof, 1.0));
}

Bound bound(const Roof& roof, double intensity) {
  return memory_s(roof, 1.0) > compute_s(roof, checked("intensity", intensity, true)) ? Bound::kMemory
                                                                                      : Bound::kCompute;
}

double time_floor_ms(const Roof& roof, double flops, double bytes) {
  return std::fmax(compute_s(roof, flops), memory_s(roof, bytes)) * 1e3;
}

}  // namespace lab01
