#include "lab02/kv_memory.h"

#include "kit/check.h"

// Task 10. kit::bits(format) is the size of a number.

namespace lab02 {

std::int64_t kv_bytes_per_token(const kit::ModelConfig& model, HeadSharing sharing,
                                kit::NumberFormat format) {
  (void)model, (void)sharing, (void)format;
  throw kit::NotImplemented("lab02 task 10: kv_bytes_per_token");
}

std::int64_t max_sequences_contiguous(std::int64_t bytes_per_token, std::int64_t max_len,
                                      std::int64_t budget_bytes) {
  (void)bytes_per_token, (void)max_len, (void)budget_bytes;
  throw kit::NotImplemented("lab02 task 10: max_sequences_contiguous");
}

std::int64_t blocks_in_budget(std::int64_t bytes_per_token, std::int64_t block_size,
                              std::int64_t budget_bytes) {
  (void)bytes_per_token, (void)block_size, (void)budget_bytes;
  throw kit::NotImplemented("lab02 task 10: blocks_in_budget");
}

std::int64_t max_sequences_paged(std::span<const std::int64_t> context_lens, std::int64_t block_size,
                                 std::int64_t n_blocks) {
  (void)context_lens, (void)block_size, (void)n_blocks;
  throw kit::NotImplemented("lab02 task 10: max_sequences_paged");
}

std::int64_t max_sequences_shared(std::span<const std::int64_t> context_lens, std::int64_t shared_len,
                                  std::int64_t block_size, std::int64_t n_blocks) {
  (void)context_lens, (void)shared_len, (void)block_size, (void)n_blocks;
  throw kit::NotImplemented("lab02 task 10: max_sequences_shared");
}

}  // namespace lab02
