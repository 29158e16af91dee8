#include "lab01/roofline.h"

#include "kit/check.h"

// Task 3.

namespace lab01 {

double arithmetic_intensity(double flops, double bytes) {
  (void)flops, (void)bytes;
  throw kit::NotImplemented("lab01 task 3: arithmetic_intensity");
}

double ridge_point(const Roof& roof) {
  (void)roof;
  throw kit::NotImplemented("lab01 task 3: ridge_point");
}

double attainable_flop_per_s(const Roof& roof, double intensity) {
  (void)roof, (void)intensity;
  throw kit::NotImplemented("lab01 task 3: attainable_flop_per_s");
}

Bound bound(const Roof& roof, double intensity) {
  (void)roof, (void)intensity;
  throw kit::NotImplemented("lab01 task 3: bound");
}

double time_floor_ms(const Roof& roof, double flops, double bytes) {
  (void)roof, (void)flops, (void)bytes;
  throw kit::NotImplemented("lab01 task 3: time_floor_ms");
}

}  // namespace lab01
