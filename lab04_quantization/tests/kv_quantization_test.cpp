#include "lab04/kv_quantization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "kit/testing.h"
#include "reference_formats.h"

namespace {

using kit::KvCache;
using kit::KvCacheConfig;
using kit::Shape;
using kit::Tensor;
using kit::testing::matches;
using kit::testing::throws_error;
using lab04_tests::GroupRange;

constexpr KvCacheConfig kConfig{.n_layers = 3, .n_kv_heads = 3, .head_dim = 20, .max_len = 33};
constexpr int kGroup = 5;  // of the KIVI cache: 6 full groups of keys and 3 tokens

using View = kit::TensorView<const float>;

/// Some tokens' keys and values, [n, n_kv_heads, head_dim] each.
struct Chunk {
  Tensor<float> k;
  Tensor<float> v;
};

/// Other magnitudes in every token, head and channel, so that no scale fits another one's numbers.
Tensor<float> random_tokens(int n, kit::Rng& rng, const KvCacheConfig& config) {
  Tensor<float> x = kit::testing::random_tensor({n, config.n_kv_heads, config.head_dim}, rng);
  for (std::int64_t t = 0; t < n; ++t) {
    const float of_token = rng.uniform(0.5F, 2.0F);
    for (std::int64_t h = 0; h < x.dim(1); ++h) {
      const float of_head = of_token * static_cast<float>(1 + 3 * h);
      for (std::int64_t d = 0; d < x.dim(2); ++d) x(t, h, d) *= of_head * static_cast<float>(1 + d * 7 % 11);
    }
  }
  return x;
}

Chunk random_chunk(int n, kit::Rng& rng, const KvCacheConfig& config = kConfig) {
  Tensor<float> k = random_tokens(n, rng, config);
  return {std::move(k), random_tokens(n, rng, config)};
}

Tensor<float> concatenate(const std::vector<View>& parts) {
  std::int64_t n = 0;
  for (const View& part : parts) n += part.dim(0);
  Tensor<float> all({n, parts[0].dim(1), parts[0].dim(2)});
  float* end = all.data();
  for (const View& part : parts) end = std::copy(part.span().begin(), part.span().end(), end);
  return all;
}

Chunk concatenate(const std::vector<Chunk>& chunks) {
  std::vector<View> k;
  std::vector<View> v;
  for (const Chunk& chunk : chunks) {
    k.push_back(chunk.k.view());
    v.push_back(chunk.v.view());
  }
  return {concatenate(k), concatenate(v)};
}

/// Sizes of the calls of append(), which a right cache does not show.
using Pieces = std::vector<int>;

/// One of the two caches, and what it must show after these tokens.
struct Scheme {
  std::string name;
  std::function<std::unique_ptr<KvCache>(const KvCacheConfig&)> make;
  std::function<Tensor<float>(View)> keys;
  std::function<Tensor<float>(View)> values;
  std::function<std::vector<kit::KnownMistake>(View x, const Pieces& pieces)> key_mistakes;
  std::function<std::vector<kit::KnownMistake>(View x, const Pieces& pieces)> value_mistakes;
};

/// Every token quantized with its own scales, and given back with those of head `shown_with(head)`.
template <class ShownWith>
Tensor<float> int8_with_scales_of(View x, const ShownWith& shown_with) {
  Tensor<float> result(x.shape());
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    std::vector<float> scales;
    for (std::int64_t h = 0; h < x.dim(1); ++h) {
      float max_abs = 0.0F;
      for (const float value : x.row(t, h)) max_abs = std::max(max_abs, std::abs(value));
      scales.push_back(lab04_tests::usable(max_abs / 127.0F));
    }
    for (std::int64_t h = 0; h < x.dim(1); ++h) {
      for (std::int64_t d = 0; d < x.dim(2); ++d)
        result(t, h, d) = scales[shown_with(h)] * std::nearbyint(x(t, h, d) / scales[h]);
    }
  }
  return result;
}

std::vector<kit::KnownMistake> int8_mistakes(View x, const Pieces& pieces) {
  using lab04_tests::on_int8_grid;
  const std::int64_t heads = x.dim(1);
  const std::int64_t dim = x.dim(2);
  std::vector<kit::KnownMistake> all;
  const auto add = [&](const std::string& cause, Tensor<float> result) {
    all.push_back({cause, std::move(result)});
  };
  const auto grouped = [&](std::int64_t n_groups, const auto& group_of, const auto& round) {
    return lab04_tests::quantized_in_groups(x, n_groups, group_of, round);
  };
  const auto own = [=](std::int64_t t, std::int64_t h, std::int64_t) { return t * heads + h; };
  add("numbers that were not quantized at all", kit::clone(x));
  add("one scale for all heads of a token",
      grouped(
          x.dim(0), [](std::int64_t t, std::int64_t, std::int64_t) { return t; }, on_int8_grid));
  add("one scale for all tokens of a head",
      grouped(
          heads, [](std::int64_t, std::int64_t h, std::int64_t) { return h; }, on_int8_grid));
  add("a scale for each channel instead of each token",
      grouped(
          heads * dim, [=](std::int64_t, std::int64_t h, std::int64_t d) { return h * dim + d; },
          on_int8_grid));
  add("the scale of head 0 for all heads", int8_with_scales_of(x, [](std::int64_t) { return 0; }));
  add("the scale of another head, the next one",
      int8_with_scales_of(x, [=](std::int64_t h) { return (h + 1) % heads; }));
  add("truncation instead of rounding",
      grouped(x.dim(0) * heads, own, [](float value, const GroupRange& range) {
        const float scale = lab04_tests::usable(std::max(-range.low, range.high) / 127.0F);
        return scale * std::trunc(value / scale);
      }));
  add("scale = max / 128 instead of 127",
      grouped(x.dim(0) * heads, own, [](float value, const GroupRange& r) {
        const float scale = lab04_tests::usable(std::max(-r.low, r.high) / 128.0F);
        return scale * std::clamp(std::nearbyint(value / scale), -128.0F, 127.0F);
      }));
  std::vector<std::int64_t> call_of;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    call_of.insert(call_of.end(), pieces[i], static_cast<std::int64_t>(i));
  add("one scale for each call of append()",
      grouped(
          static_cast<std::int64_t>(pieces.size()),
          [&](std::int64_t t, std::int64_t, std::int64_t) { return call_of[t]; }, on_int8_grid));
  return all;
}

/// Keys in groups that begin with every call of append(): group_size tokens each, and what is left of the
/// call stays float, or makes a shorter group.
Tensor<float> keys_in_groups_of_calls(View x, const Pieces& pieces, int group_size, bool shorter_groups) {
  const std::int64_t channels = x.dim(1) * x.dim(2);
  std::vector<std::int64_t> group_of_token;
  std::int64_t n_groups = 0;
  for (const int piece : pieces) {
    for (int i = 0; i < piece; i += group_size) {
      const int n = std::min(group_size, piece - i);
      const bool quantized = n == group_size || shorter_groups;
      group_of_token.insert(group_of_token.end(), n, quantized ? n_groups++ : lab04_tests::kStaysFloat);
    }
  }
  return lab04_tests::quantized_in_groups(
      x, n_groups * channels,
      [&](std::int64_t t, std::int64_t h, std::int64_t d) {
        const std::int64_t group = group_of_token[t];
        return group < 0 ? group : group * channels + h * x.dim(2) + d;
      },
      [](float value, const GroupRange& range) { return lab04_tests::on_min_max_grid(value, range, 3); });
}

/// The mistakes that keys and values of the KIVI cache can share.
std::vector<kit::KnownMistake> two_bit_mistakes(View x, int group_size) {
  std::vector<kit::KnownMistake> all;
  all.push_back({"numbers that were not quantized at all", kit::clone(x)});
  const std::int64_t heads = x.dim(1);
  const std::int64_t dim = x.dim(2);
  all.push_back(
      {"one group for all of a token's head", lab04_tests::reference_per_token(x, static_cast<int>(dim))});
  all.push_back(
      {"one group for all tokens of a channel",
       lab04_tests::quantized_in_groups(
           x, heads * dim, [=](std::int64_t, std::int64_t h, std::int64_t d) { return h * dim + d; },
           [](float value, const GroupRange& range) {
             return lab04_tests::on_min_max_grid(value, range, 3);
           })});
  all.push_back({"4 bits instead of 2", lab04_tests::reference_per_token(x, group_size, 15)});
  all.push_back({"scale = (high - low) / 4: 2 bits have four levels and three steps between them",
                 lab04_tests::reference_per_token(x, group_size, 4)});
  return all;
}

std::vector<kit::KnownMistake> kivi_key_mistakes(View x, const Pieces& pieces, int group_size) {
  std::vector<kit::KnownMistake> all = two_bit_mistakes(x, group_size);
  all.push_back({"keys that are quantized per token; they belong per channel",
                 lab04_tests::reference_per_token(x, group_size)});
  const std::int64_t heads = x.dim(1);
  const std::int64_t dim = x.dim(2);
  all.push_back({"keys whose last group was quantized before it was full",
                 lab04_tests::quantized_in_groups(
                     x, (x.dim(0) + group_size - 1) / group_size * heads * dim,
                     [=](std::int64_t t, std::int64_t h, std::int64_t d) {
                       return (t / group_size * heads + h) * dim + d;
                     },
                     [](float value, const GroupRange& range) {
                       return lab04_tests::on_min_max_grid(value, range, 3);
                     })});
  for (const bool shorter : {false, true})
    all.push_back({"keys whose groups begin with a call of append(); they begin at multiples of group_size",
                   keys_in_groups_of_calls(x, pieces, group_size, shorter)});
  return all;
}

std::vector<kit::KnownMistake> kivi_value_mistakes(View x, int group_size) {
  std::vector<kit::KnownMistake> all = two_bit_mistakes(x, group_size);
  all.push_back({"values that are quantized per channel; they belong per token",
                 lab04_tests::reference_per_channel(x, group_size)});
  return all;
}

Scheme int8_scheme() {
  return {.name = "make_int8_kv_cache",
          .make = [](const KvCacheConfig& config) { return lab04::make_int8_kv_cache(config); },
          .keys = lab04_tests::reference_int8_tokens,
          .values = lab04_tests::reference_int8_tokens,
          .key_mistakes = int8_mistakes,
          .value_mistakes = int8_mistakes};
}

Scheme kivi_scheme(int group_size = kGroup) {
  return {.name = "make_kivi_kv_cache",
          .make = [=](const KvCacheConfig& config) { return lab04::make_kivi_kv_cache(config, group_size); },
          .keys = [=](View x) { return lab04_tests::reference_per_channel(x, group_size); },
          .values = [=](View x) { return lab04_tests::reference_per_token(x, group_size); },
          .key_mistakes = [=](View x, const Pieces& p) { return kivi_key_mistakes(x, p, group_size); },
          .value_mistakes = [=](View x, const Pieces&) { return kivi_value_mistakes(x, group_size); }};
}

/// Codes are fixed by the contract. What they stand for is a product and a sum, which a compiler may fuse or
/// not: each rounds by half an ulp of numbers up to three times the largest. Another code would be off by a
/// step of its grid, which is a thousand times as much.
kit::Tolerance a_few_ulp_of(View x) {
  float max_abs = 0.0F;
  for (const float value : x.span()) max_abs = std::max(max_abs, std::abs(value));
  return {.absolute = 4.0 * 0x1p-23 * max_abs};
}

/// Checks that `layer` holds what the codes of exactly these tokens stand for.
void expect_holds(const Scheme& scheme, const KvCache& cache, int layer, const std::vector<Chunk>& chunks) {
  SCOPED_TRACE(fmt::format("{}, layer {}", scheme.name, layer));
  const Chunk all = concatenate(chunks);
  Pieces pieces;
  for (const Chunk& chunk : chunks) pieces.push_back(static_cast<int>(chunk.k.dim(0)));
  EXPECT_EQ(cache.length(layer), all.k.dim(0));
  std::vector<kit::KnownMistake> of_keys = scheme.key_mistakes(all.k, pieces);
  of_keys.push_back({"keys and values exchanged", scheme.keys(all.v)});
  of_keys.push_back({"values in place of the keys", scheme.values(all.v)});
  EXPECT_TRUE(matches(cache.keys(layer), scheme.keys(all.k), a_few_ulp_of(all.k), of_keys))
      << "these are the keys";
  std::vector<kit::KnownMistake> of_values = scheme.value_mistakes(all.v, pieces);
  of_values.push_back({"keys and values exchanged", scheme.values(all.k)});
  of_values.push_back({"keys in place of the values", scheme.keys(all.k)});
  EXPECT_TRUE(matches(cache.values(layer), scheme.values(all.v), a_few_ulp_of(all.v), of_values))
      << "these are the values";
}

void append(KvCache& cache, int layer, std::vector<Chunk>& chunks, Chunk chunk) {
  cache.append(layer, chunk.k, chunk.v);
  chunks.push_back(std::move(chunk));
}

void starts_empty(const Scheme& scheme) {
  const auto cache = scheme.make(kConfig);
  EXPECT_EQ(cache->config().max_len, kConfig.max_len);
  EXPECT_EQ(cache->config().n_layers, kConfig.n_layers);
  EXPECT_EQ(cache->config().n_kv_heads, kConfig.n_kv_heads);
  EXPECT_EQ(cache->config().head_dim, kConfig.head_dim);
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    EXPECT_EQ(cache->length(layer), 0);
    EXPECT_EQ(cache->keys(layer).shape(), (Shape{0, kConfig.n_kv_heads, kConfig.head_dim}));
    EXPECT_EQ(cache->values(layer).shape(), (Shape{0, kConfig.n_kv_heads, kConfig.head_dim}));
  }
}

/// Layers of different lengths, cut differently.
void takes_pieces_of_any_size(const Scheme& scheme, kit::Rng rng) {
  const auto cache = scheme.make(kConfig);
  const Pieces pieces[] = {{1, 1, 1, 1, 1, 1, 1}, {7, 0, 2, 11, 1, 4, 8}, {4, 1, 5, 10, 3, 0, 9}};
  std::vector<std::vector<Chunk>> chunks(static_cast<std::size_t>(kConfig.n_layers));
  for (std::size_t i = 0; i < 7; ++i) {
    for (int layer = 0; layer < kConfig.n_layers; ++layer)
      append(*cache, layer, chunks[layer], random_chunk(pieces[layer][i], rng));
    for (int layer = 0; layer < kConfig.n_layers; ++layer) expect_holds(scheme, *cache, layer, chunks[layer]);
  }
}

void refuses_more_than_its_capacity(const Scheme& scheme, kit::Rng rng) {
  const auto cache = scheme.make(kConfig);
  std::vector<Chunk> chunks;
  append(*cache, 2, chunks, random_chunk(kConfig.max_len - 2, rng));
  const Chunk three = random_chunk(3, rng);
  EXPECT_TRUE(throws_error([&] { cache->append(2, three.k, three.v); }))
      << "31 + 3 tokens must not fit into a capacity of 33";
  expect_holds(scheme, *cache, 2, chunks);  // a refused append leaves the cache as it was
  append(*cache, 2, chunks, random_chunk(2, rng));
  expect_holds(scheme, *cache, 2, chunks);  // exactly full is fine
  const Chunk one = random_chunk(1, rng);
  EXPECT_TRUE(throws_error([&] { cache->append(2, one.k, one.v); })) << "the layer is full";
  append(*cache, 2, chunks, random_chunk(0, rng));
  expect_holds(scheme, *cache, 2, chunks);
}

/// Refused, though tokens before the bad one would fill a group: nothing may be written or quantized.
void refuses_nan_and_infinity(const Scheme& scheme, kit::Rng rng) {
  const auto cache = scheme.make(kConfig);
  std::vector<Chunk> chunks;
  append(*cache, 1, chunks, random_chunk(kGroup + 3, rng));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const bool in_keys : {true, false}) {
      Chunk chunk = random_chunk(kGroup, rng);
      (in_keys ? chunk.k : chunk.v)(kGroup - 1, 2, 19) = bad;
      const std::string what = fmt::format("{} in the {}", bad, in_keys ? "keys" : "values");
      EXPECT_TRUE(throws_error([&] { cache->append(1, chunk.k, chunk.v); })) << what;
      ASSERT_EQ(cache->length(1), kGroup + 3)
          << what << "\nLikely cause: the refused append changed the cache; check all before writing any";
      expect_holds(scheme, *cache, 1, chunks);
    }
  }
  append(*cache, 1, chunks, random_chunk(kGroup, rng));
  expect_holds(scheme, *cache, 1, chunks);
}

void rejects_wrong_layer_and_shape(const Scheme& scheme, kit::Rng rng) {
  const auto cache = scheme.make(kConfig);
  const Chunk good = random_chunk(2, rng);
  for (const int layer : {-1, kConfig.n_layers}) {
    EXPECT_TRUE(throws_error([&] { cache->append(layer, good.k, good.v); })) << "append to layer " << layer;
    EXPECT_TRUE(throws_error([&] { (void)cache->keys(layer); })) << "keys of layer " << layer;
    EXPECT_TRUE(throws_error([&] { (void)cache->values(layer); })) << "values of layer " << layer;
    EXPECT_TRUE(throws_error([&] { (void)cache->length(layer); })) << "length of layer " << layer;
  }
  const auto refuses = [&](const Shape& k, const Shape& v) {
    return throws_error([&] { cache->append(0, Tensor<float>(k), Tensor<float>(v)); });
  };
  EXPECT_TRUE(refuses({2, 4, 20}, {2, 4, 20})) << "4 kv heads where the cache has 3";
  EXPECT_TRUE(refuses({2, 3, 21}, {2, 3, 21})) << "head_dim 21 where the cache has 20";
  EXPECT_TRUE(refuses({2, 3, 20}, {3, 3, 20})) << "2 keys but 3 values";
  EXPECT_TRUE(refuses({2, 60}, {2, 60})) << "two dimensions instead of three";
  EXPECT_EQ(cache->length(0), 0) << "a refused append must leave nothing behind";
}

/// Filled to an odd length, so that a residual is there to be forgotten.
void reset_forgets_everything(const Scheme& scheme, kit::Rng rng) {
  const auto cache = scheme.make(kConfig);
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    const Chunk old = random_chunk(kConfig.max_len - 4 * layer, rng);
    cache->append(layer, old.k, old.v);
  }
  cache->reset();
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    ASSERT_EQ(cache->length(layer), 0)
        << "Likely cause: reset() leaves tokens of layer " << layer << " in the cache";
    ASSERT_EQ(cache->keys(layer).dim(0), 0);
    ASSERT_EQ(cache->values(layer).dim(0), 0);
  }
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    std::vector<Chunk> fresh;
    for (const int n : {2, 2, kConfig.max_len - 4}) append(*cache, layer, fresh, random_chunk(n, rng));
    expect_holds(scheme, *cache, layer, fresh);
  }
  EXPECT_FALSE(::testing::Test::HasFailure()) << "Likely cause: reset() keeps something of the old tokens, "
                                                 "such as keys of a group that was not full, "
                                                 "or how many groups are quantized";
}

void rejects_impossible_config(const Scheme& scheme) {
  for (const KvCacheConfig& config : {KvCacheConfig{0, 3, 20, 33}, KvCacheConfig{3, 0, 20, 33},
                                      KvCacheConfig{3, 3, -20, 33}, KvCacheConfig{3, 3, 20, 0}}) {
    EXPECT_TRUE(throws_error([&] { (void)scheme.make(config); }))
        << fmt::format("n_layers {}, n_kv_heads {}, head_dim {}, max_len {}", config.n_layers,
                       config.n_kv_heads, config.head_dim, config.max_len);
  }
}

TEST(Int8KvCache, StartsEmpty) {
  starts_empty(int8_scheme());
}

TEST(Int8KvCache, EachTokenAndHeadHasItsOwnScale) {
  kit::Rng rng = kit::testing::make_rng(4610);
  const Scheme scheme = int8_scheme();
  const auto cache = scheme.make(kConfig);
  std::vector<Chunk> chunks;
  append(*cache, 1, chunks, random_chunk(kConfig.max_len, rng));
  expect_holds(scheme, *cache, 1, chunks);
}

TEST(Int8KvCache, TakesPiecesOfAnySize) {
  takes_pieces_of_any_size(int8_scheme(), kit::testing::make_rng(4611));
}

// More elements in a row than there are codes.
TEST(Int8KvCache, ShowsAtMost255Numbers) {
  kit::Rng rng = kit::testing::make_rng(4612);
  const KvCacheConfig config{.n_layers = 1, .n_kv_heads = 1, .head_dim = 1000, .max_len = 3};
  const auto cache = lab04::make_int8_kv_cache(config);
  const Shape shape{3, 1, 1000};
  cache->append(0, kit::testing::random_tensor(shape, rng), kit::testing::random_tensor(shape, rng));
  const Tensor<float> k = kit::clone(cache->keys(0));
  const Tensor<float> v = kit::clone(cache->values(0));
  for (const Tensor<float>* x : {&k, &v}) {
    ASSERT_EQ(x->shape(), shape);
    for (std::int64_t t = 0; t < x->dim(0); ++t) {
      const std::set<float> numbers(x->row(t, 0).begin(), x->row(t, 0).end());
      EXPECT_LE(numbers.size(), 255U) << "8 bits, of which -128 is not used, cannot tell that many apart";
      EXPECT_GT(numbers.size(), 60U) << "of 1000 normal numbers many more differ in 8 bits";
    }
  }
}

// Where the scale would be subnormal it is 1: no division by zero.
TEST(Int8KvCache, SilentHeadsStaySilent) {
  const Scheme scheme = int8_scheme();
  const auto cache = scheme.make(kConfig);
  kit::Rng rng = kit::testing::make_rng(4613);
  Chunk chunk = random_chunk(3, rng);
  for (Tensor<float>* x : {&chunk.k, &chunk.v}) {
    for (float& value : x->row(1, 0)) value = 0.0F;
    for (float& value : x->row(1, 2)) value = std::copysign(1e-40F, value);
    for (float& value : x->row(2, 1)) value = 0.0F;
  }
  std::vector<Chunk> chunks;
  append(*cache, 0, chunks, std::move(chunk));
  expect_holds(scheme, *cache, 0, chunks);
}

TEST(Int8KvCache, TiesGoToTheEvenCode) {
  const KvCacheConfig config{.n_layers = 1, .n_kv_heads = 1, .head_dim = 9, .max_len = 1};
  const auto cache = lab04::make_int8_kv_cache(config);
  Tensor<float> x({1, 1, 9});  // the first number makes the scale 1
  std::ranges::copy(std::vector{127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 125.5F, 126.5F},
                    x.span().begin());
  cache->append(0, x, x);
  Tensor<float> even(x.shape());
  Tensor<float> away(x.shape());
  std::ranges::transform(x.span(), even.data(), [](float value) { return std::nearbyint(value); });
  std::ranges::transform(x.span(), away.data(), [](float value) { return std::round(value); });
  const std::vector<kit::KnownMistake> mistakes{{"ties that are rounded away from zero", std::move(away)}};
  EXPECT_TRUE(matches(cache->keys(0), even, {}, mistakes)) << "these are the keys";
  EXPECT_TRUE(matches(cache->values(0), even, {}, mistakes)) << "these are the values";
}

TEST(Int8KvCache, RefusesMoreThanItsCapacity) {
  refuses_more_than_its_capacity(int8_scheme(), kit::testing::make_rng(4614));
}

TEST(Int8KvCache, RefusesNanAndInfinity) {
  refuses_nan_and_infinity(int8_scheme(), kit::testing::make_rng(4615));
}

TEST(Int8KvCache, RejectsWrongLayerAndShape) {
  rejects_wrong_layer_and_shape(int8_scheme(), kit::testing::make_rng(4616));
}

TEST(Int8KvCache, ResetForgetsEverything) {
  reset_forgets_everything(int8_scheme(), kit::testing::make_rng(4617));
}

TEST(Int8KvCache, RejectsImpossibleConfig) {
  rejects_impossible_config(int8_scheme());
}

TEST(KiviKvCache, StartsEmpty) {
  starts_empty(kivi_scheme());
}

TEST(KiviKvCache, KeysPerChannelAndValuesPerToken) {
  kit::Rng rng = kit::testing::make_rng(4620);
  for (const int group_size : {1, 2, 4, 5, 10, 20}) {
    const Scheme scheme = kivi_scheme(group_size);
    SCOPED_TRACE(fmt::format("group_size {}", group_size));
    const auto cache = scheme.make(kConfig);
    std::vector<Chunk> chunks;
    append(*cache, 1, chunks, random_chunk(group_size * (30 / group_size), rng));  // full groups alone
    expect_holds(scheme, *cache, 1, chunks);
  }
}

TEST(KiviKvCache, KeysOfAGroupThatIsNotFullStayFloats) {
  kit::Rng rng = kit::testing::make_rng(4621);
  const Scheme scheme = kivi_scheme();
  const auto cache = scheme.make(kConfig);
  std::vector<Chunk> chunks;
  append(*cache, 0, chunks, random_chunk(2 * kGroup + 4, rng));
  expect_holds(scheme, *cache, 0, chunks);
  const Tensor<float> k = kit::clone(cache->keys(0));
  ASSERT_EQ(k.shape(), chunks[0].k.shape());
  for (int t = 2 * kGroup; t < k.dim(0); ++t) {
    for (std::int64_t h = 0; h < k.dim(1); ++h)
      EXPECT_TRUE(std::ranges::equal(k.row(t, h), chunks[0].k.row(t, h)))  // exactly, no tolerance
          << "the key of token " << t << ", head " << h << " must be kept as it is";
  }
  append(*cache, 0, chunks, random_chunk(1, rng));  // and now the group is full
  expect_holds(scheme, *cache, 0, chunks);
}

TEST(KiviKvCache, TakesPiecesOfAnySize) {
  takes_pieces_of_any_size(kivi_scheme(), kit::testing::make_rng(4622));
}

TEST(KiviKvCache, ShowsAtMostFourNumbersAGroup) {
  kit::Rng rng = kit::testing::make_rng(4623);
  constexpr int kLarge = 32;
  const KvCacheConfig config{.n_layers = 1, .n_kv_heads = 2, .head_dim = 64, .max_len = 100};
  const auto cache = lab04::make_kivi_kv_cache(config, kLarge);
  const Shape shape{70, 2, 64};
  cache->append(0, kit::testing::random_tensor(shape, rng), kit::testing::random_tensor(shape, rng));
  const Tensor<float> k = kit::clone(cache->keys(0));
  const Tensor<float> v = kit::clone(cache->values(0));
  ASSERT_EQ(k.shape(), shape);
  ASSERT_EQ(v.shape(), shape);
  std::size_t most_keys = 0;
  std::size_t most_values = 0;
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t t = 0; t < 70; ++t) {
      for (int d = 0; d < 64; d += kLarge) {
        const auto group = v.row(t, h).subspan(d, kLarge);
        most_values = std::max(most_values, std::set<float>(group.begin(), group.end()).size());
      }
    }
    for (std::int64_t d = 0; d < 64; ++d) {
      for (int first = 0; first + kLarge <= 70; first += kLarge) {
        std::set<float> group;
        for (int t = first; t < first + kLarge; ++t) group.insert(k(t, h, d));
        most_keys = std::max(most_keys, group.size());
      }
    }
  }
  EXPECT_LE(most_keys, 4U) << "2 bits cannot tell so many keys apart";
  EXPECT_LE(most_values, 4U) << "2 bits cannot tell so many values apart";
}

// Where the scale would be subnormal it is 1: no division by zero, and the number is low itself.
TEST(KiviKvCache, ConstantGroupsStayWhatTheyAre) {
  kit::Rng rng = kit::testing::make_rng(4624);
  const Scheme scheme = kivi_scheme();
  const auto cache = scheme.make(kConfig);
  Chunk chunk = random_chunk(2 * kGroup, rng);
  for (int t = 0; t < kGroup; ++t) {
    chunk.k(t, 0, 3) = -2.75F;
    chunk.k(t, 2, 19) = 0.0F;
  }
  for (int d = 0; d < kGroup; ++d) {
    chunk.v(3, 1, d) = 5.5F;
    chunk.v(4, 2, kGroup + d) = 0.0F;
    chunk.v(5, 0, d) = d == 0 ? 1e-40F : 0.0F;
  }
  std::vector<Chunk> chunks;
  append(*cache, 2, chunks, std::move(chunk));
  expect_holds(scheme, *cache, 2, chunks);
  EXPECT_EQ(cache->keys(2)(0, 0, 3), -2.75F);
  EXPECT_EQ(cache->values(2)(3, 1, 0), 5.5F);
}

// Keys of 5 tokens of a channel, and a token's values of 5 elements: 0, 0.5, 1.5, 2.5, 3 with a scale of 1.
TEST(KiviKvCache, TiesGoToTheEvenCode) {
  const std::vector group{0.0F, 0.5F, 1.5F, 2.5F, 3.0F};
  const std::vector even{0.0F, 0.0F, 2.0F, 2.0F, 3.0F};
  const std::vector away{0.0F, 1.0F, 2.0F, 3.0F, 3.0F};
  const KvCacheConfig config{.n_layers = 1, .n_kv_heads = 1, .head_dim = 5, .max_len = 5};
  const auto filled = [](const std::vector<float>& numbers, bool along_tokens) {
    Tensor<float> x({5, 1, 5});
    for (std::size_t t = 0; t < 5; ++t) {
      for (std::size_t d = 0; d < 5; ++d) x(t, 0, d) = numbers[along_tokens ? t : d];
    }
    return x;
  };
  const auto cache = lab04::make_kivi_kv_cache(config, 5);
  cache->append(0, filled(group, true), filled(group, false));
  for (const bool along_tokens : {true, false}) {
    const std::vector<kit::KnownMistake> mistakes{
        {"ties that are rounded away from zero", filled(away, along_tokens)}};
    EXPECT_TRUE(
        matches(along_tokens ? cache->keys(0) : cache->values(0), filled(even, along_tokens), {}, mistakes))
        << (along_tokens ? "these are the keys" : "these are the values");
  }
}

TEST(KiviKvCache, RefusesMoreThanItsCapacity) {
  refuses_more_than_its_capacity(kivi_scheme(), kit::testing::make_rng(4625));
}

TEST(KiviKvCache, RefusesNanAndInfinity) {
  refuses_nan_and_infinity(kivi_scheme(), kit::testing::make_rng(4626));
}

TEST(KiviKvCache, RejectsWrongLayerAndShape) {
  rejects_wrong_layer_and_shape(kivi_scheme(), kit::testing::make_rng(4627));
}

TEST(KiviKvCache, ResetForgetsEverything) {
  reset_forgets_everything(kivi_scheme(), kit::testing::make_rng(4628));
}

TEST(KiviKvCache, RejectsImpossibleConfig) {
  rejects_impossible_config(kivi_scheme());
  for (const int group_size : {0, -5, 3, 40}) {
    EXPECT_TRUE(throws_error([&] { (void)lab04::make_kivi_kv_cache(kConfig, group_size); }))
        << "group_size " << group_size << " with head_dim 20";
  }
}

}  // namespace
