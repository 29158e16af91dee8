#include "lab05/io_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "io_reference.h"
#include "kit/testing.h"

namespace {

using kit::testing::KnownCount;
using kit::testing::KnownValue;
using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab05::AttentionShape;
using lab05::TileSizes;
using lab05_tests::between;
using lab05_tests::flash_loads;
using lab05_tests::random_shape;
using lab05_tests::standard_loads;
using lab05_tests::to_text;
using lab05_tests::visible_pairs;

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
             standard_loads(s, 4, s.n_heads, s.n_heads, s.element_bytes, std::int64_t{s.q_len} * s.kv_len)) /
         static_cast<double>(flash_loads(s, t).bytes);
}

void expect_ratio_and_intensity(const AttentionShape& s, const TileSizes& t) {
  SCOPED_TRACE(to_text(s, t));
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
