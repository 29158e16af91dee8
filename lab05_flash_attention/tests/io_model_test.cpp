#include "lab05/io_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::testing::KnownCount;
using kit::testing::KnownValue;
using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab05::AttentionShape;
using lab05::TileSizes;

constexpr std::int64_t kFloatBytes = 4;

/// What the counts below can get wrong on purpose.
struct Variant {
  bool exchange_tiles = false;
  bool one_head = false;
  bool shared_kv = false;  ///< keys and values once for each key/value head
  bool causal = true;      ///< if the shape is
  bool top_left = false;
  bool visible_rows_only = false;  ///< not whole tiles: of the last key tile only what is seen
  bool full_last_tile = false;     ///< rows beyond kv_len are loaded, too
  bool keys_once = false;
  bool keys_for_every_query = false;
  bool q_for_every_key_tile = false;
  bool keys_without_values = false;
  bool log_sum_exps = true;
  bool out_in_elements = false;
  int element_bytes = 0;
};

bool sees(const AttentionShape& s, int i, int j, const Variant& v) {
  if (!s.causal || !v.causal) return true;
  return j <= i + (v.top_left ? 0 : s.kv_len - s.q_len);
}

std::int64_t visible_pairs(const AttentionShape& s, const Variant& v = {}) {
  std::int64_t n = 0;
  for (int i = 0; i < s.q_len; ++i) {
    for (int j = 0; j < s.kv_len; ++j) n += sees(s, i, j, v) ? 1 : 0;
  }
  return n;
}

/// Every load and store of flash attention, tile by tile; a pair of tiles is worked on if any query in it
/// sees any key in it.
struct Loads {
  std::int64_t pairs = 0;
  std::int64_t bytes = 0;
};

Loads flash_loads(const AttentionShape& s, TileSizes t, const Variant& v = {}) {
  if (v.exchange_tiles) std::swap(t.br, t.bc);
  const std::int64_t element = v.element_bytes > 0 ? v.element_bytes : s.element_bytes;
  const std::int64_t row = s.head_dim * element;
  Loads head;
  std::int64_t key_rows = 0;
  for (int q0 = 0; q0 < s.q_len; q0 += t.br) {
    const int q1 = std::min(q0 + t.br, s.q_len);
    std::int64_t n_tiles = 0;
    for (int k0 = 0; k0 < s.kv_len; k0 += t.bc) {
      const int k1 = std::min(k0 + t.bc, s.kv_len);
      int last_seen = -1;
      for (int i = q0; i < q1; ++i) {
        for (int j = k0; j < k1; ++j) last_seen = sees(s, i, j, v) ? std::max(last_seen, j) : last_seen;
      }
      if (last_seen < 0) continue;
      ++n_tiles;
      const int end = v.visible_rows_only ? last_seen + 1 : v.full_last_tile ? k0 + t.bc : k1;
      key_rows += (v.keys_for_every_query ? q1 - q0 : 1) * (end - k0);
    }
    head.pairs += n_tiles;
    head.bytes += (q1 - q0) * row * (v.q_for_every_key_tile ? std::max<std::int64_t>(n_tiles, 1) : 1);
    head.bytes += (q1 - q0) * (s.head_dim * std::int64_t{v.out_in_elements ? element : s.out_bytes} +
                               (v.log_sum_exps ? kFloatBytes : 0));
  }
  if (v.keys_once) key_rows = s.kv_len;
  const std::int64_t kv_bytes = (v.keys_without_values ? 1 : 2) * key_rows * row;
  const std::int64_t n_heads = v.one_head ? 1 : s.n_heads;
  return {head.pairs, n_heads * head.bytes + (v.shared_kv ? s.n_kv_heads : n_heads) * kv_bytes};
}

struct NamedVariant {
  const char* cause;
  Variant variant;
};

std::vector<NamedVariant> flash_variants() {
  return {
      {"Bc read where Br is meant: keys are read once for each query tile, of Br rows",
       {.exchange_tiles = true}},
      {"one head: n_heads is forgotten", {.one_head = true}},
      {"keys and values once for a group: each query head reads them by itself", {.shared_kv = true}},
      {"a causal mask that skips no tile", {.causal = false}},
      {"a causal mask aligned to the first key: it is aligned to the last", {.top_left = true}},
      {"the visible rows of the diagonal tile alone: a tile is loaded whole", {.visible_rows_only = true}},
      {"whole tiles beyond the last key: the last tile ends with the sequence", {.full_last_tile = true}},
      {"keys and values read once: they are read again for each query tile", {.keys_once = true}},
      {"keys and values read for each query: a tile of queries shares them", {.keys_for_every_query = true}},
      {"Q read again for each key tile: it stays on chip", {.q_for_every_key_tile = true}},
      {"keys without values, or values without keys", {.keys_without_values = true}},
      {"a count without the log-sum-exps", {.log_sum_exps = false}},
      {"out in element_bytes: it has out_bytes", {.out_in_elements = true}},
      {"4 bytes an element, whatever element_bytes says", {.element_bytes = 4}},
      {"2 bytes an element, whatever element_bytes says", {.element_bytes = 2}}};
}

std::string text(const AttentionShape& s, const TileSizes& t = {}) {
  return fmt::format(
      "q_len {}, kv_len {}, n_heads {}, n_kv_heads {}, head_dim {}, {}, {} bytes, br {}, bc {}", s.q_len,
      s.kv_len, s.n_heads, s.n_kv_heads, s.head_dim, s.causal ? "causal" : "no mask", s.element_bytes, t.br,
      t.bc);
}

void expect_flash(const AttentionShape& s, const TileSizes& t) {
  SCOPED_TRACE(text(s, t));
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

int between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

AttentionShape random_shape(kit::Rng& rng, bool causal) {
  const int n_kv_heads = between(rng, 2, 4);
  return {.q_len = between(rng, 1, 120),
          .kv_len = between(rng, 1, 120),
          .n_heads = n_kv_heads * between(rng, 2, 5),
          .n_kv_heads = n_kv_heads,
          .head_dim = between(rng, 3, 130),
          .causal = causal,
          .element_bytes = 1 << rng.below(3),
          .out_bytes = rng.below(2) == 0 ? 4 : 8};
}

void expect_flops(const AttentionShape& s) {
  SCOPED_TRACE(text(s));
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
    SCOPED_TRACE(text(s));
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

/// n_scores: how often a matrix of scores or probabilities is moved.
std::int64_t standard(const AttentionShape& s, std::int64_t n_scores, std::int64_t n_heads,
                      std::int64_t kv_heads, std::int64_t element, std::int64_t pairs,
                      std::int64_t lse_bytes = 0) {
  const std::int64_t d = s.head_dim;
  return element * (n_heads * s.q_len * d + 2 * kv_heads * s.kv_len * d + n_scores * n_heads * pairs) +
         n_heads * s.q_len * (d * s.out_bytes + lse_bytes);
}

void expect_standard(const AttentionShape& s) {
  SCOPED_TRACE(text(s));
  const std::int64_t all = std::int64_t{s.q_len} * s.kv_len;
  const std::int64_t h = s.n_heads;
  const std::int64_t e = s.element_bytes;
  const auto with_scores = [&](std::int64_t n) { return standard(s, n, h, h, e, all); };
  const std::int64_t right = with_scores(4);
  EXPECT_TRUE(matches_count(
      lab05::standard_attention_bytes(s), right,
      std::vector<KnownCount>{
          {"scores and probabilities written once each and never read", with_scores(2)},
          {"one matrix of scores, moved once", with_scores(1)},
          {"3 of the 4 moves of scores and probabilities: S and P are each written and read", with_scores(3)},
          {"no scores: in standard attention they go through global memory", with_scores(0)},
          {"one head: n_heads is forgotten", standard(s, 4, 1, 1, e, all)},
          {"keys and values once for a group: each query head reads them by itself",
           standard(s, 4, h, s.n_kv_heads, e, all)},
          {"4 bytes an element, whatever element_bytes says", standard(s, 4, h, h, 4, all)},
          {"2 bytes an element, whatever element_bytes says", standard(s, 4, h, h, 2, all)},
          {"visible scores alone: standard attention moves all of them",
           standard(s, 4, h, h, e, visible_pairs(s))},
          {"a count with log-sum-exps: standard attention writes none",
           standard(s, 4, h, h, e, all, kFloatBytes)},
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

std::int64_t on_chip(std::int64_t br, std::int64_t bc, std::int64_t d, std::int64_t e) {
  return (br + 2 * bc) * d * e + 4 * br * (d + bc);
}

TEST(IoModelTiles, BytesOnChip) {
  // Q 64 * 64 * 2 = 8,192, K and V 2 * 32 * 64 * 2 = 8,192, sums 64 * 64 * 4 = 16,384, scores 64 * 32 * 4 =
  // 8,192.
  EXPECT_EQ(lab05::tile_bytes({64, 32}, 64, 2), 40'960);
  kit::Rng rng = kit::testing::make_rng(556);
  for (int i = 0; i < 20; ++i) {
    const std::int64_t br = between(rng, 1, 300);
    const std::int64_t bc = between(rng, 1, 300);
    const std::int64_t d = between(rng, 3, 300);
    const std::int64_t e = 1 << rng.below(3);
    EXPECT_TRUE(matches_count(
        lab05::tile_bytes({static_cast<int>(br), static_cast<int>(bc)}, static_cast<int>(d),
                          static_cast<int>(e)),
        on_chip(br, bc, d, e),
        std::vector<KnownCount>{
            {"Br and Bc exchanged", on_chip(bc, br, d, e)},
            {"keys without values: both have a tile", (br + bc) * d * e + 4 * br * (d + bc)},
            {"tiles without scores: they need br * bc floats", (br + 2 * bc) * d * e + 4 * br * d},
            {"tiles without the output's sums, [br, head_dim] floats", (br + 2 * bc) * d * e + 4 * br * bc},
            {"sums and scores in elements: they are floats", (2 * br + 2 * bc) * d * e + e * br * bc},
            {"numbers, not bytes", (2 * br + 2 * bc) * d + br * bc},
            {"a product that overflowed 32 bits", static_cast<std::int32_t>(on_chip(br, bc, d, e))}}))
        << "br " << br << ", bc " << bc << ", head_dim " << d << ", " << e << " bytes";
  }
  EXPECT_EQ(lab05::tile_bytes({1 << 20, 1 << 20}, 64, 2), on_chip(1 << 20, 1 << 20, 64, 2));
}

TEST(IoModelTiles, LargestThatFit) {
  kit::Rng rng = kit::testing::make_rng(557);
  for (int i = 0; i < 40; ++i) {
    const std::int64_t d = between(rng, 8, 256);
    const std::int64_t e = 1 << rng.below(3);
    const auto with = [&](std::int64_t br) { return on_chip(br, std::min(br, d), d, e); };
    const std::int64_t expected = 16 * between(rng, 1, 40);
    // From exactly enough to one byte short of the next size.
    const std::int64_t room = with(expected + 16) - with(expected);
    const std::int64_t m = with(expected) + (i % 3 == 0 ? 0 : i % 3 == 1 ? room - 1 : room / 2);
    const TileSizes got = lab05::tile_sizes(m, static_cast<int>(d), static_cast<int>(e));
    std::int64_t square = 16;
    while (on_chip(square + 16, square + 16, d, e) <= m) square += 16;
    const std::int64_t paper = (m / e + 4 * d - 1) / (4 * d);
    EXPECT_TRUE(matches_count(
        got.br, expected,
        std::vector<KnownCount>{
            {"br = bc: bc need not exceed head_dim", square},
            {"the paper's Bc, ceil(M / 4d): it leaves the scores no room", paper},
            {"the paper's Br, min(ceil(M / 4d), d): here br is the large one", std::min(paper, d)},
            {"one step too many: it does not fit", expected + 16},
            {"one step too few", expected - 16}}))
        << "br for " << m << " bytes, head_dim " << d << ", " << e << " bytes an element";
    EXPECT_EQ(got.bc, std::min(expected, d)) << "bc = min(br, head_dim)";
    if (HasFailure()) return;
  }
}

// Theorem 2 of the paper: N^2 d^2 / M. With tiles that fill M, keys and values are 2 N^2 d e / Br bytes, and
// Br is (M - 2 d^2 e) / (d (e + 8)), rounded down to 16: twice the on-chip memory, half the traffic.
TEST(IoModelTiles, TrafficFallsAsOneOverOnChipMemory) {
  const AttentionShape s{.q_len = 16384, .kv_len = 16384, .head_dim = 64};
  std::vector<double> kib;
  std::vector<double> flash;
  std::vector<double> standard_mib;
  std::vector<double> least;
  constexpr double kMebibyte = 1 << 20;
  for (std::int64_t m = 1 << 15; m <= 1 << 21; m *= 2) {
    const TileSizes tiles = lab05::tile_sizes(m, 64, 2);
    ASSERT_TRUE(tiles.br >= 16 && tiles.bc >= 1);
    const std::int64_t bytes = lab05::flash_attention_bytes(s, tiles);
    kib.push_back(static_cast<double>(m) / 1024);
    flash.push_back(static_cast<double>(bytes) / kMebibyte);
    standard_mib.push_back(static_cast<double>(lab05::standard_attention_bytes(s)) / kMebibyte);
    least.push_back(static_cast<double>(lab05::compulsory_bytes(s)) / kMebibyte);
    const double theorem = 16384.0 * 16384.0 * 64 * 64 / static_cast<double>(m);
    // 2 e (e + 8) = 40 where Br is far above d and the traffic of Q and O is small beside that of K and V;
    // up to 64 where it is not, at both ends.
    const double factor = static_cast<double>(bytes) / theorem;
    EXPECT_TRUE(factor > 35 && factor < 70) << factor << " times N^2 d^2 / M, at " << m << " bytes on chip";
  }
  kit::testing::record_series("on_chip_kib", kib);
  kit::testing::record_series("flash_mib", flash);
  kit::testing::record_series("standard_mib", standard_mib);
  kit::testing::record_series("compulsory_mib", least);
}

double reference_ratio(const AttentionShape& s, const TileSizes& t) {
  return static_cast<double>(
             standard(s, 4, s.n_heads, s.n_heads, s.element_bytes, std::int64_t{s.q_len} * s.kv_len)) /
         static_cast<double>(flash_loads(s, t).bytes);
}

void expect_ratio_and_intensity(const AttentionShape& s, const TileSizes& t) {
  SCOPED_TRACE(text(s, t));
  const double ratio = reference_ratio(s, t);
  EXPECT_TRUE(matches_value(lab05::traffic_ratio(s, t), ratio, 1e-12,
                            std::vector<KnownValue>{{"flash / standard: upside down", 1 / ratio},
                                                    {"a quotient in integers", std::floor(ratio)}}));
  const double flops = 4.0 * s.head_dim * s.n_heads * static_cast<double>(visible_pairs(s));
  const double intensity = flops / static_cast<double>(flash_loads(s, t).bytes);
  EXPECT_TRUE(
      matches_value(lab05::flash_intensity(s, t), intensity, 1e-12,
                    std::vector<KnownValue>{{"bytes for a FLOP: upside down", 1 / intensity},
                                            {"a quotient in integers", std::floor(intensity)},
                                            {"the intensity of standard attention", intensity / ratio}}));
}

TEST(IoModelRatio, TrafficAndIntensity) {
  kit::Rng rng = kit::testing::make_rng(558);
  for (int i = 0; i < 20; ++i) {
    expect_ratio_and_intensity(random_shape(rng, i % 2 == 0), {between(rng, 1, 40), between(rng, 1, 40)});
    if (HasFailure()) return;
  }
}

// For N far above d: (4 N^2 e) / (2 N^2 d e / Br) = 2 Br / d, and 4 N^2 d / (2 N^2 d e / Br) = 2 Br / e.
TEST(IoModelRatio, LongSequencesApproachTheSimpleFormulas) {
  const AttentionShape s{
      .q_len = 1 << 17, .kv_len = 1 << 17, .n_heads = 32, .n_kv_heads = 8, .head_dim = 128};
  for (const int br : {64, 128, 256}) {
    EXPECT_TRUE(matches_value(lab05::traffic_ratio(s, {br, 64}), 2.0 * br / 128, 0.01)) << "br " << br;
    EXPECT_TRUE(matches_value(lab05::flash_intensity(s, {br, 64}), 2.0 * br / 2, 0.01)) << "br " << br;
  }
}

// One query: the scores are a row, and keys and values are read once in any case.
TEST(IoModelRatio, DecodeGainsNothing) {
  const AttentionShape s{
      .q_len = 1, .kv_len = 8192, .n_heads = 32, .n_kv_heads = 8, .head_dim = 128, .causal = true};
  EXPECT_LT(lab05::traffic_ratio(s, {64, 64}), 1.02);
  EXPECT_GT(lab05::traffic_ratio(s, {64, 64}), 1.0);
  EXPECT_NEAR(lab05::flash_intensity(s, {64, 64}), 1.0, 0.01) << "a FLOP for each byte";
}

// 128 K tokens, 64 heads of 128: 4 * 2 * 64 * 2^34 bytes of scores alone.
TEST(IoModelLimits, LargeShapesAreRightOrRefused) {
  AttentionShape s{.q_len = 1 << 17, .kv_len = 1 << 17, .n_heads = 64, .n_kv_heads = 8, .head_dim = 128};
  const std::int64_t n = 1 << 17;
  const std::int64_t right = 64 * (n * 128 * 2 + 2 * n * 128 * 2 + 4 * n * n * 2 + n * 128 * 4);
  EXPECT_TRUE(matches_count(
      lab05::standard_attention_bytes(s), right,
      std::vector<KnownCount>{{"a product that overflowed 32 bits", static_cast<std::int32_t>(right)}}));
  const std::int64_t flash = 64 * (n * 128 * 2 + (n / 64) * 2 * n * 128 * 2 + n * 128 * 4 + n * 4);
  EXPECT_TRUE(matches_count(
      lab05::flash_attention_bytes(s, {64, 32}), flash,
      std::vector<KnownCount>{{"a product that overflowed 32 bits", static_cast<std::int32_t>(flash)}}));
  s.q_len = s.kv_len = std::numeric_limits<int>::max();
  EXPECT_TRUE(throws_error([&] { (void)lab05::attention_flops(s); })) << "2^31 queries, 2^31 keys, 64 heads";
  EXPECT_TRUE(throws_error([&] { (void)lab05::standard_attention_bytes(s); }));
  EXPECT_TRUE(throws_error([&] {
                (void)lab05::flash_attention_bytes(s, {1 << 20, 64});
              }) ||
              lab05::flash_attention_bytes(s, {1 << 20, 64}) > 0)
      << "a negative number of bytes";
}

TEST(IoModelLimits, RejectsWhatCannotBe) {
  const AttentionShape good{.q_len = 32, .kv_len = 32, .n_heads = 8, .n_kv_heads = 4, .head_dim = 16};
  const TileSizes tiles{16, 16};
  const auto refuses = [&](int AttentionShape::*count, int value) {
    AttentionShape s = good;
    s.*count = value;
    const std::string needle = std::to_string(value);
    for (const std::function<void()>& call : std::vector<std::function<void()>>{
             [&] { (void)lab05::attention_flops(s); }, [&] { (void)lab05::compulsory_bytes(s); },
             [&] { (void)lab05::standard_attention_bytes(s); },
             [&] { (void)lab05::flash_tile_pairs(s, tiles); },
             [&] { (void)lab05::flash_attention_bytes(s, tiles); },
             [&] { (void)lab05::traffic_ratio(s, tiles); },
             [&] { (void)lab05::flash_intensity(s, tiles); }}) {
      const auto result = throws_error(call, needle);
      if (!result) return result;
    }
    return ::testing::AssertionSuccess();
  };
  for (const int value : {0, -77}) {
    EXPECT_TRUE(refuses(&AttentionShape::q_len, value)) << "q_len " << value;
    EXPECT_TRUE(refuses(&AttentionShape::kv_len, value)) << "kv_len " << value;
    EXPECT_TRUE(refuses(&AttentionShape::n_heads, value)) << "n_heads " << value;
    EXPECT_TRUE(refuses(&AttentionShape::n_kv_heads, value)) << "n_kv_heads " << value;
    EXPECT_TRUE(refuses(&AttentionShape::head_dim, value)) << "head_dim " << value;
    EXPECT_TRUE(refuses(&AttentionShape::element_bytes, value)) << "element_bytes " << value;
    EXPECT_TRUE(refuses(&AttentionShape::out_bytes, value)) << "out_bytes " << value;
  }
  EXPECT_TRUE(refuses(&AttentionShape::n_kv_heads, 3)) << "8 heads, 3 key/value heads";
  for (const TileSizes bad : {TileSizes{0, 16}, {16, 0}, {-77, 16}, {16, -77}}) {
    const std::string needle = std::to_string(std::min(bad.br, bad.bc));
    EXPECT_TRUE(throws_error([&] { (void)lab05::flash_attention_bytes(good, bad); }, needle));
    EXPECT_TRUE(throws_error([&] { (void)lab05::flash_tile_pairs(good, bad); }, needle));
    EXPECT_TRUE(throws_error([&] { (void)lab05::tile_bytes(bad, 16, 2); }, needle));
  }
  EXPECT_TRUE(throws_error([] { (void)lab05::tile_bytes({16, 16}, -77, 2); }, "-77"));
  EXPECT_TRUE(throws_error([] { (void)lab05::tile_bytes({16, 16}, 16, -77); }, "-77"));
}

TEST(IoModelLimits, RejectsChipsThatHoldNoTile) {
  const std::int64_t least = on_chip(16, 16, 64, 2);
  const TileSizes got = lab05::tile_sizes(least, 64, 2);
  EXPECT_EQ(got.br, 16);
  EXPECT_EQ(got.bc, 16);
  EXPECT_TRUE(throws_error([&] { (void)lab05::tile_sizes(least - 1, 64, 2); }));
  EXPECT_TRUE(throws_error([] { (void)lab05::tile_sizes(0, 64, 2); }));
  EXPECT_TRUE(throws_error([] { (void)lab05::tile_sizes(-77, 64, 2); }));
  EXPECT_TRUE(throws_error([] { (void)lab05::tile_sizes((std::int64_t{1} << 30) + 1, 64, 2); }));
  EXPECT_TRUE(throws_error([&] { (void)lab05::tile_sizes(least, -77, 2); }, "-77"));
  EXPECT_TRUE(throws_error([&] { (void)lab05::tile_sizes(least, 64, -77); }, "-77"));
}

}  // namespace
