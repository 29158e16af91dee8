#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"

/// What the tests of task 14 share. The inputs of every kernel are made by the checker.
namespace lab04_tests {

/// The accesses to one array. Launches are counted by place in the source; those of an array are the ones
/// that move as many bytes as it has: of all choices of places with accesses of `width` bytes (0: any) that
/// together move n_bytes, the one whose sectors come nearest to n_bytes / 32. Nothing when there is none.
std::optional<kit::simt::Counters> accesses_of(const kit::testing::LaunchCounts& counts,
                                               kit::simt::Access access, int width, std::int64_t n_bytes);

/// Symmetric weights in groups of 4 bits, and an x for them.
struct Int4Matvec {
  kit::Tensor<int> codes;     // [out, in], -7 .. 7
  kit::Tensor<float> scales;  // [out, n_groups], each a binary16
  kit::Tensor<float> x;       // [in]
};
Int4Matvec random_int4_matvec(std::int64_t out, std::int64_t in, std::int64_t group_size,
                              std::uint64_t stream);
/// In double. A wrong answer uses another code, or the scale of another place.
struct Int4Mistake {
  std::string cause;
  std::function<int(std::int64_t row, std::int64_t i)> code;
  std::function<float(std::int64_t row, std::int64_t i)> scale;
};
kit::Tensor<float> reference(const Int4Matvec& w, const Int4Mistake& mistake = {});
/// matvec_w4a16_cuda on copies in device memory, which must not change.
kit::Tensor<float> run(const Int4Matvec& w);

/// Both sides of linear_w8a8_cuda.
struct Int8Product {
  kit::Tensor<std::int8_t> xq;  // [n, in]
  kit::Tensor<std::int8_t> wq;  // [out, in]
  std::vector<float> x_scales, w_scales;
};
Int8Product random_int8_product(std::int64_t n, std::int64_t out, std::int64_t in, std::uint64_t stream);
/// `a` and `b` are what a product's factors are taken for, `sum` what an exact sum becomes.
struct Int8Mistake {
  std::string cause;
  std::function<int(std::int8_t)> a, b;
  std::function<std::int64_t(std::int64_t)> sum;
};
kit::Tensor<float> reference(const Int8Product& p, const Int8Mistake& mistake = {});
kit::Tensor<float> run(const Int8Product& p);

/// One decode step over an INT8 cache.
struct Int8Decode {
  kit::Tensor<float> q;                    // [n_seqs, n_heads, head_dim]
  kit::Tensor<std::int8_t> k, v;           // [n_seqs, max_len, n_kv_heads, head_dim]
  kit::Tensor<float> k_scales, v_scales;   // [n_seqs, max_len, n_kv_heads]
  std::vector<std::int32_t> context_lens;  // [n_seqs]
};
struct Int8DecodeSizes {
  std::vector<std::int32_t> context_lens;
  std::int64_t n_heads = 4;
  std::int64_t n_kv_heads = 2;
  std::int64_t head_dim = 64;
};
/// Every head and position has another scale. There is room for two positions behind the longest.
Int8Decode random_int8_decode(const Int8DecodeSizes& sizes, std::uint64_t stream);
kit::Tensor<float> reference(const Int8Decode& batch);
kit::Tensor<float> run(const Int8Decode& batch);
/// run() against reference(), with the classic mistakes by name.
::testing::AssertionResult attends(const Int8Decode& batch, kit::Tolerance tolerance);

/// What the launches of run() did. A wrong result fails the test: its counts would be worth nothing.
template <class Problem>
kit::testing::LaunchCounts counts_of(const Problem& problem) {
  return kit::testing::LaunchCounts([&] {
    EXPECT_TRUE(kit::testing::matches(run(problem), reference(problem), {1e-4, 1e-4}))
        << "the result is wrong, so counts say little";
  });
}

}  // namespace lab04_tests
