#pragma once

#include <cstdint>
#include <span>

#include "kit/model.h"
#include "kit/number_format.h"

/// Lab 02, task 10: how many sequences fit.
namespace lab02 {

/// How query heads share key/value heads.
enum class HeadSharing {
  kMultiHead,  ///< MHA: a key/value head for every query head
  kGrouped,    ///< GQA: model.n_kv_heads of them
  kMultiQuery  ///< MQA: one
};

/// Bytes of the keys and values of one token, all layers: 2 * n_layers * kv_heads * head_dim numbers of
/// `format`, rounded up to whole bytes once. Throws kit::Error naming the value when one of the model's
/// counts is not positive or the product exceeds 64 bits.
std::int64_t kv_bytes_per_token(const kit::ModelConfig& model, HeadSharing sharing, kit::NumberFormat format);

/// Sequences that fit into `budget_bytes` when each gets a contiguous cache of max_len tokens in advance.
/// Throws kit::Error naming the value when a count is not positive or budget_bytes is negative.
std::int64_t max_sequences_contiguous(std::int64_t bytes_per_token, std::int64_t max_len,
                                      std::int64_t budget_bytes);

/// Blocks of block_size tokens that fit into `budget_bytes`. Throws as above.
std::int64_t blocks_in_budget(std::int64_t bytes_per_token, std::int64_t block_size,
                              std::int64_t budget_bytes);

/// How many of the sequences of these lengths, taken in order, fit into n_blocks at the same time, each
/// rounded up to whole blocks; the first that does not fit ends the count. context_lens: each at least 0.
/// Throws kit::Error naming the value when block_size is not positive, n_blocks or a length is negative.
std::int64_t max_sequences_paged(std::span<const std::int64_t> context_lens, std::int64_t block_size,
                                 std::int64_t n_blocks);

/// The same when the first shared_len tokens of all sequences are the same and their full blocks are shared.
/// shared_len is at least 0; of a sequence no longer than shared_len only the full blocks it has are shared.
std::int64_t max_sequences_shared(std::span<const std::int64_t> context_lens, std::int64_t shared_len,
                                  std::int64_t block_size, std::int64_t n_blocks);

}  // namespace lab02
