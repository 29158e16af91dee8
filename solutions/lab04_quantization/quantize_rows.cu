#include "kit/cuda/kernel.h"
#include "lab04/cuda_kernels.h"

// Task 14.

namespace lab04 {

void quantize_rows_cuda(kit::TensorView<const float> x, kit::TensorView<std::int8_t> q,
                        kit::TensorView<float> scales) {
  (void)x, (void)q, (void)scales;
  throw kit::NotImplemented("lab04 task 14: quantize_rows_cuda");
}

}  // namespace lab04
