#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "cuda_support.h"
#include "lab06/cuda_kernels.h"

namespace {

using kit::DeviceBuffer;
using kit::Shape;
using kit::simt::Access;
using kit::simt::Space;
using kit::testing::LaunchCounts;
using kit::testing::nan_device_buffer;
using kit::testing::refuses;
using lab06_tests::DraftBatch;
using lab06_tests::Outcome;
using lab06_tests::random_drafts;
using lab06_tests::verifies;

/// The largest float below 1.
constexpr float kAlmostOne = 1.0F - 0x1p-24F;

/// Every number of accepted drafts, all drafts there.
std::vector<Outcome> every_outcome(int gamma) {
  std::vector<Outcome> outcomes;
  for (int n = 0; n <= gamma; ++n) outcomes.push_back({gamma, gamma - n});
  return outcomes;
}

KIT_CUDA_TEST(VerifyDraftsCuda, AcceptsAPrefixAndDrawsOneToken) {
  EXPECT_TRUE(verifies(random_drafts({.gamma = 4, .vocab_size = 64}, every_outcome(4), 16900)));
  EXPECT_TRUE(verifies(random_drafts({.gamma = 3, .vocab_size = 1000}, every_outcome(3), 16901)));
  EXPECT_TRUE(verifies(random_drafts({.gamma = 1, .vocab_size = 2048}, every_outcome(1), 16902)));
}

KIT_CUDA_TEST(VerifyDraftsCuda, StopsAtTheFirstRejection) {
  std::vector<Outcome> outcomes(20, {8, 0});
  for (std::size_t s = 0; s < outcomes.size(); ++s) outcomes[s].n_accepted = static_cast<int>(s % 5);
  EXPECT_TRUE(verifies(random_drafts({.gamma = 8, .vocab_size = 96}, outcomes, 16903)));
}

KIT_CUDA_TEST(VerifyDraftsCuda, AnyVocabularyAndAnyNumberOfSequences) {
  for (const int vocab_size : {2, 31, 33, 63, 65, 257, 301}) {
    SCOPED_TRACE(fmt::format("vocab_size {}", vocab_size));
    const std::uint64_t stream = 17000 + static_cast<std::uint64_t>(vocab_size);
    const std::vector<Outcome> outcomes = {{2, 2}, {2, 0}, {2, 1}, {1, 1}, {1, 0}};
    for (const std::size_t n_seqs : {1, 5}) {
      const std::vector<Outcome> first(outcomes.begin(), outcomes.begin() + static_cast<long>(n_seqs));
      EXPECT_TRUE(verifies(random_drafts({.gamma = 2, .vocab_size = vocab_size}, first, stream)));
    }
  }
}

KIT_CUDA_TEST(VerifyDraftsCuda, EveryTokenCanBeDrawn) {
  constexpr int kVocabSize = 77;
  std::vector<Outcome> corrections;
  std::vector<Outcome> bonuses;
  for (int token = 0; token < kVocabSize; ++token) {
    corrections.push_back({2, token % 2, token});
    bonuses.push_back({2, 2, token});
  }
  EXPECT_TRUE(verifies(random_drafts({.gamma = 2, .vocab_size = kVocabSize}, corrections, 16904)));
  EXPECT_TRUE(verifies(random_drafts({.gamma = 2, .vocab_size = kVocabSize}, bonuses, 16905)));
}

KIT_CUDA_TEST(VerifyDraftsCuda, SequencesMayHaveFewerDrafts) {
  std::vector<Outcome> outcomes;
  for (int n_draft = 0; n_draft <= 5; ++n_draft) {
    for (int n = 0; n <= n_draft; ++n) outcomes.push_back({n_draft, n});
  }
  EXPECT_TRUE(verifies(random_drafts({.gamma = 5, .vocab_size = 130}, outcomes, 16906)));
}

KIT_CUDA_TEST(VerifyDraftsCuda, FromNoDraftsToThirtyOne) {
  EXPECT_TRUE(verifies(random_drafts({.gamma = 0, .vocab_size = 50}, {{0, 0}, {0, 0}, {0, 0}}, 16907)));
  EXPECT_TRUE(verifies(
      random_drafts({.gamma = 31, .vocab_size = 40}, {{31, 31}, {31, 30}, {31, 0}, {30, 30}}, 16908)));
}

/// As after top-k: most tokens have probability 0, and the uniforms are the least and the largest there are.
KIT_CUDA_TEST(VerifyDraftsCuda, NeverATokenOfProbabilityZero) {
  // Token 331 has a weight that no rounding hides. It is the last one with any.
  constexpr int kLast = 331;
  const std::vector<Outcome> outcomes = {{3, 0, kLast}, {3, 1, kLast}, {3, 2, kLast}, {3, 3, kLast},
                                         {0, 0, kLast}, {1, 1, kLast}, {2, 0, kLast}, {2, 2, kLast}};
  for (const float uniform : {0.0F, kAlmostOne}) {
    SCOPED_TRACE(fmt::format("the token is drawn by {:.9g}", uniform));
    DraftBatch batch = random_drafts({.gamma = 3, .vocab_size = 333, .zeros = 0.9}, outcomes, 16909);
    // Tokens 0 and 332 of every row are impossible. What rows sum to is then a little less than 1.
    for (std::int64_t s = 0; s < batch.p.dim(0); ++s) {
      for (std::int64_t t = 0; t < batch.p.dim(1); ++t) {
        for (const std::int64_t token : {0, 332}) {
          if (t == batch.q.dim(1) || batch.draft_tokens(s, t) != token) batch.p(s, t, token) = 0.0F;
        }
      }
      batch.uniforms(s, 3) = uniform;
    }
    EXPECT_TRUE(verifies(batch));
  }
}

KIT_CUDA_TEST(VerifyDraftsCuda, EqualDistributionsAcceptEverything) {
  DraftBatch batch = random_drafts({.gamma = 6, .vocab_size = 100}, {{6, 6}, {6, 6}, {4, 4}}, 16910);
  for (std::int64_t s = 0; s < batch.p.dim(0); ++s) {
    for (std::int64_t t = 0; t < batch.q.dim(1); ++t) {
      std::copy_n(&batch.p(s, t, 0), batch.p.dim(2), &batch.q(s, t, 0));
      batch.uniforms(s, t) = kAlmostOne;
    }
  }
  EXPECT_TRUE(verifies(batch));
}

/// p <= q everywhere, by rounding: a rejection leaves nothing of p - q, and the token is drawn from p.
KIT_CUDA_TEST(VerifyDraftsCuda, DrawsFromTheTargetWhereNothingIsLeft) {
  DraftBatch batch = random_drafts({.gamma = 2, .vocab_size = 70}, {{2, 1}, {2, 0}, {1, 0}}, 16911);
  const std::vector<std::int64_t> rejected = {1, 0, 0};
  for (std::int64_t s = 0; s < batch.p.dim(0); ++s) {
    const std::int64_t t = rejected[static_cast<std::size_t>(s)];
    std::copy_n(&batch.p(s, t, 0), batch.p.dim(2), &batch.q(s, t, 0));
    batch.q(s, t, batch.draft_tokens(s, t)) *= 1.0F + 1e-5F;
    batch.uniforms(s, t) = kAlmostOne;
    const auto row = std::span(&batch.p(s, t, 0), 70);
    draw_token(batch, s, static_cast<int>(t), static_cast<int>(std::ranges::max_element(row) - row.begin()));
  }
  EXPECT_TRUE(verifies(batch));
}

/// Rows are aligned to sectors. A row, or a pair of rows, may be read twice: for its sum, and to find the
/// token. Each draft costs two sectors of p and q; eight sectors a sequence are for the small arrays.
KIT_CUDA_TEST(VerifyDraftsCuda, ReadsOnlyTheRowsItDrawsFrom) {
  KIT_SKIP_WITHOUT_COUNTS();
  constexpr std::int64_t kGamma = 6;
  constexpr std::int64_t kVocabSize = 1024;
  constexpr std::int64_t kRowSectors = 4 * kVocabSize / 32;
  const std::vector<Outcome> outcomes = {{6, 0}, {6, 3}, {6, 6}, {6, 1}, {6, 5}, {2, 2}};
  const DraftBatch batch = random_drafts({.gamma = kGamma, .vocab_size = kVocabSize}, outcomes, 16912);
  const LaunchCounts counts([&] { EXPECT_TRUE(verifies(batch)); });
  EXPECT_EQ(counts.launches().size(), 1U) << "launches: one does all";

  std::int64_t n_rows = 0;
  for (const Outcome& outcome : outcomes) n_rows += outcome.n_accepted < outcome.n_draft ? 2 : 1;
  const auto n_seqs = static_cast<std::int64_t>(outcomes.size());
  const std::int64_t others = n_seqs * (2 * kGamma + 8);
  const std::int64_t all_rows = n_seqs * (2 * kGamma + 1) * kRowSectors;
  const std::int64_t sectors = counts.total(Space::kGlobal, Access::kLoad).sectors;
  const std::int64_t bytes = counts.bytes(Space::kGlobal, Access::kLoad);
  std::string cause;
  if (sectors > 2 * n_rows * kRowSectors + others) {
    cause = bytes >= 4 * n_seqs * (kGamma + 1) * kVocabSize
                ? "Likely cause: rows of all drafts are read. A test needs one element of p and of q, and "
                  "only the row of the first rejection, or of the bonus token, is drawn from."
                : counts.explain_sectors(Access::kLoad);
  }
  EXPECT_LE(sectors, 2 * n_rows * kRowSectors + others)
      << "sectors loaded, of 32 bytes; the " << n_rows << " rows that are needed have "
      << n_rows * kRowSectors << ", all rows " << all_rows << "\n"
      << counts.to_string() << cause;
}

KIT_CUDA_TEST(VerifyDraftsCuda, NoSequencesNoLaunch) {
  KIT_SKIP_WITHOUT_COUNTS();
  const DraftBatch batch = random_drafts({.gamma = 4, .vocab_size = 10}, {}, 16913);
  EXPECT_TRUE(kit::simt::profile([&] { lab06_tests::run(batch); }).empty())
      << "a launch although there is nothing to do";
}

/// All arguments in device memory, with shapes that a test can bend.
struct Arguments {
  static std::vector<std::int32_t> ones() { return std::vector<std::int32_t>(4096, 1); }
  DeviceBuffer<float> p_memory{std::span<const float>(std::vector<float>(4096, 0.125F))};
  DeviceBuffer<float> q_memory{std::span<const float>(std::vector<float>(4096, 0.125F))};
  DeviceBuffer<std::int32_t> draft_memory{std::span<const std::int32_t>(ones())};
  DeviceBuffer<std::int32_t> n_draft_memory{std::span<const std::int32_t>(ones())};
  DeviceBuffer<float> uniforms_memory{std::span<const float>(std::vector<float>(4096, 0.5F))};
  DeviceBuffer<float> out_memory = nan_device_buffer(4096);
  Shape p{3, 5, 8}, q{3, 4, 8}, draft_tokens{3, 4}, n_draft{3}, uniforms{3, 5}, n_accepted{3}, tokens{3, 5};

  void call() {
    // Both outputs lie in the memory that must stay NaN.
    auto* const out = reinterpret_cast<std::int32_t*>(out_memory.data());
    lab06::verify_drafts_cuda({p_memory.data(), p}, {q_memory.data(), q}, {draft_memory.data(), draft_tokens},
                              {n_draft_memory.data(), n_draft}, {uniforms_memory.data(), uniforms},
                              {out, n_accepted}, {out + 2048, tokens});
  }
};

KIT_CUDA_TEST(VerifyDraftsCuda, RejectsShapesThatDisagree) {
  const auto expect_refuses = [](const char* what, const std::function<void(Arguments&)>& bend) {
    Arguments arguments;
    bend(arguments);
    EXPECT_TRUE(refuses([&] { arguments.call(); }, arguments.out_memory)) << what;
  };
  expect_refuses("p is a matrix", [](Arguments& a) { a.p = {3, 5}; });
  expect_refuses("p has no row for the bonus token", [](Arguments& a) { a.p = {3, 4, 8}; });
  expect_refuses("p has no rows", [](Arguments& a) { a.p = {3, 0, 8}; });
  expect_refuses("an empty vocabulary", [](Arguments& a) { a.p = {3, 5, 0}, a.q = {3, 4, 0}; });
  expect_refuses("q of another vocabulary", [](Arguments& a) { a.q = {3, 4, 7}; });
  expect_refuses("q of one sequence less", [](Arguments& a) { a.q = {2, 4, 8}; });
  expect_refuses("a draft token for the bonus", [](Arguments& a) { a.draft_tokens = {3, 5}; });
  expect_refuses("n_draft of 4 sequences for 3", [](Arguments& a) { a.n_draft = {4}; });
  expect_refuses("no uniform to draw the token by", [](Arguments& a) { a.uniforms = {3, 4}; });
  expect_refuses("n_accepted of 2 sequences for 3", [](Arguments& a) { a.n_accepted = {2}; });
  expect_refuses("no room for the drawn token", [](Arguments& a) { a.tokens = {3, 4}; });
  expect_refuses("gamma of 32, at most 31", [](Arguments& a) {
    a.p = {3, 33, 8}, a.q = {3, 32, 8}, a.draft_tokens = {3, 32}, a.uniforms = {3, 33}, a.tokens = {3, 33};
  });
}

}  // namespace
