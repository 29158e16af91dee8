#include "lab02/kv_cache.h"

#include <gtest/gtest.h>

#include <vector>

#include "kit/testing.h"

namespace {

using kit::KvCache;
using kit::KvCacheConfig;
using kit::Shape;
using kit::Tensor;
using kit::testing::matches;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr KvCacheConfig kConfig{.n_layers = 3, .n_kv_heads = 2, .head_dim = 8, .max_len = 33};

/// Some tokens' keys and values, [n, n_kv_heads, head_dim] each.
struct Chunk {
  Tensor<float> k;
  Tensor<float> v;
};

Chunk random_chunk(int n, kit::Rng& rng, const KvCacheConfig& config = kConfig) {
  const Shape shape{n, config.n_kv_heads, config.head_dim};
  return {random_tensor(shape, rng), random_tensor(shape, rng)};
}

Tensor<float> concatenate(const std::vector<const Tensor<float>*>& parts) {
  std::int64_t n = 0;
  for (const auto* part : parts) n += part->dim(0);
  Tensor<float> all({n, parts[0]->dim(1), parts[0]->dim(2)});
  float* end = all.data();
  for (const auto* part : parts) end = std::copy(part->span().begin(), part->span().end(), end);
  return all;
}

/// The rows of `last` written over the first rows of `all`, whose tail then stays empty.
Tensor<float> overwritten_from_start(const Tensor<float>& all, const std::vector<Chunk>& chunks,
                                     bool values) {
  Tensor<float> result(all.shape());
  for (const Chunk& chunk : chunks) {
    const Tensor<float>& part = values ? chunk.v : chunk.k;
    std::copy(part.span().begin(), part.span().end(), result.data());
  }
  return result;
}

/// The same tokens stored head by head, [n_kv_heads, n, head_dim].
Tensor<float> head_major(const Tensor<float>& x) {
  Tensor<float> result(x.shape());
  float* end = result.data();
  for (std::int64_t h = 0; h < x.dim(1); ++h) {
    for (std::int64_t t = 0; t < x.dim(0); ++t) end = std::copy(x.row(t, h).begin(), x.row(t, h).end(), end);
  }
  return result;
}

/// Checks that `layer` holds exactly `chunks`, one after the other.
void expect_holds(const KvCache& cache, int layer, const std::vector<Chunk>& chunks) {
  SCOPED_TRACE(fmt::format("layer {}", layer));
  std::vector<const Tensor<float>*> k_parts;
  std::vector<const Tensor<float>*> v_parts;
  for (const Chunk& chunk : chunks) {
    k_parts.push_back(&chunk.k);
    v_parts.push_back(&chunk.v);
  }
  const Tensor<float> k = concatenate(k_parts);
  const Tensor<float> v = concatenate(v_parts);
  EXPECT_EQ(cache.length(layer), k.dim(0));
  const auto mistakes = [&](const Tensor<float>& right, const Tensor<float>& other, bool values) {
    const char* mine = values ? "values" : "keys";
    return std::vector<kit::KnownMistake>{
        {fmt::format("{} where every append writes from position 0 on instead of behind what is there", mine),
         overwritten_from_start(right, chunks, values)},
        {fmt::format("{} stored as [head, position, head_dim] instead of [position, head, head_dim]", mine),
         head_major(right)},
        {"keys and values exchanged", kit::clone(other.view())}};
  };
  EXPECT_TRUE(matches(cache.keys(layer), k, {}, mistakes(k, v, false))) << "these are the keys";
  EXPECT_TRUE(matches(cache.values(layer), v, {}, mistakes(v, k, true))) << "these are the values";
}

TEST(KvCache, StartsEmpty) {
  const auto cache = lab02::make_kv_cache(kConfig);
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

TEST(KvCache, KeepsWhatWasAppended) {
  kit::Rng rng = kit::testing::make_rng(30);
  const auto cache = lab02::make_kv_cache(kConfig);
  std::vector<Chunk> chunks;
  for (const int n : {5, 1, 1, 0, 7, 1}) {
    chunks.push_back(random_chunk(n, rng));
    cache->append(1, chunks.back().k, chunks.back().v);
    expect_holds(*cache, 1, chunks);
  }
}

TEST(KvCache, LayersAreIndependent) {
  kit::Rng rng = kit::testing::make_rng(31);
  const auto cache = lab02::make_kv_cache(kConfig);
  std::vector<std::vector<Chunk>> chunks(static_cast<std::size_t>(kConfig.n_layers));
  for (int round = 0; round < 3; ++round) {
    for (int layer = 0; layer < kConfig.n_layers; ++layer) {
      Chunk chunk = random_chunk(1 + layer + round, rng);  // layers of different length, to tell them apart
      cache->append(layer, chunk.k, chunk.v);
      chunks[layer].push_back(std::move(chunk));
    }
  }
  for (int layer = 0; layer < kConfig.n_layers; ++layer) expect_holds(*cache, layer, chunks[layer]);
}

TEST(KvCache, CopiesItsInput) {
  kit::Rng rng = kit::testing::make_rng(32);
  const auto cache = lab02::make_kv_cache(kConfig);
  const Chunk chunk = random_chunk(4, rng);
  {
    Chunk temporary = chunk;
    cache->append(0, temporary.k, temporary.v);
    for (float& x : temporary.k.span()) x = -1.0F;  // the caller may reuse its arrays
    for (float& x : temporary.v.span()) x = -1.0F;
  }
  expect_holds(*cache, 0, {chunk});
}

TEST(KvCache, FillsToCapacityAndRefusesMore) {
  kit::Rng rng = kit::testing::make_rng(33);
  const auto cache = lab02::make_kv_cache(kConfig);
  const Chunk most = random_chunk(kConfig.max_len - 2, rng);
  cache->append(2, most.k, most.v);
  const Chunk three = random_chunk(3, rng);
  EXPECT_TRUE(throws_error([&] { cache->append(2, three.k, three.v); }))
      << "31 + 3 tokens must not fit into a capacity of 33";
  expect_holds(*cache, 2, {most});  // a refused append leaves the cache as it was
  const Chunk two = random_chunk(2, rng);
  cache->append(2, two.k, two.v);  // exactly full is fine
  expect_holds(*cache, 2, {most, two});
  const Chunk one = random_chunk(1, rng);
  EXPECT_TRUE(throws_error([&] { cache->append(2, one.k, one.v); })) << "the layer is full";
  expect_holds(*cache, 2, {most, two});
}

TEST(KvCache, RejectsWrongLayerAndShape) {
  kit::Rng rng = kit::testing::make_rng(34);
  const auto cache = lab02::make_kv_cache(kConfig);
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
  EXPECT_TRUE(refuses({2, 3, 8}, {2, 3, 8})) << "3 kv heads where the cache has 2";
  EXPECT_TRUE(refuses({2, 2, 9}, {2, 2, 9})) << "head_dim 9 where the cache has 8";
  EXPECT_TRUE(refuses({2, 2, 8}, {3, 2, 8})) << "2 keys but 3 values";
  EXPECT_TRUE(refuses({2, 16}, {2, 16})) << "two dimensions instead of three";
  EXPECT_EQ(cache->length(0), 0) << "a refused append must leave nothing behind";
}

TEST(KvCache, ResetForgetsEverything) {
  kit::Rng rng = kit::testing::make_rng(35);
  const auto cache = lab02::make_kv_cache(kConfig);
  for (int layer = 0; layer < kConfig.n_layers; ++layer) {
    const Chunk old = random_chunk(kConfig.max_len, rng);
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
    const Chunk fresh = random_chunk(kConfig.max_len, rng);  // the capacity is back, too
    cache->append(layer, fresh.k, fresh.v);
    expect_holds(*cache, layer, {fresh});
  }
}

TEST(KvCache, RejectsImpossibleConfig) {
  for (const KvCacheConfig& config : {KvCacheConfig{0, 2, 8, 33}, KvCacheConfig{3, 0, 8, 33},
                                      KvCacheConfig{3, 2, -8, 33}, KvCacheConfig{3, 2, 8, 0}}) {
    EXPECT_TRUE(throws_error([&] { (void)lab02::make_kv_cache(config); }))
        << fmt::format("n_layers {}, n_kv_heads {}, head_dim {}, max_len {}", config.n_layers,
                       config.n_kv_heads, config.head_dim, config.max_len);
  }
}

}  // namespace
