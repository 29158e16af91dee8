#include "lab05/flash_forward.h"

// Task 3 (and the window of task 4).

namespace lab05 {

void flash_attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
                     kit::TensorView<const float> /*v*/, const FlashConfig& /*config*/,
                     std::pmr::memory_resource& /*scratch*/, kit::TensorView<float> /*out*/,
                     kit::TensorView<float> /*log_sum_exp*/) {
  throw kit::NotImplemented("lab05 task 3: flash_attention");
}

}  // namespace lab05
