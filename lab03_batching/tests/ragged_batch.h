#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kit/reference_decode.h"
#include "kit/testing.h"

/// What the tests of task 8 share, on CPU and GPU.
namespace lab03_tests {

struct RaggedSizes {
  std::vector<std::int32_t> kv_lens;
  std::int64_t n_heads = 4;
  std::int64_t n_kv_heads = 2;
  std::int64_t head_dim = 64;
};

inline std::string to_string(const RaggedSizes& s) {
  return fmt::format("n_heads {}, n_kv_heads {}, head_dim {}, lengths {}", s.n_heads, s.n_kv_heads,
                     s.head_dim, fmt::join(s.kv_lens, " "));
}

/// One decode step for a ragged batch.
struct RaggedBatch {
  kit::Tensor<float> q;                  // [n_seqs, n_heads, head_dim]
  kit::Tensor<float> k;                  // [total_kv_len, n_kv_heads, head_dim]
  kit::Tensor<float> v;                  // [total_kv_len, n_kv_heads, head_dim]
  std::vector<std::int32_t> cu_kv_lens;  // [n_seqs + 1]

  std::int64_t n_seqs() const { return q.dim(0); }
  kit::TensorView<const std::int32_t> cu() const { return {cu_kv_lens.data(), {n_seqs() + 1}}; }
};

inline RaggedBatch ragged_batch(const RaggedSizes& sizes, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  std::vector<std::int32_t> cu = {0};
  for (const std::int32_t n : sizes.kv_lens) cu.push_back(cu.back() + n);
  const kit::Shape rows{cu.back(), sizes.n_kv_heads, sizes.head_dim};
  const auto n_seqs = static_cast<std::int64_t>(sizes.kv_lens.size());
  return {.q = kit::testing::random_tensor({n_seqs, sizes.n_heads, sizes.head_dim}, rng),
          .k = kit::testing::random_tensor(rows, rng),
          .v = kit::testing::random_tensor(rows, rng),
          .cu_kv_lens = cu};
}

/// Adds `shift` to every score: one element of all keys, times sqrt(head_dim) in all queries.
inline void shift_scores(RaggedBatch& batch, float shift) {
  const std::int64_t head_dim = batch.q.dim(2);
  for (std::int64_t at = 0; at < batch.q.size(); at += head_dim)
    batch.q.data()[at] = std::sqrt(static_cast<float>(head_dim));
  for (std::int64_t at = 0; at < batch.k.size(); at += head_dim) batch.k.data()[at] = shift;
}

/// The definition, in double.
inline kit::Tensor<float> reference(const RaggedBatch& batch) {
  const std::vector<std::int32_t>& cu = batch.cu_kv_lens;
  std::vector<std::int32_t> lens;
  for (std::size_t s = 0; s + 1 < cu.size(); ++s) lens.push_back(cu[s + 1] - cu[s]);
  return kit::reference_decode_attention(batch.q, batch.k, batch.v, lens,
                                         [&](std::int64_t s, std::int64_t t) { return cu[s] + t; })
      .value();
}

/// Wrong answers with a name: another range [begin, end) of positions, or a variant of attention.
inline std::vector<kit::KnownMistake> known_mistakes(const RaggedBatch& batch) {
  struct Mistake {
    std::string cause;
    std::function<std::int64_t(std::int64_t s)> begin;
    std::function<std::int64_t(std::int64_t s)> end;
    kit::AttentionVariant variant;
  };
  const std::vector<std::int32_t>& cu = batch.cu_kv_lens;
  const std::int64_t total = cu.back();
  const std::int64_t n_seqs = batch.n_seqs();
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < n_seqs; ++s) longest = std::max<std::int64_t>(longest, cu[s + 1] - cu[s]);
  const auto begin = [&](std::int64_t s) -> std::int64_t {
    return cu[std::clamp<std::int64_t>(s, 0, n_seqs)];
  };
  const auto end = [&](std::int64_t s) { return begin(s + 1); };
  const std::vector<Mistake> mistakes = {
      {"attention without the 1/sqrt(head_dim) scale", begin, end, {.scale = false}},
      {"query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
       begin,
       end,
       {.kv_head_modulo = true}},
      {"every sequence read as if it had the length of the longest: it sees those that follow",
       begin,
       [&](std::int64_t s) { return std::min(total, begin(s) + longest); },
       {}},
      {"one position too many: cu_kv_lens[s + 1] is the first of the next sequence",
       begin,
       [&](std::int64_t s) { return std::min(total, end(s) + 1); },
       {}},
      {"one position too few: the last of sequence s is cu_kv_lens[s + 1] - 1",
       begin,
       [&](std::int64_t s) { return end(s) - 1; },
       {}},
      {"cu_kv_lens[s + 1] taken for the length of sequence s: subtract cu_kv_lens[s]",
       begin,
       [&](std::int64_t s) { return std::min(total, begin(s) + end(s)); },
       {}},
      {"sequences that all begin at position 0",
       [](std::int64_t) { return std::int64_t{0}; },
       [&](std::int64_t s) { return end(s) - begin(s); },
       {}},
      {"the positions of sequence s - 1 for sequence s: it has cu_kv_lens[s] to cu_kv_lens[s + 1]",
       [&](std::int64_t s) { return begin(std::max<std::int64_t>(s - 1, 0)); },
       [&](std::int64_t s) { return end(std::max<std::int64_t>(s - 1, 0)); },
       {}},
      {"the length of sequence 0 used for every sequence",
       begin,
       [&](std::int64_t s) { return std::min(total, begin(s) + end(0)); },
       {}},
  };
  std::vector<kit::KnownMistake> known;
  for (const Mistake& mistake : mistakes) {
    std::vector<std::int32_t> lens;
    for (std::int64_t s = 0; s < n_seqs; ++s)
      lens.push_back(static_cast<std::int32_t>(mistake.end(s) - mistake.begin(s)));
    auto result = kit::reference_decode_attention(
        batch.q, batch.k, batch.v, lens, [&](std::int64_t s, std::int64_t t) { return mistake.begin(s) + t; },
        mistake.variant);
    if (result) known.push_back({mistake.cause, std::move(*result)});
  }
  return known;
}

/// `got` against the reference, with the classic mistakes by name.
inline ::testing::AssertionResult attends(const kit::Tensor<float>& got, const RaggedBatch& batch,
                                          kit::Tolerance tolerance) {
  const kit::Tensor<float> expected = reference(batch);
  // Wrong answers are computed only when there is one to explain.
  if (kit::compare(got, expected, tolerance).ok) return ::testing::AssertionSuccess();
  return kit::testing::matches(got, expected, tolerance, known_mistakes(batch));
}

}  // namespace lab03_tests
