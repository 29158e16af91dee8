#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "kit/testing.h"
#include "lab02/paged_kv_cache.h"

// The two functions of task 6 that move keys and values.

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::matches;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr kit::Tolerance kExact{};  // floats are moved, not computed

struct Sizes {
  int n_blocks, block_size, n_kv_heads, head_dim;
};

struct KeysAndValues {
  Tensor<float> k;
  Tensor<float> v;
};

/// Blocks that hold something already: what is not written must stay.
KeysAndValues random_blocks(const Sizes& s, kit::Rng& rng) {
  const Shape shape{s.n_blocks, s.block_size, s.n_kv_heads, s.head_dim};
  return {random_tensor(shape, rng), random_tensor(shape, rng)};
}

KeysAndValues random_tokens(std::size_t n, const Sizes& s, kit::Rng& rng) {
  const Shape shape{static_cast<std::int64_t>(n), s.n_kv_heads, s.head_dim};
  return {random_tensor(shape, rng), random_tensor(shape, rng)};
}

/// Element (block, place, head, d) of the blocks that token t, head h goes to; a negative block: nowhere.
struct Place {
  std::int64_t block, place;
};
using PlaceOf = std::function<Place(std::size_t token, std::int64_t slot)>;

KeysAndValues written(const KeysAndValues& blocks, const KeysAndValues& tokens,
                      const std::vector<std::int64_t>& slot_mapping, const PlaceOf& place_of) {
  KeysAndValues result = blocks;
  for (std::size_t t = 0; t < slot_mapping.size(); ++t) {
    const auto [block, place] = place_of(t, slot_mapping[t]);
    if (block < 0 || block >= blocks.k.dim(0) || place < 0 || place >= blocks.k.dim(1)) continue;
    for (std::int64_t h = 0; h < blocks.k.dim(2); ++h) {
      for (std::int64_t d = 0; d < blocks.k.dim(3); ++d) {
        result.k(block, place, h, d) = tokens.k(static_cast<std::int64_t>(t), h, d);
        result.v(block, place, h, d) = tokens.v(static_cast<std::int64_t>(t), h, d);
      }
    }
  }
  return result;
}

PlaceOf by_slot(std::int64_t block_size) {
  return [block_size](std::size_t, std::int64_t slot) {
    return slot < 0 ? Place{-1, -1} : Place{slot / block_size, slot % block_size};
  };
}

/// Tokens stored as [n_kv_heads, block_size, head_dim] inside each block.
Tensor<float> head_major(const Tensor<float>& before, const Tensor<float>& tokens,
                         const std::vector<std::int64_t>& slot_mapping) {
  Tensor<float> result = before;
  const std::int64_t block_size = before.dim(1);
  const std::int64_t n_heads = before.dim(2);
  for (std::size_t t = 0; t < slot_mapping.size(); ++t) {
    if (slot_mapping[t] < 0) continue;
    for (std::int64_t h = 0; h < n_heads; ++h) {
      const std::int64_t row =
          (slot_mapping[t] / block_size * n_heads + h) * block_size + slot_mapping[t] % block_size;
      std::ranges::copy(tokens.row(static_cast<std::int64_t>(t), h), result.data() + row * before.dim(3));
    }
  }
  return result;
}

std::vector<kit::KnownMistake> known_mistakes(const KeysAndValues& blocks, const KeysAndValues& tokens,
                                              const std::vector<std::int64_t>& slot_mapping, bool values) {
  const std::int64_t block_size = blocks.k.dim(1);
  const PlaceOf right = by_slot(block_size);
  const auto pick = [&](const PlaceOf& place_of) {
    KeysAndValues all = written(blocks, tokens, slot_mapping, place_of);
    return values ? std::move(all.v) : std::move(all.k);
  };
  const std::size_t first_padding = static_cast<std::size_t>(
      std::ranges::find_if(slot_mapping, [](auto slot) { return slot < 0; }) - slot_mapping.begin());
  std::vector<kit::KnownMistake> mistakes;
  mistakes.push_back(
      {"tokens written one after the other from slot 0, slot_mapping ignored",
       pick([&](std::size_t t, std::int64_t) {
         return Place{static_cast<std::int64_t>(t) / block_size, static_cast<std::int64_t>(t) % block_size};
       })});
  mistakes.push_back({"% and / exchanged: slot s at place s / block_size of block s % block_size",
                      pick([&](std::size_t, std::int64_t slot) {
                        return slot < 0 ? Place{-1, -1} : Place{slot % block_size, slot / block_size};
                      })});
  mistakes.push_back(
      {"a padding token (a negative slot) that ends the work: the tokens behind it are missing",
       pick([&](std::size_t t, std::int64_t slot) {
         return t >= first_padding ? Place{-1, -1} : right(t, slot);
       })});
  mistakes.push_back(
      {"a padding token (a negative slot) written to slot 0",
       pick([&](std::size_t t, std::int64_t slot) { return right(t, std::max<std::int64_t>(slot, 0)); })});
  mistakes.push_back({"blocks laid out as [n_kv_heads, block_size, head_dim] inside",
                      head_major(values ? blocks.v : blocks.k, values ? tokens.v : tokens.k, slot_mapping)});
  mistakes.push_back({"keys and values exchanged", [&] {
                        KeysAndValues all = written(blocks, {tokens.v, tokens.k}, slot_mapping, right);
                        return values ? std::move(all.v) : std::move(all.k);
                      }()});
  mistakes.push_back({"nothing written at all", values ? blocks.v : blocks.k});
  return mistakes;
}

void expect_written(const Sizes& s, const std::vector<std::int64_t>& slot_mapping, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("{} tokens; n_blocks {}, block_size {}, n_kv_heads {}, head_dim {}",
                           slot_mapping.size(), s.n_blocks, s.block_size, s.n_kv_heads, s.head_dim));
  kit::Rng rng = kit::testing::make_rng(stream);
  const KeysAndValues blocks = random_blocks(s, rng);
  const KeysAndValues tokens = random_tokens(slot_mapping.size(), s, rng);
  KeysAndValues got = blocks;
  lab02::reshape_and_cache(tokens.k, tokens.v,
                           {slot_mapping.data(), {static_cast<std::int64_t>(slot_mapping.size())}}, got.k,
                           got.v);
  const KeysAndValues expected = written(blocks, tokens, slot_mapping, by_slot(s.block_size));
  EXPECT_TRUE(matches(got.k, expected.k, kExact, known_mistakes(blocks, tokens, slot_mapping, false)))
      << "these are the keys, [block, place, head, dimension]; what no slot names must stay as it was";
  EXPECT_TRUE(matches(got.v, expected.v, kExact, known_mistakes(blocks, tokens, slot_mapping, true)))
      << "these are the values, [block, place, head, dimension]";
}

/// n different slots of all, in random order.
std::vector<std::int64_t> random_slots(const Sizes& s, std::size_t n, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  std::vector<std::int64_t> all;
  for (std::int64_t slot = 0; slot < std::int64_t{s.n_blocks} * s.block_size; ++slot) all.push_back(slot);
  for (std::size_t i = all.size(); i > 1; --i)
    std::swap(all[i - 1], all[rng.below(static_cast<std::uint32_t>(i))]);
  all.resize(n);
  return all;
}

TEST(ReshapeAndCache, EachTokenGoesToItsSlot) {
  const Sizes square{5, 5, 2, 4};  // as many blocks as places: exchanged indices stay in range
  expect_written(square, random_slots(square, 11, 230), 231);
  const Sizes odd{7, 3, 3, 33};
  expect_written(odd, random_slots(odd, 13, 232), 233);
  const Sizes usual{9, 16, 2, 32};
  expect_written(usual, random_slots(usual, 33, 234), 235);
  expect_written({1, 1, 1, 1}, {0}, 236);
}

TEST(ReshapeAndCache, FillsEverySlot) {
  const Sizes s{4, 8, 2, 5};
  expect_written(s, random_slots(s, 32, 237), 238);
}

TEST(ReshapeAndCache, PaddingTokensAreLeftOut) {
  const Sizes s{4, 4, 2, 6};
  expect_written(s, {9, -1, 3, 12, -1, -7, 5}, 239);
  expect_written(s, {-1, -1}, 240);
}

TEST(ReshapeAndCache, NothingToWrite) {
  expect_written({2, 4, 2, 6}, {}, 241);
}

TEST(ReshapeAndCache, RejectsSlotsThatDoNotExistAndWritesNothing) {
  const Sizes s{3, 4, 2, 5};
  kit::Rng rng = kit::testing::make_rng(242);
  const KeysAndValues blocks = random_blocks(s, rng);
  for (const std::int64_t bad : {std::int64_t{12}, std::numeric_limits<std::int64_t>::max()}) {
    const std::vector<std::int64_t> slot_mapping = {2, 7, bad};
    const KeysAndValues tokens = random_tokens(3, s, rng);
    KeysAndValues got = blocks;
    EXPECT_TRUE(throws_error([&] {
      lab02::reshape_and_cache(tokens.k, tokens.v, {slot_mapping.data(), {3}}, got.k, got.v);
    })) << "slot "
        << bad << " of 12";
    EXPECT_TRUE(matches(got.k, blocks.k, kExact)) << "keys were written before all slots were checked";
    EXPECT_TRUE(matches(got.v, blocks.v, kExact)) << "values were written before all slots were checked";
  }
}

TEST(ReshapeAndCache, RejectsShapesThatDisagree) {
  const std::vector<std::int64_t> slot_mapping = {0, 1, 2};
  const auto refuses = [&](const Shape& k, const Shape& v, std::int64_t n_slots, const Shape& k_blocks,
                           const Shape& v_blocks) {
    Tensor<float> keys(k_blocks);
    Tensor<float> values(v_blocks);
    return throws_error([&] {
      lab02::reshape_and_cache(Tensor<float>(k), Tensor<float>(v), {slot_mapping.data(), {n_slots}}, keys,
                               values);
    });
  };
  const Shape tokens{2, 2, 4};
  const Shape blocks{3, 4, 2, 4};
  EXPECT_TRUE(refuses({3, 2, 4}, tokens, 3, blocks, blocks)) << "3 keys, 2 values";
  EXPECT_TRUE(refuses(tokens, tokens, 3, blocks, blocks)) << "2 tokens, 3 slots";
  EXPECT_TRUE(refuses(tokens, tokens, 1, blocks, blocks)) << "2 tokens, 1 slot";
  EXPECT_TRUE(refuses({2, 1, 4}, {2, 1, 4}, 2, blocks, blocks)) << "1 head, blocks have 2";
  EXPECT_TRUE(refuses({2, 4, 2}, {2, 4, 2}, 2, blocks, blocks)) << "heads and head_dim exchanged";
  EXPECT_TRUE(refuses(tokens, tokens, 2, blocks, {2, 4, 2, 4})) << "3 blocks of keys, 2 of values";
  EXPECT_TRUE(refuses({2, 8}, {2, 8}, 2, blocks, blocks)) << "two dimensions instead of three";
  EXPECT_TRUE(refuses(tokens, tokens, 2, {12, 2, 4}, {12, 2, 4})) << "three dimensions instead of four";
}

using Pairs = std::vector<std::int32_t>;  // [n, 2]

void copy(const Pairs& pairs, KeysAndValues& blocks) {
  lab02::copy_blocks({pairs.data(), {static_cast<std::int64_t>(pairs.size() / 2), 2}}, blocks.k, blocks.v);
}

/// What copying the first n_places places of each pair, in one direction, makes of the blocks.
KeysAndValues copied(const KeysAndValues& blocks, const Pairs& pairs, bool backwards, std::int64_t n_places) {
  KeysAndValues result = blocks;
  const std::int64_t size = blocks.k.dim(1) * blocks.k.dim(2) * blocks.k.dim(3);
  const std::int64_t n = n_places * blocks.k.dim(2) * blocks.k.dim(3);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const std::int64_t from = pairs[i + (backwards ? 1 : 0)] * size;
    const std::int64_t to = pairs[i + (backwards ? 0 : 1)] * size;
    std::copy_n(blocks.k.data() + from, n, result.k.data() + to);
    std::copy_n(blocks.v.data() + from, n, result.v.data() + to);
  }
  return result;
}

void expect_copied(const Sizes& s, const Pairs& pairs, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const KeysAndValues blocks = random_blocks(s, rng);
  KeysAndValues got = blocks;
  copy(pairs, got);
  const KeysAndValues expected = copied(blocks, pairs, false, s.block_size);
  const auto mistakes = [&](bool values) {
    const auto pick = [&](KeysAndValues all) { return values ? std::move(all.v) : std::move(all.k); };
    std::vector<kit::KnownMistake> result;
    result.push_back({"pairs read as (to, from)", pick(copied(blocks, pairs, true, s.block_size))});
    result.push_back({"only the first token of each block copied", pick(copied(blocks, pairs, false, 1))});
    result.push_back({"only the first pair copied",
                      pick(copied(blocks, {pairs.begin(), pairs.begin() + 2}, false, s.block_size))});
    result.push_back({"nothing copied at all", pick(blocks)});
    return result;
  };
  EXPECT_TRUE(matches(got.k, expected.k, kExact, mistakes(false))) << "these are the keys";
  EXPECT_TRUE(matches(got.v, expected.v, kExact, mistakes(true))) << "these are the values";
}

TEST(CopyBlocks, CopiesWholeBlocks) {
  expect_copied({9, 16, 2, 8}, {4, 1}, 250);
  expect_copied({9, 3, 3, 33}, {0, 8, 7, 2, 3, 5}, 251);
  expect_copied({31, 1, 1, 5}, {30, 0, 1, 29}, 252);
  expect_copied({6, 4, 2, 8}, {2, 1, 2, 5, 2, 0}, 253);  // one block to three
}

TEST(CopyBlocks, NothingToCopy) {
  kit::Rng rng = kit::testing::make_rng(254);
  const KeysAndValues blocks = random_blocks({3, 4, 2, 5}, rng);
  KeysAndValues got = blocks;
  copy({}, got);
  EXPECT_TRUE(matches(got.k, blocks.k, kExact));
  EXPECT_TRUE(matches(got.v, blocks.v, kExact));
}

TEST(CopyBlocks, RejectsBlocksThatDoNotExistAndWritesNothing) {
  kit::Rng rng = kit::testing::make_rng(255);
  const KeysAndValues blocks = random_blocks({4, 4, 2, 5}, rng);
  for (const Pairs& pairs : {Pairs{0, 1, 4, 2}, Pairs{0, 1, 2, 4}, Pairs{0, 1, -1, 2}, Pairs{0, 1, 2, -1}}) {
    KeysAndValues got = blocks;
    EXPECT_TRUE(throws_error([&] { copy(pairs, got); })) << pairs[2] << " to " << pairs[3] << ", 4 blocks";
    EXPECT_TRUE(matches(got.k, blocks.k, kExact)) << "keys were copied before all pairs were checked";
    EXPECT_TRUE(matches(got.v, blocks.v, kExact)) << "values were copied before all pairs were checked";
  }
}

TEST(CopyBlocks, RejectsShapesThatDisagree) {
  const std::vector<std::int32_t> pairs = {0, 1, 1, 2, 2, 0};
  const auto refuses = [&](const Shape& shape, const Shape& k_blocks, const Shape& v_blocks) {
    Tensor<float> keys(k_blocks);
    Tensor<float> values(v_blocks);
    return throws_error([&] { lab02::copy_blocks({pairs.data(), shape}, keys, values); });
  };
  const Shape blocks{3, 4, 2, 4};
  EXPECT_TRUE(refuses({1, 2}, blocks, {2, 4, 2, 4})) << "3 blocks of keys, 2 of values";
  EXPECT_TRUE(refuses({2}, blocks, blocks)) << "pairs must be [n, 2]";
  EXPECT_TRUE(refuses({2, 3}, blocks, blocks)) << "pairs must be [n, 2]";
  EXPECT_TRUE(refuses({1, 2}, {12, 2, 4}, {12, 2, 4})) << "three dimensions instead of four";
}

}  // namespace
