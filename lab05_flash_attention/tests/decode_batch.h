#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"

/// What the tests of task 7 share: decode steps, and their definition in double.
namespace lab05_tests {

/// One decode step for a batch. Keys and values lie in rows, contiguous or in blocks.
struct DecodeBatch {
  kit::Tensor<float> q;                    // [n_seqs, n_heads, head_dim]
  kit::Tensor<float> k;                    // [n_seqs, max_len, n_kv_heads, head_dim], or
  kit::Tensor<float> v;                    // [n_blocks, block_size, n_kv_heads, head_dim]
  kit::Tensor<std::int32_t> block_tables;  // [n_seqs, max_blocks]; empty when contiguous
  std::vector<std::int32_t> context_lens;  // [n_seqs]
  int n_splits = 1;

  bool paged() const { return block_tables.size() > 0; }
  std::int64_t n_seqs() const { return q.dim(0); }
  /// The row of k and v that holds a position; -1 when the table has none.
  std::int64_t row_of(std::int64_t seq, std::int64_t position) const;
};

struct DecodeSizes {
  std::vector<std::int32_t> context_lens;
  int n_splits = 3;
  std::int64_t n_heads = 4;
  std::int64_t n_kv_heads = 2;
  std::int64_t head_dim = 64;
  std::string to_string() const;
};

/// Random; what lies behind the end of a sequence is a number, but another one.
DecodeBatch contiguous_batch(const DecodeSizes& sizes, std::uint64_t stream);
/// The same in shuffled blocks, some of which belong to nobody. Table entries behind the last one needed name
/// blocks of others.
DecodeBatch paged_batch(const DecodeSizes& sizes, std::int64_t block_size, std::uint64_t stream);
/// Turns everything that a right kernel does not look at into NaN, and table entries behind the end into
/// blocks that do not exist.
void spoil_the_rest(DecodeBatch& batch);

struct Decoded {
  kit::Tensor<float> partial_out;          // [n_seqs, n_heads, n_splits, head_dim]
  kit::Tensor<float> partial_log_sum_exp;  // [n_seqs, n_heads, n_splits]
  kit::Tensor<float> out;                  // [n_seqs, n_heads, head_dim]
  kit::Tensor<float> log_sum_exp;          // [n_seqs, n_heads]
};

/// flash_decoding_cuda or paged_flash_decoding_cuda on copies in device memory, which must not change.
/// Everything that is written starts as NaN.
Decoded run(const DecodeBatch& batch);
/// The definition, in double.
Decoded reference(const DecodeBatch& batch);

/// run() against reference(): the result, or what the splits hand to the merge; with the classic mistakes of
/// both by name.
::testing::AssertionResult attends(const DecodeBatch& batch, kit::Tolerance tolerance);
::testing::AssertionResult splits_right(const DecodeBatch& batch, kit::Tolerance tolerance);

/// What the launches of run() did. A wrong result fails the test: its counts would be worth nothing.
kit::testing::LaunchCounts counts_of(const DecodeBatch& batch);

}  // namespace lab05_tests
