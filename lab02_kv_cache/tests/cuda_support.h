#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"
#include "kit/reference_decode.h"

/// What the tests of task 9's attention share.
namespace lab02_tests {

/// One decode step for a batch. Keys and values lie in rows, contiguous or in blocks.
struct DecodeBatch {
  kit::Tensor<float> q;                    // [n_seqs, n_heads, head_dim]
  kit::Tensor<float> k;                    // [n_seqs, max_len, n_kv_heads, head_dim], or
  kit::Tensor<float> v;                    // [n_blocks, block_size, n_kv_heads, head_dim]
  kit::Tensor<std::int32_t> block_tables;  // [n_seqs, max_blocks]; empty when contiguous
  std::vector<std::int32_t> context_lens;  // [n_seqs]

  bool paged() const { return block_tables.size() > 0; }
  std::int64_t n_seqs() const { return q.dim(0); }
  /// The row of k and v that holds a position.
  std::int64_t row_of(std::int64_t seq, std::int64_t position) const;
};

struct DecodeSizes {
  std::vector<std::int32_t> context_lens;
  std::int64_t n_heads = 4;
  std::int64_t n_kv_heads = 2;
  std::int64_t head_dim = 64;
};

/// Random; what lies behind the end of a sequence is a number, but another one.
DecodeBatch contiguous_batch(const DecodeSizes& sizes, std::uint64_t stream);
/// The same keys and values in blocks, shuffled, with some that belong to nobody. Table entries behind the
/// last one needed name blocks of others.
DecodeBatch paged_batch(const DecodeSizes& sizes, std::int64_t block_size, std::uint64_t stream);
/// Turns everything that a right kernel does not look at into NaN, and table entries behind the end into
/// blocks that do not exist.
void spoil_the_rest(DecodeBatch& batch);

/// decode_attention_cuda or paged_decode_attention_cuda on copies in device memory, which must not change.
kit::Tensor<float> run(const DecodeBatch& batch);
/// The definition, in double.
kit::Tensor<float> reference(const DecodeBatch& batch);
/// run() against reference(), with the classic mistakes of both kinds by name.
::testing::AssertionResult attends(const DecodeBatch& batch, kit::Tolerance tolerance);

/// What the launches of run() did. A wrong result fails the test: its counts would be worth nothing.
kit::testing::LaunchCounts counts_of(const DecodeBatch& batch);

}  // namespace lab02_tests
