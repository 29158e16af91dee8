#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "kit/reference.h"

/// One decode step of a batch in double, wherever its keys and values lie.
namespace kit {

/// Which row of [n_rows, n_kv_heads, head_dim] holds position `position` of sequence `seq`.
using RowOf = std::function<std::int64_t(std::int64_t seq, std::int64_t position)>;

/// q and the result: [n_seqs, n_heads, head_dim]; k, v: [n_rows, n_kv_heads, head_dim], n_rows of any rank.
/// Sequence s attends to its first context_lens[s] positions. Nothing is returned when a row is not there or
/// a length is not positive: tests try wrong mappings, too.
std::optional<Tensor<float>> reference_decode_attention(TensorView<const float> q, TensorView<const float> k,
                                                        TensorView<const float> v,
                                                        std::span<const std::int32_t> context_lens,
                                                        const RowOf& row_of,
                                                        const AttentionVariant& variant = {});

}  // namespace kit
