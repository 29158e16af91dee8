#include "kit/cuda/kernel.h"
#include "lab05/cuda_kernels.h"

namespace lab05 {

int choose_n_splits(std::int64_t /*n_seqs*/, std::int64_t /*n_kv_heads*/, std::int64_t /*max_context_len*/,
                    int /*n_multiprocessors*/) {
  throw kit::NotImplemented("lab05 task 7: choose_n_splits");
}

void flash_decoding_cuda(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
                         kit::TensorView<const float> /*v*/,
                         kit::TensorView<const std::int32_t> /*context_lens*/, int /*n_splits*/,
                         kit::TensorView<float> /*partial_out*/,
                         kit::TensorView<float> /*partial_log_sum_exp*/, kit::TensorView<float> /*out*/,
                         kit::TensorView<float> /*log_sum_exp*/) {
  throw kit::NotImplemented("lab05 task 7: flash_decoding_cuda");
}

void paged_flash_decoding_cuda(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k_blocks*/,
                               kit::TensorView<const float> /*v_blocks*/,
                               kit::TensorView<const std::int32_t> /*block_tables*/,
                               kit::TensorView<const std::int32_t> /*context_lens*/, int /*n_splits*/,
                               kit::TensorView<float> /*partial_out*/,
                               kit::TensorView<float> /*partial_log_sum_exp*/, kit::TensorView<float> /*out*/,
                               kit::TensorView<float> /*log_sum_exp*/) {
  throw kit::NotImplemented("lab05 task 7: paged_flash_decoding_cuda");
}

}  // namespace lab05
