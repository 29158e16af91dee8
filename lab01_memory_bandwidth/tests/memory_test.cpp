#include "lab01/memory.h"

#include <gtest/gtest.h>

#include <limits>

#include "kit/model_table.h"
#include "reference.h"

namespace {

using kit::NumberFormat;
using kit::testing::matches_count;
using kit::testing::throws_error;
using lab01::WeightFormat;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

using enum kit::NumberFormat;

constexpr std::int64_t kBillion = 1'000'000'000;
constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

/// What a product becomes when it is computed in 32 bits.
std::int64_t in_32_bits(std::int64_t value) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(value));
}

std::vector<KnownCount> weight_mistakes(std::int64_t n, const WeightFormat& f) {
  const std::int64_t codes = packed(n, f.number);
  std::vector<KnownCount> mistakes = {
      {"bits taken for bytes: kit::bits() is 8 times the bytes of a weight", n * bits_of(f.number)},
      {"the bytes of whole weights: an int4 counted as 1 byte",
       n * std::max<std::int64_t>(1, bits_of(f.number) / 8)},
      {"the bytes of an int4 as 4 / 8 = 0 in integer arithmetic", n * (bits_of(f.number) / 8)},
      {"a product that overflowed 32 bits", in_32_bits(codes)},
      {"a product that overflowed 32 bits", in_32_bits(n * bits_of(f.number)) / 8},
      {"half a byte rounded down: an odd number of int4 weights ends with a byte that is half used",
       n * bits_of(f.number) / 8},
  };
  if (f.group_size == 0) return mistakes;
  const std::int64_t full_groups = n / f.group_size;
  const std::int64_t n_groups = (n + f.group_size - 1) / f.group_size;
  const std::int64_t zeros = f.zero_points ? packed(n_groups, f.number) : 0;
  const std::vector<KnownCount> of_groups = {
      {"the codes alone: group scales (2 bytes a group) forgotten", codes},
      {"scales but no zero points", codes + 2 * n_groups},
      {"the last, partly filled group not counted",
       codes + 2 * full_groups + (f.zero_points ? packed(full_groups, f.number) : 0)},
      {"scales of 4 bytes; they are fp16", codes + 4 * n_groups + zeros},
      {"zero points of 2 bytes; they are as wide as a weight", codes + 4 * n_groups},
      {"a whole byte for each zero point; they are packed like the weights",
       codes + 2 * n_groups + (f.zero_points ? n_groups : 0)},
  };
  mistakes.insert(mistakes.begin(), of_groups.begin(), of_groups.end());
  return mistakes;
}

void expect_weights(std::int64_t n, const WeightFormat& f) {
  SCOPED_TRACE(fmt::format("weight_bytes of {} parameters in {}, group_size {}{}", n, kit::name(f.number),
                           f.group_size, f.zero_points ? ", zero points" : ""));
  EXPECT_TRUE(matches_count(lab01::weight_bytes(n, f), reference_weight_bytes(n, f), weight_mistakes(n, f)));
}

TEST(WeightBytes, EveryFormat) {
  kit::Rng rng = kit::testing::make_rng(1);
  for (const NumberFormat format : {kFp32, kFp16, kBf16, kFp8, kInt8, kInt4}) {
    expect_weights(1 + rng.below(1000), {format});
    expect_weights(7 * kBillion + rng.below(1'000'000), {format});
  }
}

TEST(WeightBytes, SevenBillionInFp16AreFourteenGigabytes) {
  const std::int64_t bytes = lab01::weight_bytes(7 * kBillion, {kFp16});
  EXPECT_TRUE(matches_count(bytes, 14 * kBillion,
                            std::vector<KnownCount>{{"GiB where bytes are asked for", 13},
                                                    {"GB where bytes are asked for", 14},
                                                    {"bits taken for bytes", 112 * kBillion}}));
}

TEST(WeightBytes, GroupsHaveScales) {
  kit::Rng rng = kit::testing::make_rng(2);
  for (const NumberFormat format : {kInt8, kInt4}) {
    for (const std::int64_t group_size : {32, 64, 128}) {
      expect_weights(group_size * (1 + rng.below(1'000'000)), {format, group_size});
      expect_weights(2 * group_size * (1 + rng.below(1'000'000)), {format, group_size, true});
    }
  }
  expect_weights(70 * kBillion, {kInt4, 128});  // 36.09 GB, not 35
}

TEST(WeightBytes, LastGroupMayBePartlyFilled) {
  kit::Rng rng = kit::testing::make_rng(3);
  for (const std::int64_t group_size : {3, 31, 33, 128}) {
    const std::int64_t n =
        group_size * (1 + rng.below(1000)) + 1 + rng.below(static_cast<std::uint32_t>(group_size - 1));
    expect_weights(n, {kInt4, group_size});
    expect_weights(n, {kInt4, group_size, true});
    expect_weights(n, {kInt8, group_size, true});
  }
  expect_weights(1, {kInt4, 128, true});
}

TEST(WeightBytes, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { (void)lab01::weight_bytes(0, {kFp16}); }, "n_params")) << "no parameters";
  EXPECT_TRUE(throws_error([] { (void)lab01::weight_bytes(-7, {kFp16}); }, "-7")) << "-7 parameters";
  EXPECT_TRUE(throws_error([] { (void)lab01::weight_bytes(kHuge / 2, {kFp32}); }, std::to_string(kHuge / 2)))
      << "the bytes do not fit 64 bits";
  EXPECT_TRUE(throws_error([] { (void)lab01::weight_bytes(100, {kInt4, -32}); }, "-32")) << "group_size -32";
  EXPECT_TRUE(throws_error([] { (void)lab01::weight_bytes(100, {kFp16, 32}); }, "fp16")) << "groups of fp16";
  EXPECT_TRUE(throws_error([] { (void)lab01::weight_bytes(100, {kFp8, 32}); }, "fp8")) << "groups of fp8";
  EXPECT_TRUE(throws_error([] {
    (void)lab01::weight_bytes(100, {kInt4, 0, true});
  })) << "zero points, no groups";
}

std::vector<KnownCount> kv_mistakes(const kit::ModelConfig& m, std::int64_t batch, std::int64_t kv_len,
                                    NumberFormat format) {
  const std::int64_t expected = reference_kv_bytes(m, batch, kv_len, format);
  kit::ModelConfig with_query_heads = m;
  with_query_heads.n_kv_heads = m.n_heads;
  const std::int64_t dims = packed(2 * batch * kv_len * m.n_layers * m.dim, format);
  return {{"the value with query heads instead of KV heads: heads of a group share one key and value",
           reference_kv_bytes(with_query_heads, batch, kv_len, format)},
          {"the value with dim in place of n_kv_heads * head_dim", dims},
          {"a value off by the factor 2 of K and V: keys or values alone", expected / 2},
          {"bits taken for bytes", expected * 8},
          {"one sequence: the batch forgotten", expected / batch},
          {"one layer", expected / m.n_layers},
          {"a product that overflowed 32 bits", in_32_bits(expected)},
          {"a product that overflowed 32 bits",
           in_32_bits(expected / bits_of(format) * 8) * bits_of(format) / 8}};
}

void expect_kv(const kit::ModelConfig& m, std::int64_t batch, std::int64_t kv_len, NumberFormat format) {
  SCOPED_TRACE(fmt::format("kv_cache_bytes: batch {}, kv_len {}, {}; {}", batch, kv_len, kit::name(format),
                           describe(m)));
  EXPECT_TRUE(matches_count(lab01::kv_cache_bytes(m, batch, kv_len, format),
                            reference_kv_bytes(m, batch, kv_len, format),
                            kv_mistakes(m, batch, kv_len, format)));
}

TEST(KvCacheBytes, MultiHeadGroupedAndMultiQuery) {
  kit::Rng rng = kit::testing::make_rng(4);
  for (const int group : {1, 2, 4, 8}) {
    kit::ModelConfig m = random_model(rng, group);
    expect_kv(m, between(rng, 2, 30), between(rng, 100, 5000), kFp16);
    m.n_kv_heads = 1;  // MQA
    expect_kv(m, between(rng, 2, 30), between(rng, 100, 5000), kFp16);
  }
}

TEST(KvCacheBytes, EveryFormat) {
  kit::Rng rng = kit::testing::make_rng(5);
  for (const NumberFormat format : {kFp32, kFp16, kBf16, kFp8, kInt8, kInt4}) {
    const kit::ModelConfig m = random_model(rng, 3);
    expect_kv(m, between(rng, 2, 30), between(rng, 100, 5000), format);
  }
}

TEST(KvCacheBytes, Llama70bBatch16Is20Gibibytes) {
  const kit::ModelConfig& m = kit::find_model("llama2-70b").config;
  constexpr std::int64_t kExpected = 21'474'836'480;  // 20 GiB, 21.5 GB; not 16
  static_assert(kExpected == std::int64_t{2} * 16 * 4096 * 80 * 8 * 128 * 2);
  EXPECT_TRUE(
      matches_count(lab01::kv_cache_bytes(m, 16, 4096, kFp16), kExpected, kv_mistakes(m, 16, 4096, kFp16)));
}

TEST(KvCacheBytes, RejectsWhatCannotBe) {
  kit::ModelConfig m = kit::find_model("llama2-7b").config;
  EXPECT_TRUE(throws_error([&] { (void)lab01::kv_cache_bytes(m, 0, 10, kFp16); }, "batch")) << "batch 0";
  EXPECT_TRUE(throws_error([&] { (void)lab01::kv_cache_bytes(m, -3, 10, kFp16); }, "-3")) << "batch -3";
  EXPECT_TRUE(throws_error([&] { (void)lab01::kv_cache_bytes(m, 1, 0, kFp16); }, "kv_len")) << "kv_len 0";
  EXPECT_TRUE(throws_error([&] { (void)lab01::kv_cache_bytes(m, 1, -5, kFp16); }, "-5")) << "kv_len -5";
  EXPECT_TRUE(throws_error([&] { (void)lab01::kv_cache_bytes(m, 1 << 30, std::int64_t{1} << 40, kFp16); },
                           std::to_string(std::int64_t{1} << 40)))
      << "the product does not fit 64 bits";
  m.n_kv_heads = 0;
  EXPECT_TRUE(throws_error([&] { (void)lab01::kv_cache_bytes(m, 1, 10, kFp16); }, "n_kv_heads"))
      << "a model without key/value heads";
}

void expect_activations(const kit::ModelConfig& m, std::int64_t batch, std::int64_t q_len,
                        NumberFormat format) {
  SCOPED_TRACE(fmt::format("activation_bytes: batch {}, q_len {}, {}; {}", batch, q_len, kit::name(format),
                           describe(m)));
  const std::int64_t expected = reference_activation_bytes(m, batch, q_len, format);
  const std::int64_t n_bytes = bits_of(format) / 8;
  const std::int64_t n = batch * q_len;
  const std::int64_t q = std::int64_t{m.n_heads} * m.head_dim;
  const std::int64_t kv = std::int64_t{m.n_kv_heads} * m.head_dim;
  const std::int64_t attention = n * (2 * m.dim + 2 * q + 2 * kv) * n_bytes;
  const std::int64_t mlp = n * (2 * m.dim + 2 * m.hidden_dim) * n_bytes;
  const std::int64_t head = (n * m.dim + batch * m.vocab_size) * n_bytes;
  const std::vector<KnownCount> mistakes = {
      {"activations kept for every layer, as training does; inference uses the same buffers again",
       expected * m.n_layers},
      {"the sum of moments that are not alive at once; the largest counts", attention + mlp + head},
      {"the sum of moments that are not alive at once; the largest counts", attention + mlp},
      {"attention alone; the MLP or the head needs more here", attention},
      {"the MLP alone; attention or the head needs more here", mlp},
      {"the head alone; a layer needs more here", head},
      {"logits of every position; only the last one of each sequence has any",
       (n * m.dim + n * m.vocab_size) * n_bytes},
      {"bits taken for bytes", expected * 8}};
  EXPECT_TRUE(matches_count(lab01::activation_bytes(m, batch, q_len, format), expected, mistakes));
}

TEST(ActivationBytes, LargestMomentCounts) {
  kit::Rng rng = kit::testing::make_rng(6);
  kit::ModelConfig m = random_model(rng, 2);
  expect_activations(m, between(rng, 2, 9), between(rng, 100, 3000), kFp16);  // the MLP is widest
  m.hidden_dim = m.n_heads * m.head_dim / 2;
  expect_activations(m, between(rng, 2, 9), between(rng, 100, 3000), kFp16);  // now attention
  m.vocab_size = 40 * m.dim;
  expect_activations(m, between(rng, 2, 9), 1, kFp16);  // decode with a large vocabulary: the logits
  expect_activations(m, between(rng, 2, 9), between(rng, 100, 3000), kFp16);
}

TEST(ActivationBytes, FormatsAndLargeProducts) {
  kit::Rng rng = kit::testing::make_rng(7);
  for (const NumberFormat format : {kFp32, kBf16, kFp8, kInt8})
    expect_activations(random_model(rng, 4), between(rng, 2, 9), between(rng, 100, 3000), format);
  expect_activations(kit::find_model("llama2-70b").config, 16, 4096, kFp16);  // 9.66 GB: prefill in one piece
}

TEST(ActivationBytes, RejectsWhatCannotBe) {
  const kit::ModelConfig& m = kit::find_model("llama2-7b").config;
  EXPECT_TRUE(throws_error([&] { (void)lab01::activation_bytes(m, 0, 1, kFp16); }, "batch")) << "batch 0";
  EXPECT_TRUE(throws_error([&] { (void)lab01::activation_bytes(m, 1, -2, kFp16); }, "-2")) << "q_len -2";
  EXPECT_TRUE(throws_error([&] { (void)lab01::activation_bytes(m, 1, 1, kInt4); }, "int4")) << "int4";
  EXPECT_TRUE(
      throws_error([&] { (void)lab01::activation_bytes(m, kHuge / 4, 2, kFp16); }, std::to_string(kHuge / 4)))
      << "the product does not fit 64 bits";
}

}  // namespace
