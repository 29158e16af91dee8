#include "lab05/variable_length.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention_cases.h"
#include "kit/memory.h"

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::nan_tensor;
using kit::testing::throws_error;
using lab05::FlashConfig;
using namespace lab05_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

TEST(SlidingWindow, SeesTheLatestKeys) {
  for (const int window : {1, 2, 7, 16, 17, 33}) {
    expect_matches_reference({50, 50, 2, 1, 8}, {.br = 16, .bc = 16, .window = window}, 1);
    expect_matches_reference({50, 50, 2, 2, 8}, {.br = 8, .bc = 32, .window = window}, 2);
  }
}

TEST(SlidingWindow, LongOnesAreNoWindow) {
  for (const int window : {40, 41, 1000, std::numeric_limits<int>::max()})
    expect_matches_reference({40, 40, 2, 1, 8}, {.br = 16, .bc = 16, .window = window}, 3);
}

TEST(SlidingWindow, EndsAtTheQuerysPosition) {
  expect_matches_reference({5, 70, 2, 1, 8}, {.br = 16, .bc = 16, .window = 9}, 4);
  expect_matches_reference({33, 90, 2, 2, 8}, {.br = 16, .bc = 16, .window = 20}, 5);
  expect_matches_reference({1, 64, 2, 2, 8}, {.br = 16, .bc = 16, .window = 3}, 6);
}

TEST(SlidingWindow, QueriesBeforeTheFirstKeyStayMasked) {
  expect_matches_reference({50, 20, 2, 1, 8}, {.br = 16, .bc = 16, .window = 6}, 7);
  expect_matches_reference({20, 0, 2, 1, 8}, {.br = 16, .bc = 16, .window = 6}, 8);
}

TEST(SlidingWindow, RejectsWhatIsNoWindow) {
  const Inputs in = random_inputs({4, 4, 1, 1, 8}, 9);
  Result result{Tensor<float>(in.q.shape()), Tensor<float>({4, 1})};
  kit::CountingResource scratch;
  const auto refuses = [&](const FlashConfig& config, const std::string& needle) {
    return throws_error(
        [&] { lab05::flash_attention(in.q, in.k, in.v, config, scratch, result.out, result.log_sum_exp); },
        needle);
  };
  EXPECT_TRUE(refuses({.window = -3}, "-3"));
  EXPECT_TRUE(refuses({.causal = false, .window = 5}, "5")) << "a window needs a causal mask";
}

/// Sequences behind each other.
struct Packed {
  Inputs in;
  std::vector<std::int32_t> cu_q;
  std::vector<std::int32_t> cu_k;

  std::size_t n_seqs() const { return cu_q.size() - 1; }
  Inputs sequence(std::size_t s) const {
    return {rows_of(in.q, cu_q[s], cu_q[s + 1]), rows_of(in.k, cu_k[s], cu_k[s + 1]),
            rows_of(in.v, cu_k[s], cu_k[s + 1])};
  }
};

std::vector<std::int32_t> sums_of(std::span<const int> lengths) {
  std::vector<std::int32_t> sums = {0};
  for (const int n : lengths) sums.push_back(sums.back() + n);
  return sums;
}

Packed packed(std::span<const int> q_lens, std::span<const int> kv_lens, std::uint64_t stream) {
  Packed p{.in = {}, .cu_q = sums_of(q_lens), .cu_k = sums_of(kv_lens)};
  p.in = random_inputs({p.cu_q.back(), p.cu_k.back(), 4, 2, 8}, stream);
  return p;
}

Result student_varlen(const Packed& p, const FlashConfig& config) {
  Result result{nan_tensor(p.in.q.shape()), nan_tensor({p.in.q.dim(0), p.in.q.dim(1)})};
  kit::CountingResource counting;
  kit::OneThreadResource scratch(counting);
  lab05::flash_attention_varlen(p.in.q, p.in.k, p.in.v, p.cu_q, p.cu_k, config, scratch, result.out,
                                result.log_sum_exp);
  EXPECT_EQ(counting.live_bytes(), 0) << "bytes of scratch that were not given back";
  return result;
}

/// The reference of each sequence, packed. `keys_of` says which rows of k and v sequence s is given.
template <class KeysOf>
Result reference_varlen(const Packed& p, const FlashConfig& config, const KeysOf& keys_of) {
  Result all{Tensor<float>(p.in.q.shape()), Tensor<float>({p.in.q.dim(0), p.in.q.dim(1)})};
  for (std::size_t s = 0; s < p.n_seqs(); ++s) {
    Inputs in = p.sequence(s);
    const auto [begin, end] = keys_of(s);
    in.k = rows_of(p.in.k, begin, end);
    in.v = rows_of(p.in.v, begin, end);
    const Result one = reference(in, config);
    std::ranges::copy(one.out.span(), all.out.data() + p.cu_q[s] * all.out.dim(1) * all.out.dim(2));
    std::ranges::copy(one.log_sum_exp.span(), all.log_sum_exp.data() + p.cu_q[s] * all.out.dim(1));
  }
  return all;
}

void expect_varlen(const Packed& p, const FlashConfig& config) {
  using Rows = std::pair<std::int64_t, std::int64_t>;
  SCOPED_TRACE(fmt::format("cu_seqlens_q [{}], cu_seqlens_k [{}]; br {}, bc {}, causal {}, window {}",
                           fmt::join(p.cu_q, ", "), fmt::join(p.cu_k, ", "), config.br, config.bc,
                           config.causal, config.window));
  const std::int64_t total_k = p.in.k.dim(0);
  const Result got = student_varlen(p, config);
  const Result expected = reference_varlen(p, config, [&](std::size_t s) {
    return Rows{p.cu_k[s], p.cu_k[s + 1]};
  });
  std::vector<kit::KnownMistake> mistakes;
  const auto add = [&](const char* cause, Result wrong) {
    if (std::ranges::all_of(wrong.out.span(), [](float x) { return std::isfinite(x); }))
      mistakes.push_back({cause, std::move(wrong.out)});
  };
  add("one long sequence: every query sees the keys of other sequences, too", reference(p.in, config));
  add("sequences that see the keys of all sequences before them",
      reference_varlen(p, config, [&](std::size_t s) {
        return Rows{0, p.cu_k[s + 1]};
      }));
  add("keys cut by cu_seqlens_q instead of cu_seqlens_k", reference_varlen(p, config, [&](std::size_t s) {
        return Rows{std::min<std::int64_t>(p.cu_q[s], total_k),
                    std::min<std::int64_t>(p.cu_q[s + 1], total_k)};
      }));
  add("as many keys as the sequence has queries", reference_varlen(p, config, [&](std::size_t s) {
        return Rows{p.cu_k[s], std::min<std::int64_t>(p.cu_k[s] + p.cu_q[s + 1] - p.cu_q[s], total_k)};
      }));
  EXPECT_TRUE(kit::testing::matches(got.out, expected.out, tolerance, mistakes)) << "out";
  expect_log_sum_exp(got.log_sum_exp, expected.log_sum_exp, {}, tolerance);
}

TEST(VariableLength, SequencesOfDifferentLengths) {
  const std::vector<int> lengths = {17, 1, 40, 32, 5};
  expect_varlen(packed(lengths, lengths, 10), {.br = 16, .bc = 16});
  expect_varlen(packed(lengths, lengths, 11), {.br = 16, .bc = 16, .causal = false});
  expect_varlen(packed(lengths, lengths, 12), {});
}

TEST(VariableLength, QueriesAndKeysDifferInNumber) {
  const std::vector<int> q_lens = {3, 20, 1, 7};
  const std::vector<int> kv_lens = {19, 20, 33, 40};
  expect_varlen(packed(q_lens, kv_lens, 13), {.br = 16, .bc = 16});
  expect_varlen(packed(q_lens, kv_lens, 14), {.br = 16, .bc = 16, .causal = false});
  // More queries than keys: fully masked queries inside the packed arrays.
  expect_varlen(packed(kv_lens, q_lens, 15), {.br = 16, .bc = 16});
}

TEST(VariableLength, WithAWindow) {
  const std::vector<int> q_lens = {3, 20, 1, 50};
  const std::vector<int> kv_lens = {19, 20, 33, 60};
  expect_varlen(packed(q_lens, kv_lens, 16), {.br = 16, .bc = 16, .window = 9});
}

TEST(VariableLength, SequencesMayBeEmpty) {
  const std::vector<int> q_lens = {0, 9, 4, 0, 5, 0};
  const std::vector<int> kv_lens = {7, 9, 0, 0, 12, 3};
  expect_varlen(packed(q_lens, kv_lens, 17), {.br = 16, .bc = 16});
  expect_varlen(packed(q_lens, kv_lens, 18), {.br = 16, .bc = 16, .causal = false});
}

TEST(VariableLength, OneSequenceAndMany) {
  const std::vector<int> one = {37};
  expect_varlen(packed(one, one, 19), {.br = 16, .bc = 16});
  std::vector<int> q_lens;
  std::vector<int> kv_lens;
  kit::Rng rng = kit::testing::make_rng(20);
  for (int s = 0; s < 40; ++s) {
    q_lens.push_back(1 + static_cast<int>(rng.below(6)));
    kv_lens.push_back(q_lens.back() + static_cast<int>(rng.below(20)));
  }
  expect_varlen(packed(q_lens, kv_lens, 21), {.br = 8, .bc = 8});
}

TEST(VariableLength, OtherSequencesMakeNoDifference) {
  const std::vector<int> lengths = {20, 30, 25};
  Packed p = packed(lengths, lengths, 22);
  const FlashConfig config{.br = 16, .bc = 16};
  const Result before = student_varlen(p, config);
  // Only the middle one stays.
  const auto change = [&](Tensor<float>& x) {
    for (std::int64_t i = 0; i < x.dim(0); ++i) {
      if (i >= 20 && i < 50) continue;
      for (std::int64_t h = 0; h < x.dim(1); ++h) {
        for (float& y : x.row(i, h)) y = 3.0F - y;
      }
    }
  };
  change(p.in.q);
  change(p.in.k);
  change(p.in.v);
  const Result after = student_varlen(p, config);
  EXPECT_TRUE(kit::testing::matches(rows_of(after.out, 20, 50), rows_of(before.out, 20, 50), {}))
      << "a sequence's output changed when others did";
}

TEST(VariableLength, RejectsListsThatCannotBe) {
  const std::vector<int> lengths = {4, 6};
  const Packed p = packed(lengths, lengths, 23);  // 10 rows
  using List = std::vector<std::int32_t>;
  const List good = {0, 4, 10};
  const auto refuses = [&](const List& cu_q, const List& cu_k, const std::string& needle) {
    Result result{Tensor<float>(p.in.q.shape()), Tensor<float>({10, 4})};
    kit::CountingResource scratch;
    return throws_error(
        [&] {
          lab05::flash_attention_varlen(p.in.q, p.in.k, p.in.v, cu_q, cu_k, {}, scratch, result.out,
                                        result.log_sum_exp);
        },
        needle);
  };
  EXPECT_TRUE(refuses({}, {}, "")) << "no entries";
  EXPECT_TRUE(refuses(good, {0, 10}, "")) << "lists of different lengths";
  EXPECT_TRUE(refuses({1, 4, 10}, good, "cu_seqlens_q")) << "the first entry is 1";
  EXPECT_TRUE(refuses(good, {0, 12, 10}, "cu_seqlens_k")) << "a falling entry";
  EXPECT_TRUE(refuses(good, {0, -1, 10}, "cu_seqlens_k")) << "a negative entry";
  EXPECT_TRUE(refuses({0, 4, 9}, good, "cu_seqlens_q")) << "a row of q is in no sequence";
  EXPECT_TRUE(refuses(good, {0, 4, 11}, "cu_seqlens_k")) << "11 rows of k, there are 10";
}

TEST(VariableLength, RejectsShapesThatDisagree) {
  const std::vector<std::int32_t> cu = {0, 3, 4};
  const auto refuses = [&](const Shape& k, const Shape& v, const Shape& out, const Shape& log_sum_exp) {
    Tensor<float> result(out);
    Tensor<float> sums(log_sum_exp);
    kit::CountingResource scratch;
    return throws_error([&] {
      lab05::flash_attention_varlen(Tensor<float>({4, 4, 8}), Tensor<float>(k), Tensor<float>(v), cu, cu, {},
                                    scratch, result, sums);
    });
  };
  EXPECT_TRUE(refuses({4, 3, 8}, {4, 3, 8}, {4, 4, 8}, {4, 4})) << "n_heads 4 is no multiple of n_kv_heads 3";
  EXPECT_TRUE(refuses({4, 2, 7}, {4, 2, 7}, {4, 4, 8}, {4, 4})) << "head_dim of q is 8, of k 7";
  EXPECT_TRUE(refuses({4, 2, 8}, {5, 2, 8}, {4, 4, 8}, {4, 4})) << "k has 4 rows, v 5";
  EXPECT_TRUE(refuses({4, 2, 8}, {4, 2, 8}, {4, 2, 8}, {4, 4})) << "out must have the shape of q";
  EXPECT_TRUE(refuses({4, 2, 8}, {4, 2, 8}, {4, 4, 8}, {4, 2})) << "log_sum_exp must be [total_q, n_heads]";
}

}  // namespace
