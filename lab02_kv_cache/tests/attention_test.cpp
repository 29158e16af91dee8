#include "lab02/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kit/reference.h"
#include "kit/testing.h"

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::matches;
using kit::testing::nan_tensor;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Weights come from exp(score): scores of size 1 carry a few float roundings (6e-8 each), summed over at most
// head_dim products in any order, so an honest implementation stays below 5e-6. The classic mistakes are off
// by 1e-2 and more.
constexpr kit::Tolerance kTolerance{2e-5, 2e-5};

struct Sizes {
  int q_len, kv_len, n_heads, n_kv_heads, head_dim;
};

struct Inputs {
  Tensor<float> q;  // [q_len, n_heads, head_dim]
  Tensor<float> k;  // [kv_len, n_kv_heads, head_dim]
  Tensor<float> v;  // [kv_len, n_kv_heads, head_dim]
};

Inputs random_inputs(const Sizes& s, std::uint64_t stream, float stddev = 1.0F) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return {random_tensor({s.q_len, s.n_heads, s.head_dim}, rng, stddev),
          random_tensor({s.kv_len, s.n_kv_heads, s.head_dim}, rng, stddev),
          random_tensor({s.kv_len, s.n_kv_heads, s.head_dim}, rng)};
}

Tensor<float> student_attention(const Inputs& in) {
  Tensor<float> out = nan_tensor(in.q.shape());
  lab02::attention(in.q, in.k, in.v, out);
  return out;
}

Tensor<float> reference(const Inputs& in, const kit::AttentionVariant& variant = {}) {
  Tensor<float> out = nan_tensor(in.q.shape());
  kit::reference_attention(in.q, in.k, in.v, out, variant);
  return out;
}

/// [a, b, d] read as if it were [b, a, d]: what code does that exchanges head and position.
Tensor<float> misread(const Tensor<float>& x) {
  Tensor<float> result(x.shape());
  for (std::int64_t i = 0; i < x.dim(0); ++i) {
    for (std::int64_t j = 0; j < x.dim(1); ++j) {
      const float* row = x.data() + (j * x.dim(0) + i) * x.dim(2);
      std::copy(row, row + x.dim(2), result.row(i, j).begin());
    }
  }
  return result;
}

/// The inverse of misread: stores [a, b, d] as [b, a, d].
Tensor<float> miswrite(const Tensor<float>& x) {
  Tensor<float> result(x.shape());
  for (std::int64_t i = 0; i < x.dim(0); ++i) {
    for (std::int64_t j = 0; j < x.dim(1); ++j) {
      std::copy(x.row(i, j).begin(), x.row(i, j).end(), result.data() + (j * x.dim(0) + i) * x.dim(2));
    }
  }
  return result;
}

std::vector<kit::KnownMistake> known_mistakes(const Inputs& in) {
  const double d_model = static_cast<double>(in.q.dim(1) * in.q.dim(2));
  std::vector<kit::KnownMistake> mistakes;
  mistakes.push_back({"attention without the 1/sqrt(head_dim) scale", reference(in, {.scale = false})});
  mistakes.push_back(
      {"scores scaled by 1/sqrt(n_heads * head_dim), the model's width, instead of 1/sqrt(head_dim)",
       reference(in, {.scale_dim = d_model})});
  mistakes.push_back(
      {"a causal mask that lets each query see one key of the future", reference(in, {.mask_shift = 1})});
  mistakes.push_back({"a causal mask that hides each query's own key", reference(in, {.mask_shift = -1})});
  mistakes.push_back({"attention without a causal mask", reference(in, {.causal = false})});
  mistakes.push_back(
      {"a causal mask aligned to the first key (query i sees keys 0..i) although the queries are the "
       "last positions",
       reference(in, {.top_left = true})});
  mistakes.push_back({"query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
                      reference(in, {.kv_head_modulo = true})});
  mistakes.push_back({"head and position exchanged: arrays are [position, head, head_dim]",
                      miswrite(reference({misread(in.q), misread(in.k), misread(in.v)}))});
  return mistakes;
}

void expect_matches_reference(const Sizes& s, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("q_len {}, kv_len {}, n_heads {}, n_kv_heads {}, head_dim {}", s.q_len, s.kv_len,
                           s.n_heads, s.n_kv_heads, s.head_dim));
  const Inputs in = random_inputs(s, stream);
  const Tensor<float> got = student_attention(in);
  EXPECT_TRUE(matches(got, reference(in), kTolerance, known_mistakes(in)));
}

std::vector<float> softmax_reference(std::span<const float> scores) {
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (const float s : scores) sum += std::exp(double{s} - max);
  std::vector<float> result;
  for (const float s : scores) result.push_back(static_cast<float>(std::exp(double{s} - max) / sum));
  return result;
}

void expect_softmax(std::vector<float> scores, const char* hint) {
  const std::vector<float> expected = softmax_reference(scores);
  const Shape shape{static_cast<std::int64_t>(scores.size())};
  lab02::softmax(scores);
  EXPECT_TRUE(matches({scores.data(), shape}, {expected.data(), shape}, {1e-6, 1e-4})) << hint;
}

TEST(Softmax, MatchesDoubleReference) {
  kit::Rng rng = kit::testing::make_rng(1);
  for (const int n : {1, 2, 31, 33, 1000}) {
    std::vector<float> scores(static_cast<std::size_t>(n));
    rng.fill_normal(scores, 3.0F);
    expect_softmax(scores, "softmax is exp(s_i) / sum_j exp(s_j), base e");
  }
}

TEST(Softmax, SurvivesLargeLogits) {
  kit::Rng rng = kit::testing::make_rng(2);
  for (const float offset : {100.0F, 1e4F, -1e4F}) {
    std::vector<float> scores(65);
    rng.fill_normal(scores, 2.0F);
    for (float& s : scores) s += offset;
    expect_softmax(
        scores,
        "Likely cause: no max subtraction. exp overflows float above 88.7 and vanishes below -104; subtract "
        "the largest score first, the quotient stays the same");
  }
}

TEST(Softmax, MaskedEntriesGetZero) {
  std::vector<float> scores = {1.0F, -kInfinity, 2.0F, -kInfinity};
  expect_softmax(scores, "exp(-infinity) is 0: a masked entry must not make the sum NaN");
  std::vector<float> one_left = {-kInfinity, -3.0F};
  lab02::softmax(one_left);
  EXPECT_EQ(one_left[0], 0.0F);
  EXPECT_EQ(one_left[1], 1.0F);
}

TEST(Softmax, RejectsWhatHasNoAnswer) {
  std::vector<float> nan = {0.0F, std::numeric_limits<float>::quiet_NaN(), 1.0F};
  std::vector<float> nan_first = {std::numeric_limits<float>::quiet_NaN(), 1.0F};
  std::vector<float> infinite = {0.0F, kInfinity};
  std::vector<float> all_masked = {-kInfinity, -kInfinity};
  EXPECT_TRUE(throws_error([&] { lab02::softmax(nan); }));
  EXPECT_TRUE(throws_error([&] { lab02::softmax(nan_first); }));
  EXPECT_TRUE(throws_error([&] { lab02::softmax(infinite); }));
  EXPECT_TRUE(throws_error([&] { lab02::softmax(all_masked); }));
  lab02::softmax({});  // nothing to do
}

TEST(Attention, MatchesReference) {
  expect_matches_reference({.q_len = 16, .kv_len = 16, .n_heads = 4, .n_kv_heads = 4, .head_dim = 32}, 10);
}

TEST(Attention, MatchesReferenceOnOddSizes) {
  expect_matches_reference({1, 1, 1, 1, 1}, 11);
  expect_matches_reference({31, 31, 3, 3, 33}, 12);
  expect_matches_reference({33, 33, 5, 5, 31}, 13);
  expect_matches_reference({1, 1000, 2, 2, 64}, 14);
}

TEST(Attention, NeverLooksAhead) {
  const Sizes s{.q_len = 12, .kv_len = 12, .n_heads = 2, .n_kv_heads = 2, .head_dim = 16};
  Inputs in = random_inputs(s, 15);
  const Tensor<float> before = student_attention(in);
  // Change the last key and value: only the last query may notice.
  for (std::int64_t h = 0; h < s.n_kv_heads; ++h) {
    for (float& x : in.k.row(s.kv_len - 1, h)) x += 5.0F;
    for (float& x : in.v.row(s.kv_len - 1, h)) x -= 7.0F;
  }
  const Tensor<float> after = student_attention(in);
  const Shape past{s.q_len - 1, s.n_heads, s.head_dim};
  EXPECT_TRUE(matches({after.data(), past}, {before.data(), past}, {}))
      << "a query's output changed when a later key and value did: it saw the future";
  EXPECT_FALSE(matches(after, before, kTolerance)) << "the last query must see its own key and value";
}

TEST(Attention, QueriesAreTheLastPositions) {
  expect_matches_reference({.q_len = 5, .kv_len = 17, .n_heads = 4, .n_kv_heads = 4, .head_dim = 16}, 16);
  expect_matches_reference({.q_len = 1, .kv_len = 33, .n_heads = 2, .n_kv_heads = 2, .head_dim = 8}, 17);
}

TEST(Attention, GroupsOfQueryHeadsShareAKvHead) {
  expect_matches_reference({.q_len = 9, .kv_len = 9, .n_heads = 8, .n_kv_heads = 4, .head_dim = 16}, 18);
  expect_matches_reference({.q_len = 9, .kv_len = 12, .n_heads = 6, .n_kv_heads = 2, .head_dim = 8}, 19);
  expect_matches_reference({.q_len = 4, .kv_len = 31, .n_heads = 4, .n_kv_heads = 1, .head_dim = 32}, 20);
}

TEST(Attention, LargeScoresStayFinite) {
  // Scores of several hundred: exp overflows without the maximum subtracted, and the softmax is nearly
  // one-hot. A score of 900 carries a rounding error of about 1e-4, hence the wider tolerance.
  const Inputs in =
      random_inputs({.q_len = 8, .kv_len = 8, .n_heads = 2, .n_kv_heads = 2, .head_dim = 16}, 21, 15.0F);
  EXPECT_TRUE(matches(student_attention(in), reference(in), {5e-3, 5e-3}, known_mistakes(in)))
      << "scores here are in the hundreds; if values are NaN or infinite, the softmax overflows (subtract "
         "the maximum)";
}

TEST(Attention, RejectsShapesThatDisagree) {
  const auto call = [](const Shape& q, const Shape& k, const Shape& v, const Shape& out) {
    return throws_error([&] {
      Tensor<float> result(out);
      lab02::attention(Tensor<float>(q), Tensor<float>(k), Tensor<float>(v), result);
    });
  };
  const Shape q{4, 4, 8};
  const Shape kv{6, 2, 8};
  EXPECT_TRUE(call(q, {6, 3, 8}, {6, 3, 8}, q)) << "n_heads 4 is not a multiple of n_kv_heads 3";
  EXPECT_TRUE(call(q, {3, 2, 8}, {3, 2, 8}, q)) << "kv_len 3 is less than q_len 4";
  EXPECT_TRUE(call(q, {6, 2, 7}, {6, 2, 7}, q)) << "head_dim of q is 8, of k 7";
  EXPECT_TRUE(call(q, kv, {5, 2, 8}, q)) << "k and v have different lengths";
  EXPECT_TRUE(call(q, kv, kv, {4, 2, 8})) << "out must have the shape of q";
  EXPECT_TRUE(call({4, 32}, kv, kv, {4, 32})) << "q must have three dimensions";
}

}  // namespace
