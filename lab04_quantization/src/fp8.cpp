#include "lab04/fp8.h"

// Task 10.

namespace lab04 {

void encode_fp8(std::span<const float> x, Fp8Format format, std::span<std::uint8_t> codes) {
  (void)x, (void)format, (void)codes;
  throw kit::NotImplemented("lab04 task 10: encode_fp8");
}

void decode_fp8(std::span<const std::uint8_t> codes, Fp8Format format, std::span<float> x) {
  (void)codes, (void)format, (void)x;
  throw kit::NotImplemented("lab04 task 10: decode_fp8");
}

void quantize_fp8(kit::TensorView<const float> w, Fp8Format format, kit::TensorView<std::uint8_t> codes,
                  std::span<float> scales) {
  (void)w, (void)format, (void)codes, (void)scales;
  throw kit::NotImplemented("lab04 task 10: quantize_fp8");
}

void dequantize_fp8(kit::TensorView<const std::uint8_t> codes, Fp8Format format,
                    std::span<const float> scales, kit::TensorView<float> w) {
  (void)codes, (void)format, (void)scales, (void)w;
  throw kit::NotImplemented("lab04 task 10: dequantize_fp8");
}

}  // namespace lab04
