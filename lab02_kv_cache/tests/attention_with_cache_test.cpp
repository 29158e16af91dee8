#include "lab02/attention_with_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/testing.h"

// The cache in these tests is the kit's own, so that they say nothing about task 2.

namespace {

using kit::Shape;
using kit::Tensor;
using kit::TensorView;
using kit::testing::matches;
using kit::testing::nan_tensor;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr kit::Tolerance kTolerance{2e-5, 2e-5};  // see attention_test.cpp
constexpr int kMaxSeqLen = 128;
constexpr int kLayer = 1;

struct Sizes {
  int n_heads, n_kv_heads, head_dim;
};

/// A sequence's queries, keys and values, not rotated: [len, heads, head_dim].
struct Sequence {
  Tensor<float> q;
  Tensor<float> k;
  Tensor<float> v;
};

Sequence random_sequence(int len, const Sizes& s, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return {random_tensor({len, s.n_heads, s.head_dim}, rng),
          random_tensor({len, s.n_kv_heads, s.head_dim}, rng),
          random_tensor({len, s.n_kv_heads, s.head_dim}, rng)};
}

/// Rows [first, first + n).
TensorView<const float> slice(const Tensor<float>& x, std::int64_t first, std::int64_t n) {
  return {x.data() + first * x.dim(1) * x.dim(2), {n, x.dim(1), x.dim(2)}};
}
TensorView<float> slice(Tensor<float>& x, std::int64_t first, std::int64_t n) {
  return {x.data() + first * x.dim(1) * x.dim(2), {n, x.dim(1), x.dim(2)}};
}

std::unique_ptr<kit::KvCache> make_cache(const Sizes& s, int max_len = kMaxSeqLen) {
  return kit::make_reference_kv_cache({3, s.n_kv_heads, s.head_dim, max_len});
}

/// Feeds the sequence to the student's attention in chunks of the given lengths.
Tensor<float> run_chunks(const Sequence& in, std::span<const int> chunks, const Sizes& s) {
  const kit::Rope rope(s.head_dim, kMaxSeqLen, 10000.0F);
  const auto cache = make_cache(s);
  Tensor<float> out = nan_tensor(in.q.shape());
  int pos = 0;
  for (const int n : chunks) {
    lab02::attention_with_cache(kLayer, slice(in.q, pos, n), slice(in.k, pos, n), slice(in.v, pos, n), rope,
                                *cache, slice(out, pos, n));
    pos += n;
    EXPECT_EQ(cache->length(kLayer), pos) << "the cache must hold every token seen so far";
    EXPECT_EQ(cache->length(0), 0) << "another layer's cache must stay as it was";
  }
  return out;
}

/// Where a chunk that starts at `pos` and has n tokens believes its first query, key and value to be; -1: not
/// rotated.
struct Positions {
  int q, k, v;
};
using PositionRule = std::function<Positions(int pos, int n)>;

/// The same chunks through the reference, with rotary positions by `rule`.
Tensor<float> expected_chunks(const Sequence& in, std::span<const int> chunks, const Sizes& s,
                              const PositionRule& rule, const kit::AttentionVariant& variant = {}) {
  const kit::Rope rope(s.head_dim, 2 * kMaxSeqLen, 10000.0F);
  Sequence rotated = in;
  Tensor<float> out = nan_tensor(in.q.shape());
  int pos = 0;
  for (const int n : chunks) {
    const Positions p = rule(pos, n);
    if (p.q >= 0) rope.rotate(slice(rotated.q, pos, n), p.q);
    if (p.k >= 0) rope.rotate(slice(rotated.k, pos, n), p.k);
    if (p.v >= 0) rope.rotate(slice(rotated.v, pos, n), p.v);
    pos += n;
    kit::reference_attention(slice(std::as_const(rotated.q), pos - n, n),
                             slice(std::as_const(rotated.k), 0, pos), slice(std::as_const(rotated.v), 0, pos),
                             slice(out, pos - n, n), variant);
  }
  return out;
}

Positions absolute(int pos, int /*n*/) {
  return {pos, pos, -1};
}

std::vector<kit::KnownMistake> known_mistakes(const Sequence& in, std::span<const int> chunks,
                                              const Sizes& s) {
  const double d_model = s.n_heads * s.head_dim;
  const auto variant = [&](const kit::AttentionVariant& v) {
    return expected_chunks(in, chunks, s, absolute, v);
  };
  const auto rule = [&](const PositionRule& r) { return expected_chunks(in, chunks, s, r); };
  std::vector<kit::KnownMistake> mistakes;
  mistakes.push_back(
      {"rotary positions that start at 0 in every call instead of at cache.length(layer)", rule([](int, int) {
         return Positions{0, 0, -1};
       })});
  mistakes.push_back({"rotary positions taken from cache.length(layer) after the append instead of before",
                      rule([](int pos, int n) {
                        return Positions{pos + n, pos + n, -1};
                      })});
  mistakes.push_back({"queries rotated from position 0 in every call, keys by their absolute position",
                      rule([](int pos, int) {
                        return Positions{0, pos, -1};
                      })});
  mistakes.push_back({"keys rotated from position 0 in every call, queries by their absolute position",
                      rule([](int pos, int) {
                        return Positions{pos, 0, -1};
                      })});
  mistakes.push_back({"no rotary embedding at all", rule([](int, int) { return Positions{-1, -1, -1}; })});
  mistakes.push_back({"keys that were never rotated", rule([](int pos, int) {
                        return Positions{pos, -1, -1};
                      })});
  mistakes.push_back({"queries that were never rotated", rule([](int pos, int) {
                        return Positions{-1, pos, -1};
                      })});
  mistakes.push_back({"values that were rotated, too", rule([](int pos, int) {
                        return Positions{pos, pos, pos};
                      })});
  mistakes.push_back({"attention without the 1/sqrt(head_dim) scale", variant({.scale = false})});
  mistakes.push_back(
      {"scores scaled by 1/sqrt(n_heads * head_dim), the model's width, instead of 1/sqrt(head_dim)",
       variant({.scale_dim = d_model})});
  mistakes.push_back({"attention without a causal mask", variant({.causal = false})});
  mistakes.push_back(
      {"a causal mask that lets each query see one key of the future", variant({.mask_shift = 1})});
  mistakes.push_back(
      {"a causal mask aligned to the first key instead of the last", variant({.top_left = true})});
  mistakes.push_back({"query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
                      variant({.kv_head_modulo = true})});
  return mistakes;
}

void expect_matches_reference(const Sizes& s, const std::vector<int>& chunks, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("{} heads, {} kv heads, head_dim {}", s.n_heads, s.n_kv_heads, s.head_dim));
  const int len = std::accumulate(chunks.begin(), chunks.end(), 0);
  const Sequence in = random_sequence(len, s, stream);
  const Tensor<float> got = run_chunks(in, chunks, s);
  EXPECT_TRUE(
      matches(got, expected_chunks(in, chunks, s, absolute), kTolerance, known_mistakes(in, chunks, s)));
}

constexpr Sizes kMha{.n_heads = 4, .n_kv_heads = 4, .head_dim = 16};

TEST(AttentionWithCache, PrefillMatchesReference) {
  expect_matches_reference(kMha, {17}, 40);
  expect_matches_reference({.n_heads = 3, .n_kv_heads = 3, .head_dim = 34}, {33}, 41);
}

TEST(AttentionWithCache, OneAtATimeMatchesPrefill) {
  expect_matches_reference(kMha, {9, 1, 1, 1, 1, 1, 1}, 42);
  expect_matches_reference(kMha, std::vector<int>(12, 1), 43);
}

TEST(AttentionWithCache, ChunkedPrefillMatches) {
  expect_matches_reference(kMha, {8, 5, 1, 16, 1, 2}, 44);
}

TEST(AttentionWithCache, GroupedAndMultiQuery) {
  expect_matches_reference({.n_heads = 8, .n_kv_heads = 4, .head_dim = 16}, {7, 1, 1, 4}, 45);
  expect_matches_reference({.n_heads = 6, .n_kv_heads = 2, .head_dim = 8}, {5, 1, 1, 1}, 46);
  expect_matches_reference({.n_heads = 4, .n_kv_heads = 1, .head_dim = 32}, {6, 1, 2}, 47);
}

TEST(AttentionWithCache, KeysAreRotatedByAbsolutePosition) {
  const Sequence in = random_sequence(6, kMha, 48);
  const kit::Rope rope(kMha.head_dim, kMaxSeqLen, 10000.0F);
  const auto cache = make_cache(kMha);
  Tensor<float> out = nan_tensor(in.q.shape());
  for (const auto& [pos, n] : {std::pair{0, 4}, std::pair{4, 1}, std::pair{5, 1}}) {
    lab02::attention_with_cache(kLayer, slice(in.q, pos, n), slice(in.k, pos, n), slice(in.v, pos, n), rope,
                                *cache, slice(out, pos, n));
  }
  Tensor<float> k = in.k;
  rope.rotate(k, 0);
  EXPECT_TRUE(matches(cache->keys(kLayer), k, kTolerance))
      << "the cache must hold rotated keys, position by position";
  EXPECT_TRUE(matches(cache->values(kLayer), in.v, {})) << "values are cached as they came, not rotated";
}

TEST(AttentionWithCache, LeavesItsInputsAlone) {
  const Sequence in = random_sequence(5, kMha, 49);
  const Sequence copy = in;
  run_chunks(in, std::vector<int>{3, 2}, kMha);
  EXPECT_TRUE(matches(in.q, copy.q, {}));
  EXPECT_TRUE(matches(in.k, copy.k, {}));
  EXPECT_TRUE(matches(in.v, copy.v, {}));
}

TEST(AttentionWithCache, RejectsBadInputAndLeavesTheCacheUnchanged) {
  const kit::Rope rope(16, kMaxSeqLen, 10000.0F);
  const kit::Rope short_rope(16, 6, 10000.0F);
  const auto cache = make_cache(kMha, 8);
  const Sequence start = random_sequence(5, kMha, 50);
  Tensor<float> out = nan_tensor(start.q.shape());
  lab02::attention_with_cache(kLayer, start.q, start.k, start.v, rope, *cache, out);

  const auto refuses = [&](int layer, const Shape& q, const Shape& k, const Shape& v, const kit::Rope& r) {
    return throws_error([&] {
      Tensor<float> result(q);
      lab02::attention_with_cache(layer, Tensor<float>(q), Tensor<float>(k), Tensor<float>(v), r, *cache,
                                  result);
    });
  };
  const Shape two{2, 4, 16};
  const Shape four{4, 4, 16};
  EXPECT_TRUE(refuses(3, two, two, two, rope)) << "layer 3 of 3";
  EXPECT_TRUE(refuses(kLayer, four, four, four, rope)) << "5 + 4 tokens into a capacity of 8";
  EXPECT_TRUE(refuses(kLayer, two, two, two, short_rope))
      << "positions 5 and 6 with a rotary table of 6 positions";
  EXPECT_TRUE(refuses(kLayer, two, {2, 2, 16}, {2, 2, 16}, rope)) << "2 kv heads into a cache of 4";
  EXPECT_TRUE(refuses(kLayer, two, {3, 4, 16}, {3, 4, 16}, rope)) << "2 queries but 3 keys";
  EXPECT_TRUE(refuses(kLayer, {2, 6, 16}, two, two, rope)) << "6 query heads over 4 kv heads";
  EXPECT_TRUE(throws_error([&] {
    Tensor<float> result({2, 2, 16});
    lab02::attention_with_cache(kLayer, Tensor<float>(two), Tensor<float>(two), Tensor<float>(two), rope,
                                *cache, result);
  })) << "out has 2 heads, q has 4";
  EXPECT_EQ(cache->length(kLayer), 5) << "a refused call must not extend the cache";
}

TEST(AttentionWithCache, RealModelGivesTheSameLogits) {
  const auto directory = kit::testing::models_dir() / "target";
  const kit::ModelConfig config = kit::load_config(directory);
  const auto weights = std::make_shared<kit::LlamaWeights>(kit::load_llama_weights(directory, config));
  kit::AttentionOps ops = kit::reference_attention_ops();
  const auto reference = kit::make_llama(config, weights, ops);
  ops.attention_with_cache = lab02::attention_with_cache;
  const auto model = kit::make_llama(config, weights, ops);

  kit::Rng rng = kit::testing::make_rng(51);
  std::vector<int> tokens(24);
  for (int& token : tokens)
    token = static_cast<int>(rng.below(static_cast<std::uint32_t>(config.vocab_size)));
  const auto cache = kit::make_reference_kv_cache(config.kv_cache_config(64));
  const std::span<const int> all(tokens);
  Tensor<float> got({static_cast<std::int64_t>(tokens.size()), config.vocab_size});
  float* end = got.data();
  for (const auto& [pos, n] : {std::pair{0, 20}, std::pair{20, 1}, std::pair{21, 1}, std::pair{22, 2}}) {
    const Tensor<float> logits = model->forward(all.subspan(pos, n), *cache, kit::Logits::kAll);
    end = std::copy(logits.span().begin(), logits.span().end(), end);
  }
  // Logits reach 10 to 20, after 6 layers of float arithmetic; a wrong position moves them by whole units.
  EXPECT_TRUE(matches(got, reference->forward(tokens, kit::Logits::kAll), {2e-3, 1e-3}))
      << "the shipped model, prefill of 20 tokens, then 1, 1 and 2: logits differ from the reference";
}

}  // namespace
