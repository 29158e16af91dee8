#include <gtest/gtest.h>

#include <vector>

#include "cuda_support.h"
#include "lab03/ragged_attention.h"

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::Tensor;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab03_tests::attends;
using lab03_tests::counts_of;
using lab03_tests::ragged_batch;
using lab03_tests::RaggedBatch;
using lab03_tests::RaggedSizes;
using lab03_tests::run_on_device;

// Scores of size 1 carry a few float roundings (6e-8 each) of at most 128 products, in any order, and exp2f
// is exact to two units in the last place (1.2e-7 each): below 5e-6. The mistakes are off by 1e-2 and more.
constexpr kit::Tolerance kTolerance{2e-5, 2e-5};

void expect_attends(const RaggedSizes& sizes, std::uint64_t stream) {
  SCOPED_TRACE(to_string(sizes));
  const RaggedBatch batch = ragged_batch(sizes, stream);
  EXPECT_TRUE(attends(run_on_device(batch), batch, kTolerance));
}

KIT_CUDA_TEST(RaggedAttentionCuda, MatchesTheReference) {
  expect_attends({.kv_lens = {5, 9, 3}}, 3220);
  expect_attends({.kv_lens = {40, 7}, .n_heads = 2, .n_kv_heads = 2, .head_dim = 128}, 3221);
  expect_attends({.kv_lens = {33}, .n_heads = 8, .n_kv_heads = 1, .head_dim = 32}, 3222);
  expect_attends({.kv_lens = {34, 4}, .n_heads = 8, .n_kv_heads = 2, .head_dim = 96}, 3223);
  expect_attends({.kv_lens = {17, 31}, .n_heads = 9, .n_kv_heads = 3, .head_dim = 32}, 3224);
  expect_attends({.kv_lens = {20}, .n_heads = 8, .n_kv_heads = 1, .head_dim = 128}, 3225);
}

KIT_CUDA_TEST(RaggedAttentionCuda, SequencesOfVeryDifferentLengths) {
  expect_attends({.kv_lens = {1, 300, 2, 31, 32, 33, 1, 64, 129}, .n_heads = 2, .n_kv_heads = 1}, 3226);
}

KIT_CUDA_TEST(RaggedAttentionCuda, ScoresOfAnySize) {
  for (const float shift : {300.0F, -300.0F}) {
    SCOPED_TRACE(fmt::format("scores are near {}", shift));
    RaggedBatch batch = ragged_batch({.kv_lens = {2, 45}}, 3227);
    shift_scores(batch, shift);
    // Products sum up to 300 sqrt(64) = 2400, where a float is exact to 1.2e-4, and a few such roundings over
    // sqrt(64) shift a score by less than 2e-4.
    EXPECT_TRUE(attends(run_on_device(batch), batch, {1e-3, 1e-3}))
        << (shift > 0
                ? "Likely cause of a NaN: e^300 is infinite. Subtract the maximum first."
                : "Likely cause of a NaN or 0: a maximum that starts at 0 instead of -infinity, so that "
                  "all weights are e^-300 = 0.");
  }
}

KIT_CUDA_TEST(RaggedAttentionCuda, OneLaunchForAllSequences) {
  KIT_SKIP_WITHOUT_COUNTS();
  std::vector<std::int64_t> shared_bytes;
  for (const RaggedSizes& sizes : {RaggedSizes{.kv_lens = {40, 7, 1}}, RaggedSizes{.kv_lens = {300, 7, 1}}}) {
    SCOPED_TRACE(to_string(sizes));
    const RaggedBatch batch = ragged_batch(sizes, 3228);
    const LaunchCounts counts = counts_of(batch);
    ASSERT_EQ(counts.launches().size(), 1U)
        << "launches"
        << (counts.launches().size() == 3U
                ? "\nLikely cause: one launch for each sequence. Let thread blocks "
                  "take sequences: the grid is n_seqs times as large."
                : "");
    EXPECT_EQ(counts.bytes(Space::kGlobal, Access::kStore), 4 * batch.q.size())
        << "bytes stored in device memory: each element of out once, and nothing else\n"
        << counts.to_string();
    shared_bytes.push_back(counts.launches()[0].static_shared_bytes +
                           counts.launches()[0].dynamic_shared_bytes);
  }
  EXPECT_EQ(shared_bytes[0], shared_bytes[1]) << "bytes of shared memory grow with the longest sequence";
}

/// All arguments in device memory, with shapes that a test can bend.
struct Arguments {
  DeviceBuffer<float> memory{std::span<const float>(std::vector<float>(8192, 1.0F))};
  DeviceBuffer<std::int32_t> cu_memory{std::span<const std::int32_t>(std::vector<std::int32_t>{0, 2, 5, 6})};
  DeviceBuffer<float> out_memory = nan_device_buffer(8192);
  Shape q{3, 4, 64}, k{6, 2, 64}, v{6, 2, 64}, cu{4}, out{3, 4, 64};

  void call() {
    lab03::ragged_decode_attention_cuda({memory.data(), q}, {memory.data(), k}, {memory.data(), v},
                                        {cu_memory.data(), cu}, {out_memory.data(), out});
  }
};

KIT_CUDA_TEST(RaggedAttentionCuda, RejectsShapesThatDisagree) {
  const auto expect_refuses = [](const char* what, const std::function<void(Arguments&)>& bend) {
    Arguments x;
    bend(x);
    EXPECT_TRUE(refuses([&] { x.call(); }, x.out_memory)) << what;
  };
  expect_refuses("q is [n_seqs, n_heads * head_dim]", [](Arguments& x) { x.q = {3, 256}; });
  expect_refuses("out has one sequence less than q", [](Arguments& x) { x.out = {2, 4, 64}; });
  expect_refuses("k and v have different shapes", [](Arguments& x) { x.v = {6, 4, 64}; });
  expect_refuses("another head_dim in k and v", [](Arguments& x) { x.k = x.v = {6, 2, 32}; });
  expect_refuses("k and v have four dimensions", [](Arguments& x) { x.k = x.v = {1, 6, 2, 64}; });
  expect_refuses("3 kv heads do not divide 4 heads", [](Arguments& x) { x.k = x.v = {6, 3, 64}; });
  expect_refuses("lengths of two sequences, queries of three", [](Arguments& x) { x.cu = {3}; });
  expect_refuses("a group of 16 query heads, 8 are allowed", [](Arguments& x) {
    x.q = x.out = {3, 16, 64};
    x.k = x.v = {6, 1, 64};
  });
  expect_refuses("head_dim 48 is no multiple of 32", [](Arguments& x) {
    x.q = x.out = {3, 4, 48};
    x.k = x.v = {6, 2, 48};
  });
  expect_refuses("head_dim 160 is above 128", [](Arguments& x) {
    x.q = x.out = {3, 4, 160};
    x.k = x.v = {6, 2, 160};
  });
}

KIT_CUDA_TEST(RaggedAttentionCuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  Arguments x;
  x.q = x.out = {0, 4, 64};
  x.k = x.v = {0, 2, 64};
  x.cu = {1};
  EXPECT_TRUE(kit::simt::profile([&] { x.call(); }).empty()) << "a launch although there is nothing to do";
}

}  // namespace
