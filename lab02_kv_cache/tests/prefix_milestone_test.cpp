#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "generate_fixture.h"
#include "kit/paged_sequence.h"
#include "lab02/prefix_cache.h"
#include "plain_tables.h"

// A shared system prompt is prefilled once: the tokens that pass through Model::forward for a row of
// requests, counted by the model. Tables, allocator and attention are the tests' and the kit's.

namespace {

using Tokens = std::vector<int>;

constexpr int kBlockSize = 16;
constexpr int kBlocks = 64;
constexpr int kSystemLen = 4 * kBlockSize;  // an exact multiple of the block size

/// Prompts in the order of their arrival.
std::vector<Tokens> requests(const kit::Model& model) {
  const Tokens system = lab02_tests::random_prompt(model, kSystemLen, 760);
  const auto question = [&](int n, std::uint64_t stream) {
    return lab02_tests::random_prompt(model, n, stream);
  };
  const auto join = [](Tokens a, const Tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  std::vector<Tokens> prompts = {join(system, question(21, 761)),  // the first one computes everything
                                 join(system, question(kBlockSize, 762)),  // 80 tokens, five blocks exactly
                                 system,  // what is cached already, nothing behind it
                                 join(system, question(7, 763))};
  prompts.push_back(prompts[1]);  // the same prompt again, five blocks exactly
  prompts.push_back(
      join(prompts[1], question(9, 764)));  // a second turn: it goes on behind an earlier prompt
  // The blocks of the system prompt, each at another place: the same tokens, but with other ones before them.
  Tokens rotated = prompts[3];
  std::rotate(rotated.begin(), rotated.begin() + kBlockSize, rotated.begin() + kSystemLen);
  prompts.push_back(rotated);
  return prompts;
}

/// Tokens of request i that must run: all but the longest prefix in whole blocks that an earlier prompt has
/// filled, and one at least.
int tokens_to_run(const std::vector<Tokens>& prompts, std::size_t i) {
  const Tokens& prompt = prompts[i];
  const auto len = static_cast<int>(prompt.size());
  int n_cached = 0;
  for (std::size_t earlier = 0; earlier < i; ++earlier) {
    const auto common = std::ranges::mismatch(prompt, prompts[earlier]).in1 - prompt.begin();
    const int n_blocks = std::min(static_cast<int>(common) / kBlockSize, (len - 1) / kBlockSize);
    n_cached = std::max(n_cached, n_blocks * kBlockSize);
  }
  return len - n_cached;
}

/// Prefills one request as a server does: look up, run the rest, keep what was computed, free. `logits` get
/// those of the last position.
void prefill(kit::Model& model, kit::PrefixCache& cache, lab02_tests::PlainTables& tables,
             kit::KvBlockStorage& storage, const Tokens& prompt, kit::Tensor<float>& logits) {
  const kit::PrefixMatch match = cache.match(prompt);
  ASSERT_EQ(match.n_tokens, static_cast<int>(match.blocks.size()) * kBlockSize);
  ASSERT_LT(match.n_tokens, static_cast<int>(prompt.size()))
      << "Likely cause: the whole prompt was matched; nothing is left to run, so there are no logits";
  kit::PagedSequence sequence(tables, tables.add_sequence(match.blocks), storage);
  logits = model.forward(std::span(prompt).subspan(static_cast<std::size_t>(match.n_tokens)), sequence);
  cache.insert(prompt, sequence.block_table());
  tables.free(sequence.sequence());
}

TEST(PrefixMilestone, SharedPromptRunsOnce) {
  const auto model = lab02_tests::shipped_model();
  const std::vector<Tokens> prompts = requests(*model);
  const kit::ModelConfig& config = model->config();
  kit::KvBlockStorage storage({config.n_layers, config.n_kv_heads, config.head_dim, kBlockSize, kBlocks});
  const auto allocator = std::shared_ptr(kit::make_reference_block_allocator(kBlocks));
  const auto cache = lab02::make_prefix_cache({.block_size = kBlockSize}, allocator);
  lab02_tests::PlainTables tables(kBlockSize, allocator);

  std::vector<double> request;
  std::vector<double> with_cache;
  std::vector<double> without_cache;
  std::int64_t n_expected = 0;
  std::int64_t n_processed = 0;
  std::int64_t n_without = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    SCOPED_TRACE(fmt::format("request {}, {} tokens", i, prompts[i].size()));
    model->reset_stats();
    kit::Tensor<float> logits;
    ASSERT_NO_FATAL_FAILURE(prefill(*model, *cache, tables, storage, prompts[i], logits));
    n_processed += model->tokens_processed();
    n_expected += tokens_to_run(prompts, i);
    n_without += static_cast<std::int64_t>(prompts[i].size());
    // Counts of work that produced something else would be worth nothing. Logits reach 10 to 20 after 6
    // layers of float arithmetic, whose sums may be taken in another order; keys of another prefix move them
    // by units.
    ASSERT_TRUE(kit::testing::matches(logits, model->forward(prompts[i]), {2e-3, 1e-3}))
        << "logits of the last token differ from those of a run without any cache. Likely cause: the blocks "
           "matched "
           "hold keys and values of other tokens, or were given away while the cache still held them";
    request.push_back(static_cast<double>(i + 1));
    with_cache.push_back(static_cast<double>(n_processed));
    without_cache.push_back(static_cast<double>(n_without));
  }

  kit::testing::record_series("request", request);
  kit::testing::record_series("tokens_with_prefix_cache", with_cache);
  kit::testing::record_series("tokens_without_prefix_cache", without_cache);
  kit::testing::record_value("tokens_processed", static_cast<double>(n_processed));
  kit::testing::record_value("tokens_expected", static_cast<double>(n_expected));
  EXPECT_TRUE(kit::testing::matches_count(
      n_processed, n_expected,
      std::vector<kit::testing::KnownCount>{{"running every prompt whole: nothing was found", n_without}}))
      << "tokens through the model for " << prompts.size() << " requests";
  EXPECT_EQ(allocator->n_free(), kBlocks - cache->n_blocks())
      << "sequences have ended, only the cache holds blocks";
}

}  // namespace
