#include "lab04/quantized_products.h"

// Task 6.

namespace lab04 {

void linear_w8a8(kit::TensorView<const std::int8_t> xq, std::span<const float> x_scales,
                 kit::TensorView<const std::int8_t> wq, std::span<const float> w_scales,
                 kit::TensorView<float> y) {
  (void)xq, (void)x_scales, (void)wq, (void)w_scales, (void)y;
  throw kit::NotImplemented("lab04 task 6: linear_w8a8");
}

void linear_w8a8_dynamic(kit::TensorView<const float> x, kit::TensorView<const std::int8_t> wq,
                         std::span<const float> w_scales, kit::TensorView<float> y) {
  (void)x, (void)wq, (void)w_scales, (void)y;
  throw kit::NotImplemented("lab04 task 6: linear_w8a8_dynamic");
}

void linear_w8a8_static(kit::TensorView<const float> x, float x_scale, kit::TensorView<const std::int8_t> wq,
                        std::span<const float> w_scales, kit::TensorView<float> y) {
  (void)x, (void)x_scale, (void)wq, (void)w_scales, (void)y;
  throw kit::NotImplemented("lab04 task 6: linear_w8a8_static");
}

}  // namespace lab04
