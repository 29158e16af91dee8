#include "lab04/incoherence.h"

// Task 13.

namespace lab04 {

void walsh_hadamard(std::span<float> x) {
  (void)x;
  throw kit::NotImplemented("lab04 task 13: walsh_hadamard");
}

void nearest_e8(std::span<const float> x, std::span<float> points) {
  (void)x, (void)points;
  throw kit::NotImplemented("lab04 task 13: nearest_e8");
}

E8Quantized quantize_e8(kit::TensorView<const float> w, kit::Rng& rng) {
  (void)w, (void)rng;
  throw kit::NotImplemented("lab04 task 13: quantize_e8");
}

void dequantize_e8(const E8Quantized& q, kit::TensorView<float> w) {
  (void)q, (void)w;
  throw kit::NotImplemented("lab04 task 13: dequantize_e8");
}

}  // namespace lab04
