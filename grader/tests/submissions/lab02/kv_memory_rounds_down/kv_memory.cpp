#include "lab02/kv_memory.h"

#include <algorithm>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab02 {

namespace {

void check_positive(const char* name, std::int64_t value) {
  KIT_CHECK(value > 0, "{} is {}, must be positive", name, value);
}

void check_not_negative(const char* name, std::int64_t value) {
  KIT_CHECK(value >= 0, "{} is {}, must not be negative", name, value);
}

int n_stored_heads(const kit::ModelConfig& model, HeadSharing sharing) {
  switch (sharing) {
    case HeadSharing::kMultiHead:
      return model.n_heads;
    case HeadSharing::kGrouped:
      return model.n_kv_heads;
    case HeadSharing::kMultiQuery:
      return 1;
  }
  throw kit::Error("no such way to share heads");
}

/// Whole pieces of n_tokens that fit. Divided twice, since the product of the divisors may not fit 64 bits.
std::int64_t pieces_in_budget(std::int64_t bytes_per_token, std::int64_t n_tokens,
                              std::int64_t budget_bytes) {
  check_positive("bytes_per_token", bytes_per_token);
  check_not_negative("budget_bytes", budget_bytes);
  return budget_bytes / bytes_per_token / n_tokens;
}

}  // namespace

std::int64_t kv_bytes_per_token(const kit::ModelConfig& model, HeadSharing sharing,
                                kit::NumberFormat format) {
  check_positive("n_layers", model.n_layers);
  check_positive("n_heads", model.n_heads);
  check_positive("n_kv_heads", model.n_kv_heads);
  check_positive("head_dim", model.head_dim);
  // 2: a key and a value. Bits, and bytes only at the end: half a byte is no whole number.
  const std::int64_t n_bits = kit::checked_product(
      "2 * n_layers * kv_heads * head_dim * bits",
      {2, model.n_layers, n_stored_heads(model, sharing), model.head_dim, kit::bits(format)});
  return kit::divide_round_up(n_bits, 8);
}

std::int64_t max_sequences_contiguous(std::int64_t bytes_per_token, std::int64_t max_len,
                                      std::int64_t budget_bytes) {
  check_positive("max_len", max_len);
  return pieces_in_budget(bytes_per_token, max_len, budget_bytes);
}

std::int64_t blocks_in_budget(std::int64_t bytes_per_token, std::int64_t block_size,
                              std::int64_t budget_bytes) {
  check_positive("block_size", block_size);
  return pieces_in_budget(bytes_per_token, block_size, budget_bytes);
}

std::int64_t max_sequences_paged(std::span<const std::int64_t> context_lens, std::int64_t block_size,
                                 std::int64_t n_blocks) {
  return max_sequences_shared(context_lens, /*shared_len=*/0, block_size, n_blocks);
}

std::int64_t max_sequences_shared(std::span<const std::int64_t> context_lens, std::int64_t shared_len,
                                  std::int64_t block_size, std::int64_t n_blocks) {
  check_positive("block_size", block_size);
  check_not_negative("n_blocks", n_blocks);
  check_not_negative("shared_len", shared_len);
  for (const std::int64_t len : context_lens) check_not_negative("a context_len", len);

  std::int64_t n_sequences = 0;
  std::int64_t n_own = 0;     // blocks that one sequence has for itself, all sequences so far
  std::int64_t n_common = 0;  // shared ones, as many as the longest of them reaches
  for (const std::int64_t len : context_lens) {
    const std::int64_t n_shared = std::min(len, shared_len) / block_size;  // full ones only
    const std::int64_t common = std::max(n_common, n_shared);
    const std::int64_t own = len / block_size - n_shared;
    if (own > n_blocks - n_own - common) break;
    n_own += own;
    n_common = common;
    ++n_sequences;
  }
  return n_sequences;
}

}  // namespace lab02
