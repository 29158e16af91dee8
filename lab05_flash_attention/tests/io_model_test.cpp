#include "lab05/io_model.h"

#include <gtest/gtest.h>

#include <vector>

#include "io_reference.h"
#include "kit/testing.h"

namespace {

using kit::testing::KnownCount;
using kit::testing::matches_count;
using lab05::AttentionShape;
using lab05::TileSizes;
using lab05_tests::between;
using lab05_tests::flash_loads;
using lab05_tests::flash_variants;
using lab05_tests::kFloatBytes;
using lab05_tests::Loads;
using lab05_tests::random_shape;
using lab05_tests::standard_loads;
using lab05_tests::to_text;
using lab05_tests::visible_pairs;

void expect_flash(const AttentionShape& s, const TileSizes& t) {
  SCOPED_TRACE(to_text(s, t));
  const Loads right = flash_loads(s, t);
  std::vector<KnownCount> bytes;
  std::vector<KnownCount> pairs;
  for (const auto& [cause, variant] : flash_variants()) {
    const Loads wrong = flash_loads(s, t, variant);
    bytes.push_back({cause, wrong.bytes});
    pairs.push_back({cause, wrong.pairs});
  }
  pairs.push_back({"the pairs of all heads: those of one are asked for", right.pairs * s.n_heads});
  bytes.push_back({"a product that overflowed 32 bits", static_cast<std::int32_t>(right.bytes)});
  EXPECT_TRUE(matches_count(lab05::flash_tile_pairs(s, t), right.pairs, pairs)) << "pairs of tiles";
  EXPECT_TRUE(matches_count(lab05::flash_attention_bytes(s, t), right.bytes, bytes)) << "bytes";
}

void expect_flops(const AttentionShape& s) {
  SCOPED_TRACE(to_text(s));
  const std::int64_t each = std::int64_t{4} * s.head_dim * s.n_heads;
  const std::int64_t right = each * visible_pairs(s);
  EXPECT_TRUE(matches_count(
      lab05::attention_flops(s), right,
      std::vector<KnownCount>{
          {"every pair of a query and a key: causal attention needs the visible ones",
           each * s.q_len * s.kv_len},
          {"half of all pairs: the diagonal is visible", each * s.q_len * s.kv_len / 2},
          {"a causal mask aligned to the first key: it is aligned to the last",
           each * visible_pairs(s, {.top_left = true})},
          {"one of the two products: there are scores, and there is their share of the output", right / 2},
          {"multiply-adds: each is 2 FLOPs", right / 2},
          {"one head: n_heads is forgotten", right / s.n_heads},
          {"n_kv_heads heads: every query head has scores of its own", right / s.n_heads * s.n_kv_heads}}));
}

TEST(IoModelFlops, OfVisiblePairs) {
  kit::Rng rng = kit::testing::make_rng(550);
  for (int i = 0; i < 30; ++i) {
    expect_flops(random_shape(rng, i % 2 == 0));
    if (HasFailure()) return;
  }
}

TEST(IoModelFlops, OfOneLongHead) {
  const AttentionShape s{.q_len = 4096, .kv_len = 4096, .head_dim = 64};
  EXPECT_EQ(lab05::attention_flops(s), 4'294'967'296) << "4 N^2 d: more than 32 bits hold";
  AttentionShape causal = s;
  causal.causal = true;
  EXPECT_EQ(lab05::attention_flops(causal), 2'148'007'936) << "2 N (N + 1) d";
}

TEST(IoModelFlops, QueriesBeforeTheFirstKeySeeNothing) {
  AttentionShape s{.q_len = 50, .kv_len = 7, .head_dim = 16, .causal = true};
  expect_flops(s);  // 28 pairs
  s.q_len = 7;
  s.kv_len = 50;
  expect_flops(s);
  s.q_len = 1;
  expect_flops(s);  // a decode step sees every key
}

std::int64_t compulsory(const AttentionShape& s, std::int64_t n_kv_heads, std::int64_t lse_bytes,
                        std::int64_t out_bytes) {
  const std::int64_t d = s.head_dim;
  return s.element_bytes * d * (std::int64_t{s.n_heads} * s.q_len + 2 * n_kv_heads * s.kv_len) +
         s.n_heads * std::int64_t{s.q_len} * (d * out_bytes + lse_bytes);
}

TEST(IoModelStandard, CompulsoryBytesCountEveryArrayOnce) {
  kit::Rng rng = kit::testing::make_rng(551);
  for (int i = 0; i < 20; ++i) {
    const AttentionShape s = random_shape(rng, i % 2 == 0);
    SCOPED_TRACE(to_text(s));
    EXPECT_TRUE(matches_count(
        lab05::compulsory_bytes(s), compulsory(s, s.n_kv_heads, kFloatBytes, s.out_bytes),
        std::vector<KnownCount>{
            {"n_heads where k and v have n_kv_heads", compulsory(s, s.n_heads, kFloatBytes, s.out_bytes)},
            {"a count without the log-sum-exps", compulsory(s, s.n_kv_heads, 0, s.out_bytes)},
            {"out in element_bytes: it has out_bytes",
             compulsory(s, s.n_kv_heads, kFloatBytes, s.element_bytes)}}));
    if (HasFailure()) return;
  }
}

void expect_standard(const AttentionShape& s) {
  SCOPED_TRACE(to_text(s));
  const std::int64_t all = std::int64_t{s.q_len} * s.kv_len;
  const std::int64_t h = s.n_heads;
  const std::int64_t e = s.element_bytes;
  const auto with_scores = [&](std::int64_t n) { return standard_loads(s, n, h, h, e, all); };
  const std::int64_t right = with_scores(4);
  EXPECT_TRUE(matches_count(
      lab05::standard_attention_bytes(s), right,
      std::vector<KnownCount>{
          {"scores and probabilities written once each and never read", with_scores(2)},
          {"one matrix of scores, moved once", with_scores(1)},
          {"3 of the 4 moves of scores and probabilities: S and P are each written and read", with_scores(3)},
          {"no scores: in standard attention they go through global memory", with_scores(0)},
          {"one head: n_heads is forgotten", standard_loads(s, 4, 1, 1, e, all)},
          {"keys and values once for a group: each query head reads them by itself",
           standard_loads(s, 4, h, s.n_kv_heads, e, all)},
          {"4 bytes an element, whatever element_bytes says", standard_loads(s, 4, h, h, 4, all)},
          {"2 bytes an element, whatever element_bytes says", standard_loads(s, 4, h, h, 2, all)},
          {"visible scores alone: standard attention moves all of them",
           standard_loads(s, 4, h, h, e, visible_pairs(s))},
          {"a count with log-sum-exps: standard attention writes none",
           standard_loads(s, 4, h, h, e, all, kFloatBytes)},
          {"a product that overflowed 32 bits", static_cast<std::int32_t>(right)}}));
}

// N = 4096, d = 64, one head, 2 bytes:
//   Q 2 N d = 524,288, K and V 1,048,576, S and P 4 * 2 N^2 = 134,217,728, O 4 N d = 1,048,576.
TEST(IoModelStandard, ByHand) {
  EXPECT_EQ(lab05::standard_attention_bytes({.q_len = 4096, .kv_len = 4096, .head_dim = 64}), 136'839'168);
}

TEST(IoModelStandard, ThreeKernelsOnAnyShape) {
  kit::Rng rng = kit::testing::make_rng(552);
  for (int i = 0; i < 30; ++i) {
    expect_standard(random_shape(rng, /*causal=*/false));
    if (HasFailure()) return;
  }
}

TEST(IoModelStandard, CausalMaskSavesNothing) {
  kit::Rng rng = kit::testing::make_rng(553);
  for (int i = 0; i < 10; ++i) {
    expect_standard(random_shape(rng, /*causal=*/true));
    if (HasFailure()) return;
  }
}

// The same head in tiles of 64: 64 query tiles, each with all of K and V:
//   Q 524,288, K and V 64 * 1,048,576 = 67,108,864, O 1,048,576, log-sum-exps 16,384.
// Causal: query tile t has t key tiles, in all 64 * 65 / 2 = 2,080 of 16,384 bytes: 34,078,720.
TEST(IoModelFlash, ByHand) {
  AttentionShape s{.q_len = 4096, .kv_len = 4096, .head_dim = 64};
  EXPECT_EQ(lab05::flash_attention_bytes(s, {64, 64}), 68'698'112);
  EXPECT_EQ(lab05::flash_tile_pairs(s, {64, 64}), 4096);
  s.causal = true;
  EXPECT_EQ(lab05::flash_attention_bytes(s, {64, 64}), 35'667'968);
  EXPECT_EQ(lab05::flash_tile_pairs(s, {64, 64}), 2080);
}

TEST(IoModelFlash, CountsLikeLoadByLoad) {
  kit::Rng rng = kit::testing::make_rng(554);
  for (int i = 0; i < 40; ++i) {
    expect_flash(random_shape(rng, /*causal=*/false), {between(rng, 1, 40), between(rng, 1, 40)});
    if (HasFailure()) return;
  }
}

TEST(IoModelFlash, CausalTilesAreLeftOut) {
  kit::Rng rng = kit::testing::make_rng(555);
  for (int i = 0; i < 40; ++i) {
    AttentionShape s = random_shape(rng, /*causal=*/true);
    if (i % 2 == 0) s.kv_len = s.q_len;
    expect_flash(s, {between(rng, 1, 40), between(rng, 1, 40)});
    if (HasFailure()) return;
  }
}

TEST(IoModelFlash, CausalIsAlignedToTheLastKey) {
  AttentionShape s{.q_len = 20, .kv_len = 100, .n_heads = 4, .n_kv_heads = 2, .head_dim = 16, .causal = true};
  expect_flash(s, {8, 16});
  s.q_len = 1;  // a decode step: everything is visible
  expect_flash(s, {8, 16});
  s.q_len = 100;
  s.kv_len = 20;  // the first 80 queries see nothing
  expect_flash(s, {8, 16});
  expect_flash(s, {16, 8});
  expect_flash(s, {30, 7});
}

TEST(IoModelFlash, TilesLargerThanTheSequence) {
  for (const bool causal : {false, true}) {
    const AttentionShape s{.q_len = 33,
                           .kv_len = 31,
                           .n_heads = 6,
                           .n_kv_heads = 3,
                           .head_dim = 5,
                           .causal = causal,
                           .element_bytes = 4};
    for (const TileSizes tiles : {TileSizes{64, 128}, {33, 31}, {1, 64}, {64, 1}, {1, 1}})
      expect_flash(s, tiles);
  }
}

TEST(IoModelFlash, HalfTheTilesWhenCausal) {
  for (const int n_tiles : {1, 2, 7, 64}) {
    const AttentionShape s{.q_len = 16 * n_tiles, .kv_len = 16 * n_tiles, .head_dim = 8, .causal = true};
    const std::int64_t expected = std::int64_t{n_tiles} * (n_tiles + 1) / 2;
    EXPECT_TRUE(matches_count(
        lab05::flash_tile_pairs(s, {16, 16}), expected,
        std::vector<KnownCount>{
            {"all pairs: those beyond the diagonal are left out", std::int64_t{n_tiles} * n_tiles},
            {"pairs without those on the diagonal", expected - n_tiles}}))
        << n_tiles << " tiles";
  }
}

TEST(IoModelFlash, TrafficDependsOnBrAlone) {
  const AttentionShape s{.q_len = 1024, .kv_len = 1024, .n_heads = 8, .n_kv_heads = 2, .head_dim = 64};
  const std::int64_t fixed = 8 * 1024 * (64 * 2 + 64 * 4 + 4);
  const std::int64_t kv = 8 * 2 * 1024 * 64 * 2;
  for (const int br : {16, 64, 256, 1024}) {
    for (const int bc : {16, 64, 256}) {
      EXPECT_TRUE(
          matches_count(lab05::flash_attention_bytes(s, {br, bc}), fixed + kv * (1024 / br),
                        std::vector<KnownCount>{
                            {"Bc read where Br is meant: keys are read once for each query tile, of Br rows",
                             fixed + kv * (1024 / bc)}}))
          << "br " << br << ", bc " << bc;
    }
  }
}

}  // namespace
