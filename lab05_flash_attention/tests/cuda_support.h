#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"

/// What the tests of tasks 6 and 8 share. Inputs are made by the checker, references are in double.
namespace lab05_tests {

struct FlashSizes {
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
  std::int64_t n_heads = 1;
  std::int64_t n_kv_heads = 1;
  std::int64_t head_dim = 64;
  bool causal = true;
};

/// Every number is one of binary16, so that all kernels can be given the same.
struct FlashInput {
  kit::Tensor<float> q, k, v;  // [q_len, n_heads, head_dim], [kv_len, n_kv_heads, head_dim] twice
  bool causal = true;
  std::string to_string() const;
};
FlashInput random_flash(const FlashSizes& sizes, std::uint64_t stream);

struct FlashResult {
  kit::Tensor<float> out;          // as q
  kit::Tensor<float> log_sum_exp;  // [q_len, n_heads]
};

/// Ways to get it wrong. Those of the running state are followed over tiles of kFlashCudaBc keys.
struct FlashMistake {
  std::string cause;
  bool scale = true;
  bool masked = true;     // the causal mask is applied
  bool top_left = false;  // aligned to the first key
  int more_keys = 0;      // than the causal mask shows
  bool kv_head_modulo = false;
  bool rescales_o = true;               // when m grows
  int rescales_l = 1;                   // times
  bool counts_keys_behind_end = false;  // zeros that fill the last tile up have score 0
  bool last_tile = true;                // keys of a last tile that is not full are seen
};
FlashResult reference(const FlashInput& input);
FlashResult mistaken(const FlashInput& input, const FlashMistake& mistake);

enum class FlashKernel { kFloat, kHalf, kTensorCores };
/// The student's kernel on copies in device memory, which must not change.
FlashResult run(const FlashInput& input, FlashKernel kernel);

/// run() against reference(), with the classic mistakes by name. `hint` is added to a failure. `score` is
/// about how large scores are: 64 products with a sum of score * sqrt(head_dim) carry its roundings.
void expect_attends(const FlashInput& input, FlashKernel kernel, const std::string& hint = "",
                    double score = 1.0);
void expect_attends(const FlashSizes& sizes, FlashKernel kernel, std::uint64_t stream);

/// What the launches of run() did. A wrong result fails the test: its counts would be worth nothing.
kit::testing::LaunchCounts counts_of(const FlashInput& input, FlashKernel kernel);

/// Rows of keys (or of values) that all thread blocks together load: kFlashCudaBr query rows load every tile
/// of kFlashCudaBc rows that one of them sees.
struct KeyRows {
  std::int64_t least = 0;  // without the rows of the last tile that nobody sees
  std::int64_t most = 0;   // with them
};
KeyRows key_rows(const FlashInput& input);

/// Counts of one launch, each a test: what is stored, how wide and whole loads are, and what is loaded.
void expect_stores_results_alone(FlashKernel kernel, std::uint64_t stream);
void expect_whole_sectors(const FlashSizes& sizes, FlashKernel kernel, std::uint64_t stream);
void expect_loads_once(const FlashSizes& sizes, FlashKernel kernel, std::uint64_t stream);
/// The lines of shared memory whose requests take more wavefronts than their bytes fill.
std::string conflicts(const kit::testing::LaunchCounts& counts);

/// Shapes that disagree are refused.
void expect_refuses_bad_shapes(FlashKernel kernel);
void expect_no_launch_without_rows(FlashKernel kernel);

}  // namespace lab05_tests
