#include "lab04/asymmetric.h"

#include "kit/check.h"

// Task 2.

namespace lab04 {

AffineParameters quantize_asymmetric(std::span<const float> x, std::span<std::uint8_t> q) {
  (void)x, (void)q;
  throw kit::NotImplemented("lab04 task 2: quantize_asymmetric");
}

void dequantize_asymmetric(std::span<const std::uint8_t> q, const AffineParameters& parameters,
                           std::span<float> x) {
  (void)q, (void)parameters, (void)x;
  throw kit::NotImplemented("lab04 task 2: dequantize_asymmetric");
}

}  // namespace lab04
