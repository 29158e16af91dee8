#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cuda_support.h"
#include "lab04/cuda_kernels.h"

// What the executor counts of the kernels of task 14, against the least that the bytes need.

namespace {

using kit::DeviceBuffer;
using kit::simt::Access;
using kit::simt::Counters;
using kit::simt::LineReport;
using kit::simt::Space;
using kit::testing::KnownCount;
using kit::testing::LaunchCounts;
using kit::testing::matches_count;
using lab04_tests::accesses_of;
using lab04_tests::counts_of;
using lab04_tests::random_int4_matvec;
using lab04_tests::random_int8_decode;
using lab04_tests::random_int8_product;

/// Pieces of memory that were moved: sectors of 32 bytes, and wavefronts of shared memory.
struct Pieces {
  std::int64_t counted = 0;
  std::int64_t ideal = 0;
  void add(std::int64_t n, std::int64_t n_ideal) {
    counted += n;
    ideal += n_ideal;
  }
};

/// The array is loaded, or stored, once, and its sectors are full.
void expect_full_sectors(const LaunchCounts& counts, const char* array, Access access, std::int64_t n_bytes,
                         Pieces& pieces) {
  const auto got = accesses_of(counts, access, 0, n_bytes);
  pieces.add(got ? got->sectors : counts.total(Space::kGlobal, access).sectors, n_bytes / 32);
  ASSERT_TRUE(got.has_value()) << array << ": no accesses in the source that " << name(access) << " its "
                               << n_bytes << " bytes once\n"
                               << counts.to_string();
  EXPECT_EQ(got->sectors, n_bytes / 32) << array << ": sectors, of 32 bytes each\n"
                                        << counts.to_string() << counts.explain_sectors(access);
}

/// Why the codes of a 4-bit matrix were not found among loads of 16 bytes.
std::string cause_of_other_loads(const LaunchCounts& counts, std::int64_t n_bytes) {
  for (const int width : {1, 2, 4, 8}) {
    if (accesses_of(counts, Access::kLoad, width, n_bytes))
      return fmt::format("Likely cause: codes are loaded {} byte{} at a time. A uint4 is a load of 16.",
                         width, width == 1 ? "" : "s");
  }
  if (accesses_of(counts, Access::kLoad, 16, 2 * n_bytes)) return "Likely cause: codes are loaded twice.";
  return "";
}

void expect_codes_by_16_bytes(Pieces& pieces) {
  SCOPED_TRACE("matvec_w4a16_cuda, out 100, in 2048, groups of 128");
  // 100 is no multiple of 8: whatever x is loaded for, 8192 bytes at a time, it is not as many bytes as the
  // codes have.
  constexpr std::int64_t kCodeBytes = 100 * 2048 / 2;
  const LaunchCounts counts = counts_of(random_int4_matvec(100, 2048, 128, 14500));
  const auto codes = accesses_of(counts, Access::kLoad, 16, kCodeBytes);
  pieces.add(codes ? codes->sectors : counts.total(Space::kGlobal, Access::kLoad).sectors, kCodeBytes / 32);
  ASSERT_TRUE(codes.has_value()) << "no loads of 16 bytes that together load the " << kCodeBytes
                                 << " bytes of codes once\n"
                                 << counts.to_string() << cause_of_other_loads(counts, kCodeBytes);
  // A full warp loads 512 bytes in 16 sectors.
  const std::vector<KnownCount> mistakes = {
      {"lanes that each have a row of their own: 16 bytes are half of a sector, and neighbours lie in other "
       "ones. Let the lanes of a warp share a row",
       kCodeBytes / 16}};
  EXPECT_TRUE(matches_count(codes->sectors, kCodeBytes / 32, mistakes))
      << "sectors of codes that are loaded\n"
      << counts.to_string();
}

void expect_keys_once_for_a_group(Pieces& pieces) {
  SCOPED_TRACE("decode_attention_int8_cuda, 96 positions, 8 query heads share 2 key/value heads of 128");
  constexpr std::int64_t kGroup = 4;
  constexpr std::int64_t kBytes = 2 * 96 * 2 * 128;  // of keys, or of values
  const auto batch =
      random_int8_decode({.context_lens = {96, 96}, .n_heads = 8, .n_kv_heads = 2, .head_dim = 128}, 14501);
  const LaunchCounts counts = counts_of(batch);
  const auto once = accesses_of(counts, Access::kLoad, 0, 2 * kBytes);
  const auto found = [&](std::int64_t n_bytes) {
    return accesses_of(counts, Access::kLoad, 0, n_bytes).has_value();
  };
  std::string cause;
  if (!once && found(2 * kGroup * kBytes))
    cause = "Likely cause: keys and values are loaded once for each of the 4 query heads that share them.";
  else if (!once && found((kGroup + 1) * kBytes))
    cause = "Likely cause: keys are loaded once for each of the 4 query heads that share them.";
  pieces.add(once ? once->sectors : counts.total(Space::kGlobal, Access::kLoad).sectors, kBytes / 16);
  ASSERT_TRUE(once.has_value()) << "no loads that together load the " << 2 * kBytes
                                << " bytes of keys and values once\n"
                                << counts.to_string() << cause;
  EXPECT_EQ(once->sectors, 2 * kBytes / 32) << "sectors of keys and values that are loaded\n"
                                            << counts.to_string() << counts.explain_sectors(Access::kLoad);
  expect_full_sectors(counts, "out", Access::kStore, 4 * batch.q.size(), pieces);
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
         "Likely cause of bank conflicts: lanes read rows of a tile whose length shares a factor with "
         "the 32 banks. Pad rows by one word.";
}

void expect_full_tiles(Pieces& pieces) {
  SCOPED_TRACE("linear_w8a8_cuda, n 64, out 128, in 256");
  const LaunchCounts counts = counts_of(random_int8_product(64, 128, 256, 14502));
  const Counters shared = counts.total([](const LineReport& line) { return line.space == Space::kShared; });
  pieces.add(shared.wavefronts, shared.ideal_wavefronts);
  EXPECT_EQ(shared.wavefronts, shared.ideal_wavefronts) << "wavefronts of shared memory\n"
                                                        << counts.to_string() << conflicts(counts);
  EXPECT_GT(shared.requests, 0) << "no tile in shared memory";
  expect_full_sectors(counts, "y", Access::kStore, std::int64_t{4} * 64 * 128, pieces);
}

void expect_full_rows(Pieces& pieces) {
  SCOPED_TRACE("quantize_rows_cuda, 7 rows of 1024");
  constexpr std::int64_t kSize = std::int64_t{7} * 1024;
  kit::Rng rng = kit::testing::make_rng(14503);
  const DeviceBuffer<float> x(kit::testing::random_tensor({7, 1024}, rng).span());
  DeviceBuffer<std::int8_t> q(kSize);
  DeviceBuffer<float> scales(7);
  const LaunchCounts counts([&] {
    lab04::quantize_rows_cuda(x.view({7, 1024}), q.view({7, 1024}), scales.view({7}));
  });
  // A row may be read once, or once for its maximum and once for its codes.
  const std::int64_t loaded = counts.bytes(Space::kGlobal, Access::kLoad);
  EXPECT_LE(loaded, 2 * 4 * kSize) << "bytes loaded by threads\n" << counts.to_string();
  expect_full_sectors(counts, "x", Access::kLoad, loaded, pieces);
  expect_full_sectors(counts, "q", Access::kStore, kSize, pieces);
}

void expect_full_tokens(Pieces& pieces) {
  SCOPED_TRACE("append_kv_int8_cuda, 5 tokens of 2 heads of 128");
  constexpr std::int64_t kSize = std::int64_t{5} * 2 * 128;  // of keys, or of values
  kit::Rng rng = kit::testing::make_rng(14504);
  const DeviceBuffer<float> k(kit::testing::random_tensor({5, 2, 128}, rng).span());
  const DeviceBuffer<float> v(kit::testing::random_tensor({5, 2, 128}, rng).span());
  const DeviceBuffer<std::int32_t> positions{std::span<const std::int32_t>(std::vector{3, 0, 2, 1, 3})};
  const kit::Shape cache{5, 4, 2, 128};
  DeviceBuffer<std::int8_t> k_cache(cache.size()), v_cache(cache.size());
  DeviceBuffer<float> k_scales(40), v_scales(40);
  const LaunchCounts counts([&] {
    lab04::append_kv_int8_cuda(k.view({5, 2, 128}), v.view({5, 2, 128}), positions.view({5}),
                               k_cache.view(cache), k_scales.view({5, 4, 2}), v_cache.view(cache),
                               v_scales.view({5, 4, 2}));
  });
  expect_full_sectors(counts, "codes", Access::kStore, 2 * kSize, pieces);
}

KIT_CUDA_TEST(QuantizedBytesMilestone, EverySectorIsFull) {
  KIT_SKIP_WITHOUT_COUNTS();
  Pieces pieces;
  expect_codes_by_16_bytes(pieces);
  expect_keys_once_for_a_group(pieces);
  expect_full_tiles(pieces);
  expect_full_rows(pieces);
  expect_full_tokens(pieces);
  kit::testing::record_value("pieces", static_cast<double>(pieces.counted));
  kit::testing::record_value("ideal_pieces", static_cast<double>(pieces.ideal));
}

}  // namespace
