#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"
#include "lab02/cuda_kernels.h"

// reshape_and_cache_cuda and copy_blocks_cuda: they move data, so results are equal to the last bit.

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::matches;
using kit::testing::nan_device_buffer;
using kit::testing::random_tensor;
using kit::testing::refuses;

/// Keys and values of one layer, in blocks, or of new tokens.
struct KeysAndValues {
  Tensor<float> k;
  Tensor<float> v;
};

KeysAndValues random_pair(const Shape& shape, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  return {random_tensor(shape, rng), random_tensor(shape, rng)};
}

/// A cache in device memory. In front of each array and behind it lie kMargin elements that nobody may touch.
class DeviceCache {
 public:
  static constexpr std::int64_t kMargin = 4096;

  explicit DeviceCache(const KeysAndValues& cache)
      : shape_(cache.k.shape()), k_(with_margins(cache.k)), v_(with_margins(cache.v)) {}

  kit::TensorView<float> k() { return {k_.data() + kMargin, shape_}; }
  kit::TensorView<float> v() { return {v_.data() + kMargin, shape_}; }
  KeysAndValues to_host() const { return {inner(k_, "k_blocks"), inner(v_, "v_blocks")}; }

 private:
  static constexpr float kMark = -77.0F;

  static DeviceBuffer<float> with_margins(const Tensor<float>& array) {
    std::vector<float> memory(static_cast<std::size_t>(array.size() + 2 * kMargin), kMark);
    std::ranges::copy(array.span(), memory.begin() + kMargin);
    return DeviceBuffer<float>(std::span<const float>(memory));
  }
  Tensor<float> inner(const DeviceBuffer<float>& buffer, const char* name) const {
    const std::vector<float> memory = buffer.to_host();
    Tensor<float> array(shape_);
    std::copy_n(memory.begin() + kMargin, array.size(), array.data());
    const auto is_marked = [](float x) { return x == kMark; };
    EXPECT_TRUE(std::all_of(memory.begin(), memory.begin() + kMargin, is_marked))
        << "memory in front of " << name
        << " was written. Likely cause: a negative slot is used as an index; "
        << "it marks a padding token, which is left out.";
    EXPECT_TRUE(std::all_of(memory.end() - kMargin, memory.end(), is_marked))
        << "memory behind " << name << " was written";
    return array;
  }

  Shape shape_;
  DeviceBuffer<float> k_;
  DeviceBuffer<float> v_;
};

using Slots = std::vector<std::int64_t>;

/// `cache` after rows of `tokens` were put where `row_of` says; rows that are not there are left out.
KeysAndValues after_writing(KeysAndValues cache, const KeysAndValues& tokens, const Slots& slots,
                            const std::function<std::int64_t(std::int64_t slot)>& row_of) {
  const std::int64_t row_size = tokens.k.dim(1) * tokens.k.dim(2);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::int64_t row = row_of(slots[i]);
    if (row < 0 || (row + 1) * row_size > cache.k.size()) continue;
    const std::int64_t from = static_cast<std::int64_t>(i) * row_size;
    std::copy_n(tokens.k.data() + from, row_size, cache.k.data() + row * row_size);
    std::copy_n(tokens.v.data() + from, row_size, cache.v.data() + row * row_size);
  }
  return cache;
}

void reshape(const KeysAndValues& tokens, const Slots& slots, DeviceCache& cache) {
  const DeviceBuffer<float> k(tokens.k.span());
  const DeviceBuffer<float> v(tokens.v.span());
  const DeviceBuffer<std::int64_t> device_slots{std::span(slots)};
  lab02::reshape_and_cache_cuda(k.view(tokens.k.shape()), v.view(tokens.v.shape()),
                                device_slots.view({static_cast<std::int64_t>(slots.size())}), cache.k(),
                                cache.v());
}

/// The whole cache, keys and values, is what it should be.
void expect_writes(const Shape& cache_shape, const Slots& slots, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("k_blocks {}, slots {}", cache_shape.to_string(), fmt::join(slots, " ")));
  const std::int64_t block_size = cache_shape[1];
  const KeysAndValues before = random_pair(cache_shape, stream);
  const KeysAndValues tokens =
      random_pair({static_cast<std::int64_t>(slots.size()), cache_shape[2], cache_shape[3]}, stream + 1000);
  const auto after = [&](const std::function<std::int64_t(std::int64_t)>& row_of) {
    return after_writing(before, tokens, slots, row_of);
  };
  const KeysAndValues expected = after([](std::int64_t slot) { return slot; });
  const KeysAndValues as_block = after([=](std::int64_t slot) { return slot < 0 ? -1 : slot * block_size; });
  const KeysAndValues swapped = after(
      [=](std::int64_t slot) { return slot < 0 ? -1 : slot % block_size * block_size + slot / block_size; });
  const char* const slot_as_block =
      "slots used as numbers of blocks: slot s is place s % block_size of block s / block_size";
  const char* const exchanged = "slot s in block s % block_size at place s / block_size: they are exchanged";

  DeviceCache cache(before);
  reshape(tokens, slots, cache);
  const KeysAndValues got = cache.to_host();
  EXPECT_TRUE(
      matches(got.k, expected.k, {},
              std::vector<kit::KnownMistake>{
                  {"a cache that was not written", before.k},
                  {"the values, stored as keys",
                   after_writing(before, {tokens.v, tokens.v}, slots, [](std::int64_t s) { return s; }).k},
                  {slot_as_block, as_block.k},
                  {exchanged, swapped.k}}))
      << "k_blocks";
  EXPECT_TRUE(
      matches(got.v, expected.v, {},
              std::vector<kit::KnownMistake>{
                  {"values that were not written: only keys are", before.v},
                  {"the keys, stored as values",
                   after_writing(before, {tokens.k, tokens.k}, slots, [](std::int64_t s) { return s; }).v},
                  {slot_as_block, as_block.v},
                  {exchanged, swapped.v}}))
      << "v_blocks";
}

/// n of the slots of a cache, in random order.
Slots random_slots(std::int64_t n, std::int64_t n_slots, std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  Slots slots(static_cast<std::size_t>(n_slots));
  std::iota(slots.begin(), slots.end(), 0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
    std::swap(slots[i], slots[i + rng.below(static_cast<std::uint32_t>(slots.size() - i))]);
  slots.resize(static_cast<std::size_t>(n));
  return slots;
}

KIT_CUDA_TEST(ReshapeAndCacheCuda, WritesEachTokenToItsSlot) {
  expect_writes({16, 4, 2, 64}, {5, 2, 11, 7}, 3000);
  expect_writes({9, 16, 2, 64}, random_slots(33, 144, 3001), 3001);
  expect_writes({40, 1, 1, 128}, random_slots(31, 40, 3002), 3002);
  expect_writes({13, 3, 3, 32}, random_slots(39, 39, 3003), 3003);
  expect_writes({70, 16, 1, 96}, random_slots(1000, 1120, 3004), 3004);
  expect_writes({2, 8, 2, 32}, {15}, 3005);
}

KIT_CUDA_TEST(ReshapeAndCacheCuda, LeavesOutPaddingTokens) {
  expect_writes({4, 4, 2, 64}, {3, -1, 9, -2, 0}, 3006);
  expect_writes({4, 4, 2, 32}, {-1, -1, -1}, 3007);
}

KIT_CUDA_TEST(ReshapeAndCacheCuda, NoTokensNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  const KeysAndValues before = random_pair({2, 4, 2, 64}, 3008);
  DeviceCache cache(before);
  const LaunchCounts counts([&] {
    reshape({Tensor<float>({0, 2, 64}), Tensor<float>({0, 2, 64})}, {}, cache);
  });
  EXPECT_TRUE(counts.launches().empty()) << "a launch although there is nothing to do";
  EXPECT_TRUE(matches(cache.to_host().k, before.k, {}));
}

KIT_CUDA_TEST(ReshapeAndCacheCuda, OneLaunchForKeysAndValues) {
  KIT_SKIP_WITHOUT_COUNTS();
  const KeysAndValues tokens = random_pair({37, 2, 64}, 3009);
  DeviceCache cache(random_pair({4, 16, 2, 64}, 3010));
  const LaunchCounts counts([&] { reshape(tokens, random_slots(37, 64, 3011), cache); });
  EXPECT_EQ(counts.launches().size(), 1U);
}

using Pairs = std::vector<std::array<std::int32_t, 2>>;

void copy(const Pairs& pairs, DeviceCache& cache) {
  const std::span flat(pairs.empty() ? nullptr : pairs.front().data(), 2 * pairs.size());
  const DeviceBuffer<std::int32_t> device_pairs{std::span<const std::int32_t>(flat)};
  lab02::copy_blocks_cuda(device_pairs.view({static_cast<std::int64_t>(pairs.size()), 2}), cache.k(),
                          cache.v());
}

/// `cache` after the first n_pairs were copied.
KeysAndValues after_copying(KeysAndValues cache, const Pairs& pairs, std::size_t n_pairs,
                            bool reverse = false) {
  const std::int64_t block = cache.k.size() / cache.k.dim(0);
  for (std::size_t i = 0; i < n_pairs; ++i) {
    const std::int64_t from = block * pairs[i][reverse ? 1 : 0];
    const std::int64_t to = block * pairs[i][reverse ? 0 : 1];
    std::copy_n(cache.k.data() + from, block, cache.k.data() + to);
    std::copy_n(cache.v.data() + from, block, cache.v.data() + to);
  }
  return cache;
}

void expect_copies(const Shape& shape, const Pairs& pairs, std::uint64_t stream) {
  SCOPED_TRACE(fmt::format("k_blocks {}, {} pairs", shape.to_string(), pairs.size()));
  const KeysAndValues before = random_pair(shape, stream);
  const KeysAndValues expected = after_copying(before, pairs, pairs.size());
  const KeysAndValues backwards = after_copying(before, pairs, pairs.size(), true);
  const KeysAndValues first = after_copying(before, pairs, 1);
  const char* const reversed = "blocks copied from the second of a pair to the first: a pair is (from, to)";
  const char* const first_alone = "a copy of the first pair alone";
  DeviceCache cache(before);
  copy(pairs, cache);
  const KeysAndValues got = cache.to_host();
  EXPECT_TRUE(
      matches(got.k, expected.k, {},
              std::vector<kit::KnownMistake>{
                  {"keys that were not copied", before.k}, {reversed, backwards.k}, {first_alone, first.k}}))
      << "k_blocks";
  EXPECT_TRUE(matches(got.v, expected.v, {},
                      std::vector<kit::KnownMistake>{{"values that were not copied: only keys are", before.v},
                                                     {reversed, backwards.v},
                                                     {first_alone, first.v}}))
      << "v_blocks";
}

KIT_CUDA_TEST(CopyBlocksCuda, CopiesKeysAndValuesOfEveryPair) {
  expect_copies({6, 16, 2, 64}, {{4, 1}}, 3020);
  expect_copies({8, 4, 2, 64}, {{5, 2}, {0, 7}, {3, 1}}, 3021);
  expect_copies({20, 16, 1, 32}, {{19, 0}, {2, 3}, {2, 4}, {18, 10}}, 3022);
  expect_copies({5, 1, 1, 32}, {{3, 4}, {1, 0}}, 3023);
  expect_copies({5, 3, 3, 96}, {{4, 0}, {1, 2}}, 3024);
  expect_copies({3, 32, 4, 128}, {{2, 0}}, 3025);
}

KIT_CUDA_TEST(CopyBlocksCuda, NoPairsNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  const KeysAndValues before = random_pair({2, 4, 2, 64}, 3026);
  DeviceCache cache(before);
  const LaunchCounts counts([&] { copy({}, cache); });
  EXPECT_TRUE(counts.launches().empty()) << "a launch although there is nothing to do";
  EXPECT_TRUE(matches(cache.to_host().v, before.v, {}));
}

KIT_CUDA_TEST(CopyBlocksCuda, Moves16BytesAThreadInOneLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  // 3 pairs of 16 * 2 * 64 floats, keys and values: 12288 floats, 3072 times 16 bytes.
  DeviceCache cache(random_pair({8, 16, 2, 64}, 3027));
  const LaunchCounts counts([&] { copy({{5, 2}, {0, 7}, {3, 1}}, cache); });
  EXPECT_EQ(counts.launches().size(), 1U) << "one launch for all pairs, keys and values";
  for (const Access access : {Access::kLoad, Access::kStore}) {
    EXPECT_EQ(counts.total(Space::kGlobal, access, 16).thread_accesses, 3072)
        << name(access) << "s of 16 bytes by threads. A float4 is moved as a whole: to[i] = from[i] with "
        << "pointers to float4\n"
        << counts.to_string();
  }
}

/// Shapes of arguments that a test can bend; their memory is large enough for all of them.
struct Arguments {
  DeviceBuffer<float> memory{std::span<const float>(std::vector<float>(8192, 1.0F))};
  DeviceBuffer<std::int64_t> slots_memory{std::span<const std::int64_t>(std::vector<std::int64_t>(8, 1))};
  DeviceBuffer<std::int32_t> pairs_memory{
      std::span<const std::int32_t>(std::vector<std::int32_t>{0, 1, 2, 3})};
  DeviceBuffer<float> k_memory = nan_device_buffer(8192);
  DeviceBuffer<float> v_memory = nan_device_buffer(8192);
  Shape k{3, 2, 64}, v{3, 2, 64}, slots{3}, k_blocks{4, 8, 2, 64}, v_blocks{4, 8, 2, 64}, pairs{2, 2};
  std::int64_t k_offset = 0;
  std::int64_t v_offset = 0;

  void reshape() {
    lab02::reshape_and_cache_cuda({memory.data(), k}, {memory.data(), v}, {slots_memory.data(), slots},
                                  {k_memory.data(), k_blocks}, {v_memory.data(), v_blocks});
  }
  void copy() {
    lab02::copy_blocks_cuda({pairs_memory.data(), pairs}, {k_memory.data() + k_offset, k_blocks},
                            {v_memory.data() + v_offset, v_blocks});
  }
};

void expect_refuses(void (Arguments::*call)(), const char* what,
                    const std::function<void(Arguments&)>& bend) {
  Arguments arguments;
  bend(arguments);
  EXPECT_TRUE(refuses([&] { (arguments.*call)(); }, arguments.k_memory)) << what;
  EXPECT_TRUE(refuses([&] { (arguments.*call)(); }, arguments.v_memory)) << what;
}

void expect_refuses_bad_blocks(void (Arguments::*call)()) {
  expect_refuses(call, "k_blocks and v_blocks have different shapes", [](Arguments& x) {
    x.v_blocks = {3, 8, 2, 64};
  });
  expect_refuses(call, "blocks without the dimension of places", [](Arguments& x) {
    x.k_blocks = x.v_blocks = {32, 2, 64};
  });
  expect_refuses(call, "head_dim 48 is no multiple of 32", [](Arguments& x) {
    x.k = x.v = {3, 2, 48};
    x.k_blocks = x.v_blocks = {4, 8, 2, 48};
  });
  expect_refuses(call, "head_dim 160 is above 128", [](Arguments& x) {
    x.k = x.v = {3, 2, 160};
    x.k_blocks = x.v_blocks = {3, 8, 2, 160};
  });
}

KIT_CUDA_TEST(ReshapeAndCacheCuda, RejectsShapesThatDisagree) {
  expect_refuses_bad_blocks(&Arguments::reshape);
  expect_refuses(&Arguments::reshape, "k and v have different shapes", [](Arguments& x) {
    x.v = {2, 2, 64};
  });
  expect_refuses(&Arguments::reshape, "k is [n, n_kv_heads * head_dim]", [](Arguments& x) {
    x.k = x.v = {3, 128};
  });
  expect_refuses(&Arguments::reshape, "tokens have more kv heads than blocks", [](Arguments& x) {
    x.k = x.v = {3, 4, 64};
  });
  expect_refuses(&Arguments::reshape, "tokens have another head_dim than blocks", [](Arguments& x) {
    x.k = x.v = {3, 2, 32};
  });
  expect_refuses(&Arguments::reshape, "two slots for three tokens", [](Arguments& x) { x.slots = {2}; });
}

KIT_CUDA_TEST(CopyBlocksCuda, RejectsWhatCannotBe) {
  expect_refuses_bad_blocks(&Arguments::copy);
  expect_refuses(&Arguments::copy, "pairs are [4]", [](Arguments& x) { x.pairs = {4}; });
  expect_refuses(&Arguments::copy, "pairs are triples", [](Arguments& x) { x.pairs = {1, 3}; });
  expect_refuses(&Arguments::copy, "k_blocks begins 4 bytes behind a multiple of 16",
                 [](Arguments& x) { x.k_offset = 1; });
  expect_refuses(&Arguments::copy, "v_blocks begins 8 bytes behind a multiple of 16",
                 [](Arguments& x) { x.v_offset = 2; });
}

}  // namespace
