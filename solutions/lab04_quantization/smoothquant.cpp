#include "lab04/smoothquant.h"

// Task 9.

namespace lab04 {

std::vector<float> smoothquant_scales(std::span<const float> x_max_abs, kit::TensorView<const float> w,
                                      double alpha) {
  (void)x_max_abs, (void)w, (void)alpha;
  throw kit::NotImplemented("lab04 task 9: smoothquant_scales");
}

std::vector<float> smooth(std::span<const float> x_max_abs, double alpha, std::span<float> gain,
                          kit::TensorView<float> w) {
  (void)x_max_abs, (void)alpha, (void)gain, (void)w;
  throw kit::NotImplemented("lab04 task 9: smooth");
}

}  // namespace lab04
