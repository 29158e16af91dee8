#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "cuda_support.h"

// What the executor counts of ragged_decode_attention_cuda, against the least that its bytes need.

namespace {

using kit::simt::Access;
using kit::simt::Space;
using kit::testing::KnownCount;
using kit::testing::LaunchCounts;
using kit::testing::matches_count;
using lab03_tests::counts_of;
using lab03_tests::ragged_batch;
using lab03_tests::RaggedSizes;

KIT_CUDA_TEST(RaggedMilestone, SectorsEqualTheIdeal) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr std::int64_t kGroup = 4;
  const RaggedSizes ragged{
      .kv_lens = {300, 1, 40, 7, 2, 33, 5, 12}, .n_heads = 2 * kGroup, .n_kv_heads = 2, .head_dim = 128};
  RaggedSizes shortest = ragged;
  std::ranges::fill(shortest.kv_lens, 1);
  const LaunchCounts at_shortest = counts_of(ragged_batch(shortest, 3230));
  const LaunchCounts counts = counts_of(ragged_batch(ragged, 3231));
  EXPECT_EQ(counts.launches().size(), 1U) << "one launch for all sequences";

  // What the lengths add to sequences of one position is keys and values, and nothing else: how often queries
  // and lengths are loaded is the student's choice. A key of a head is 128 floats, 16 sectors; so is a value.
  const auto n_seqs = static_cast<std::int64_t>(ragged.kv_lens.size());
  const std::int64_t longest = *std::ranges::max_element(ragged.kv_lens);
  const std::int64_t total = std::reduce(ragged.kv_lens.begin(), ragged.kv_lens.end());
  constexpr std::int64_t kSectorsOfPosition = 2 * 2 * 16;  // key and value of 2 heads
  const std::int64_t ideal = kSectorsOfPosition * (total - n_seqs);
  const std::vector<KnownCount> mistakes = {
      {fmt::format(
           "a padded batch: every sequence loads {} positions, as many as the longest has. A loop over "
           "positions ends with its own sequence",
           longest),
       kSectorsOfPosition * n_seqs * (longest - 1)},
      {"keys and values loaded once for each of the 4 query heads that share them", kGroup * ideal},
      {"the 4 queries of the group loaded again for each position: keep them in registers or shared memory",
       ideal + kGroup * ideal / 2},
      {"loads of 4 bytes by lanes that each take a position of their own: each is in another sector, and "
       "uses "
       "an eighth of it. Let the lanes of a warp share out head_dim",
       8 * ideal},
  };
  const std::int64_t loaded = counts.array_load_sectors() - at_shortest.array_load_sectors();
  EXPECT_TRUE(matches_count(loaded, ideal, mistakes))
      << "sectors that sequences of " << total << " positions together load more than " << n_seqs
      << " of one position: keys and values, each once\n"
      << counts.to_string() << counts.explain_sectors(Access::kLoad);

  const std::int64_t stored = counts.total(Space::kGlobal, Access::kStore).sectors;
  const std::int64_t ideal_stored = n_seqs * ragged.n_heads * ragged.head_dim / 8;
  EXPECT_EQ(stored, ideal_stored) << "sectors that are stored: 8 floats fill one\n"
                                  << counts.to_string() << counts.explain_sectors(Access::kStore);
  kit::testing::record_value("sectors", static_cast<double>(loaded + stored));
  kit::testing::record_value("ideal_sectors", static_cast<double>(ideal + ideal_stored));
}

}  // namespace
