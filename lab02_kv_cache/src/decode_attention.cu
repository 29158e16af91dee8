#include "kit/cuda/kernel.h"
#include "lab02/cuda_kernels.h"

// Task 9, attention. What it must do is written in include/lab02/cuda_kernels.h.

namespace lab02 {

void decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k,
                           kit::TensorView<const float> v, kit::TensorView<const std::int32_t> context_lens,
                           kit::TensorView<float> out) {
  (void)q, (void)k, (void)v, (void)context_lens, (void)out;
  throw kit::NotImplemented("lab02 task 9: decode_attention_cuda");
}

void paged_decode_attention_cuda(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                                 kit::TensorView<const float> v_blocks,
                                 kit::TensorView<const std::int32_t> block_tables,
                                 kit::TensorView<const std::int32_t> context_lens,
                                 kit::TensorView<float> out) {
  (void)q, (void)k_blocks, (void)v_blocks, (void)block_tables, (void)context_lens, (void)out;
  throw kit::NotImplemented("lab02 task 9: paged_decode_attention_cuda");
}

}  // namespace lab02
