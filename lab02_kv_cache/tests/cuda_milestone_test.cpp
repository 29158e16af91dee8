#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda_support.h"
#include "lab02/cuda_kernels.h"

// What the executor counts of the kernels of task 9, against the least that the bytes need.

namespace {

using kit::DeviceBuffer;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LineReport;
using kit::simt::Space;
using kit::testing::KnownCount;
using kit::testing::LaunchCounts;
using kit::testing::matches_count;
using lab02_tests::contiguous_batch;
using lab02_tests::counts_of;
using lab02_tests::DecodeBatch;
using lab02_tests::DecodeSizes;
using lab02_tests::paged_batch;

/// Sectors of device memory, those counted and the fewest possible.
struct Sectors {
  std::int64_t counted = 0;
  std::int64_t ideal = 0;
  void add(std::int64_t n, std::int64_t n_ideal) {
    counted += n;
    ideal += n_ideal;
  }
};

void expect_stores_are_whole(const LaunchCounts& counts, std::int64_t n_elements, Sectors& sectors) {
  const std::int64_t stored = counts.total(Space::kGlobal, Access::kStore).sectors;
  sectors.add(stored, n_elements / 8);
  EXPECT_EQ(stored, n_elements / 8) << "sectors that are stored: 8 floats fill one\n"
                                    << counts.to_string() << counts.explain_sectors(Access::kStore);
}

constexpr std::int64_t kGroup = 4;
constexpr std::int64_t kShort = 32;
constexpr std::int64_t kLong = 96;

DecodeSizes sizes(std::int64_t context_len, std::int64_t head_dim = 128) {
  const auto length = static_cast<std::int32_t>(context_len);
  return {.context_lens = {length, length}, .n_heads = 2 * kGroup, .n_kv_heads = 2, .head_dim = head_dim};
}

/// What a longer context adds is its keys and values, and nothing else: how often a kernel loads queries and
/// lengths is the student's choice, and does not grow.
void expect_loads_once(const DecodeBatch& short_batch, const DecodeBatch& long_batch, Sectors& sectors) {
  const LaunchCounts at_short = counts_of(short_batch);
  const LaunchCounts at_long = counts_of(long_batch);
  // A key of one head is 128 floats, 16 sectors; so is a value. 2 sequences, 2 key/value heads.
  const std::int64_t row = 16;
  const std::int64_t n_rows = 2 * 2 * (kLong - kShort);
  const std::int64_t ideal = 2 * row * n_rows;
  const std::string lanes =
      " loaded by lanes that each take a position of their own, 4 bytes at a time: each is in another "
      "sector, "
      "and uses an eighth of it. Let the lanes of a warp share out head_dim";
  const std::string wide_lanes =
      " loaded by lanes that each take a position of their own, 16 bytes at a time: each is in another "
      "sector, "
      "and uses half of it. Let the lanes of a warp share out head_dim";
  const std::vector<KnownCount> mistakes = {
      {"keys and values loaded once for each of the 4 query heads that share them: a warp or thread block of "
       "one query head each. Load a key once, and use it for the whole group",
       kGroup * ideal},
      {"the 4 queries of the group loaded again for each position: keep them in registers or shared memory",
       ideal + kGroup * row * n_rows},
      {"keys loaded once for each of the 4 query heads that share them", (kGroup + 1) * ideal / 2},
      {"keys and values" + lanes, 8 * ideal},
      {"keys" + lanes + ". Values are loaded as they should be", 9 * ideal / 2},
      {"keys and values" + wide_lanes, 2 * ideal},
      {"keys" + wide_lanes + ". Values are loaded as they should be", 3 * ideal / 2},
      {"loads that do not depend on context_lens", 0},
  };
  const std::int64_t loaded = at_long.array_load_sectors() - at_short.array_load_sectors();
  sectors.add(loaded, ideal);
  EXPECT_TRUE(matches_count(loaded, ideal, mistakes))
      << "sectors that " << kLong << " positions load more than " << kShort
      << ": keys and values, each once. The " << kLong << ":\n"
      << at_long.to_string() << at_long.explain_sectors(Access::kLoad);
  expect_stores_are_whole(at_long, long_batch.q.size(), sectors);
}

/// Keys and values of `n_elements` each go through a thread once.
void expect_moves_once(const LaunchCounts& counts, std::int64_t n_elements, Sectors& sectors) {
  const std::int64_t loaded = counts.array_load_sectors();
  sectors.add(loaded, 2 * n_elements / 8);
  EXPECT_EQ(loaded, 2 * n_elements / 8) << "sectors that are loaded: 8 floats fill one\n"
                                        << counts.to_string() << counts.explain_sectors(Access::kLoad);
  expect_stores_are_whole(counts, 2 * n_elements, sectors);
}

kit::Shape cache_shape() {
  return {12, 16, 2, 64};
}

LaunchCounts reshape_counts() {
  constexpr std::int64_t kTokens = 96;
  kit::Rng rng = kit::testing::make_rng(3101);
  const Tensor<float> tokens = kit::testing::random_tensor({kTokens, 2, 64}, rng);
  const DeviceBuffer<float> k(tokens.span());
  const DeviceBuffer<float> v(tokens.span());
  std::vector<std::int64_t> slots(kTokens);
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int64_t>(i * 7 % 192);
  const DeviceBuffer<std::int64_t> device_slots{std::span<const std::int64_t>(slots)};
  DeviceBuffer<float> k_blocks(cache_shape().size());
  DeviceBuffer<float> v_blocks(cache_shape().size());
  return LaunchCounts([&] {
    lab02::reshape_and_cache_cuda(k.view(tokens.shape()), v.view(tokens.shape()),
                                  device_slots.view({kTokens}), k_blocks.view(cache_shape()),
                                  v_blocks.view(cache_shape()));
  });
}

LaunchCounts copy_counts() {
  kit::Rng rng = kit::testing::make_rng(3102);
  const Tensor<float> cache = kit::testing::random_tensor(cache_shape(), rng);
  DeviceBuffer<float> k_blocks(cache.span());
  DeviceBuffer<float> v_blocks(cache.span());
  const std::vector<std::int32_t> pairs = {5, 2, 0, 7, 11, 1};
  const DeviceBuffer<std::int32_t> device_pairs{std::span<const std::int32_t>(pairs)};
  return LaunchCounts([&] {
    lab02::copy_blocks_cuda(device_pairs.view({3, 2}), k_blocks.view(cache_shape()),
                            v_blocks.view(cache_shape()));
  });
}

KIT_CUDA_TEST(CacheCoalescedMilestone, SectorsEqualTheIdeal) {
  KIT_SKIP_WITHOUT_COUNTS();
  Sectors sectors;
  {
    SCOPED_TRACE("decode_attention_cuda");
    expect_loads_once(contiguous_batch(sizes(kShort), 3100), contiguous_batch(sizes(kLong), 3100), sectors);
  }
  {
    // A table is one sector, and looked up in one sector a request, whoever does it.
    SCOPED_TRACE("paged_decode_attention_cuda");
    expect_loads_once(paged_batch(sizes(kShort), 64, 3100), paged_batch(sizes(kLong), 64, 3100), sectors);
  }
  {
    SCOPED_TRACE("reshape_and_cache_cuda, 96 tokens of 2 heads of 64 elements");
    expect_moves_once(reshape_counts(), std::int64_t{96} * 2 * 64, sectors);
  }
  {
    SCOPED_TRACE("copy_blocks_cuda, 3 blocks of 16 tokens of 2 heads of 64 elements");
    expect_moves_once(copy_counts(), std::int64_t{3} * 16 * 2 * 64, sectors);
  }
  kit::testing::record_value("sectors", static_cast<double>(sectors.counted));
  kit::testing::record_value("ideal_sectors", static_cast<double>(sectors.ideal));
}

/// The lines of shared memory whose requests take more wavefronts than their bytes fill.
std::string conflicts(const LaunchCounts& counts) {
  std::string text;
  for (const auto& launch : counts.launches()) {
    for (const LineReport& line : launch.lines) {
      const Counters& c = line.counters;
      if (line.space != Space::kShared || c.wavefronts <= c.ideal_wavefronts) continue;
      text += fmt::format("line {}: {:.3g} times the ideal. ", line.line, c.bank_conflict_degree());
    }
  }
  return text +
         "Likely cause: neighbouring lanes are a distance apart that shares a factor with the 32 banks. "
         "Let lanes take neighbouring words, or pad rows to an odd length.";
}

KIT_CUDA_TEST(CacheBankMilestone, WavefrontsEqualTheIdeal) {
  KIT_SKIP_WITHOUT_COUNTS();
  std::int64_t wavefronts = 0;
  std::int64_t ideal = 0;
  const auto expect_no_conflicts = [&](const char* what, const LaunchCounts& counts) {
    SCOPED_TRACE(what);
    const Counters shared = counts.total([](const LineReport& line) { return line.space == Space::kShared; });
    wavefronts += shared.wavefronts;
    ideal += shared.ideal_wavefronts;
    EXPECT_EQ(shared.wavefronts, shared.ideal_wavefronts) << "wavefronts of shared memory\n"
                                                          << counts.to_string() << conflicts(counts);
  };
  for (const std::int64_t head_dim : {32, 64, 96, 128}) {
    SCOPED_TRACE(fmt::format("head_dim {}", head_dim));
    expect_no_conflicts("decode_attention_cuda", counts_of(contiguous_batch(sizes(80, head_dim), 3103)));
    expect_no_conflicts("paged_decode_attention_cuda", counts_of(paged_batch(sizes(80, head_dim), 16, 3104)));
  }
  expect_no_conflicts("reshape_and_cache_cuda", reshape_counts());
  expect_no_conflicts("copy_blocks_cuda", copy_counts());
  kit::testing::record_value("wavefronts", static_cast<double>(wavefronts));
  kit::testing::record_value("ideal_wavefronts", static_cast<double>(ideal));
}

}  // namespace
