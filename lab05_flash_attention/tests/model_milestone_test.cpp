#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "kit/llama.h"
#include "kit/memory.h"
#include "kit/reference.h"
#include "kit/sampling.h"
#include "kit/step_executor.h"
#include "kit/testing.h"
#include "lab05/flash_forward.h"

namespace {

using kit::Tensor;
using Floats = kit::TensorView<const float>;

constexpr int kPrompts = 20;
constexpr int kNewTokens = 256;
// Prompts that are also continued with a cache, one token at a time, and for how long.
constexpr int kCachedPrompts = 3;
constexpr int kCachedTokens = 24;
/// Where the reference's logits of two tokens are closer than this, either is right: a tie to within
/// rounding. Logits of the solution differ from the reference's by 1e-5 (six layers in float, logits of up to
/// 20). A hundred times that leaves room for other orders of sums and cheaper exponentials; mistakes move
/// logits by 0.1 and more.
constexpr float kTieMargin = 1e-3F;

void flash(Floats q, Floats k, Floats v, kit::TensorView<float> out) {
  Tensor<float> log_sum_exp({q.dim(0), q.dim(1)});
  kit::CountingResource scratch;
  lab05::flash_attention(q, k, v, {}, scratch, out, log_sum_exp);
}

void flash_with_cache(int layer, Floats q, Floats k, Floats v, const kit::Rope& rope, kit::KvCache& cache,
                      kit::TensorView<float> out) {
  const int first_pos = cache.length(layer);
  Tensor<float> rotated_q = kit::clone(q);
  Tensor<float> rotated_k = kit::clone(k);
  rope.rotate(rotated_q, first_pos);
  rope.rotate(rotated_k, first_pos);
  cache.append(layer, rotated_k, v);
  flash(rotated_q, cache.keys(layer), cache.values(layer), out);
}

struct Story {
  std::vector<int> tokens;  // the prompt and what follows
  int prompt_len = 0;
  Tensor<float> logits;  // [tokens.size() - 1, vocab_size] of the reference attention, after each token
};

int best(std::span<const float> logits) {
  return static_cast<int>(std::ranges::max_element(logits) - logits.begin());
}

/// Prompts that the model makes up itself, each from a random token on, and their greedy continuations. All
/// at once, by an executor: a weight is read once a step, not once a story.
std::vector<Story> tell(const kit::ModelConfig& config,
                        const std::shared_ptr<const kit::LlamaWeights>& weights) {
  constexpr int kMostPromptTokens = 32;
  constexpr int kBlockSize = 16;
  constexpr int kBlocks = (kMostPromptTokens + kNewTokens) / kBlockSize;  // of a story
  const auto executor = kit::make_llama_executor(
      config, weights, {config.n_layers, config.n_kv_heads, config.head_dim, kBlockSize, kPrompts * kBlocks},
      kit::gathered_paged_attention);
  kit::Rng rng = kit::testing::make_rng(200);
  std::vector<Story> stories;
  std::vector<kit::StepSequence> batch;
  for (int p = 0; p < kPrompts; ++p) {
    const int first = static_cast<int>(rng.below(static_cast<std::uint32_t>(config.vocab_size)));
    stories.push_back({{first}, 8 + static_cast<int>(rng.below(kMostPromptTokens - 7)), {}});
    batch.push_back({.tokens = {first}, .first_pos = 0, .block_table = std::vector<int>(kBlocks)});
    std::iota(batch.back().block_table.begin(), batch.back().block_table.end(), p * kBlocks);
  }
  // All run as long as the longest.
  for (int n = 1; n < kMostPromptTokens + kNewTokens; ++n) {
    const Tensor<float> logits = executor->run(batch);
    for (int p = 0; p < kPrompts; ++p) {
      Story& story = stories[static_cast<std::size_t>(p)];
      const int token = n < story.prompt_len ? kit::sample(logits.row(p), 1.0F, rng) : best(logits.row(p));
      story.tokens.push_back(token);
      batch[static_cast<std::size_t>(p)].tokens = {token};
      ++batch[static_cast<std::size_t>(p)].first_pos;
    }
  }
  const auto reference = kit::make_llama(config, weights, kit::reference_attention_ops());
  for (Story& story : stories) {
    story.tokens.resize(static_cast<std::size_t>(story.prompt_len + kNewTokens));
    story.logits =
        reference->forward(std::span(story.tokens).first(story.tokens.size() - 1), kit::Logits::kAll);
  }
  return stories;
}

/// Whether `logits` choose the same token as the reference after token `n`, or one that the reference cannot
/// tell from its own.
bool agrees(const Story& story, int n, std::span<const float> logits) {
  if (std::ranges::any_of(logits, [](float x) { return std::isnan(x); })) return false;
  const std::span<const float> expected = story.logits.row(n);
  const float margin =
      expected[static_cast<std::size_t>(best(expected))] - expected[static_cast<std::size_t>(best(logits))];
  return margin < kTieMargin;
}

// The model with the student's attention over the same tokens must choose as the reference does after each of
// them. Where a tie falls the other way, the text goes on with the reference's token.
TEST(ModelMilestone, NoGreedyTokenChanges) {
  // What is not written yet says so before twenty stories are told.
  const Tensor<float> one({1, 1, 1});
  Tensor<float> out({1, 1, 1});
  flash(one, one, one, out);
  const auto directory = kit::testing::models_dir() / "target";
  const auto config = kit::load_config(directory);
  const auto weights = std::make_shared<const kit::LlamaWeights>(kit::load_llama_weights(directory, config));
  const std::vector<Story> stories = tell(config, weights);
  const auto model =
      kit::make_llama(config, weights, {.attention = flash, .attention_with_cache = flash_with_cache});
  int n_equal = 0;
  int n_cached_equal = 0;
  float largest_difference = 0.0F;  // of a logit
  for (int p = 0; p < kPrompts; ++p) {
    const Story& story = stories[static_cast<std::size_t>(p)];
    const std::span<const int> read = std::span(story.tokens).first(story.tokens.size() - 1);
    // One call over prompt and continuation gives the choice after each of them.
    const Tensor<float> logits = model->forward(read, kit::Logits::kAll);
    for (std::int64_t i = 0; i < logits.size(); ++i)
      largest_difference = std::max(largest_difference, std::abs(logits.data()[i] - story.logits.data()[i]));
    for (int i = 0; i < kNewTokens; ++i) {
      const bool equal = agrees(story, story.prompt_len - 1 + i, logits.row(story.prompt_len - 1 + i));
      n_equal += equal ? 1 : 0;
      EXPECT_TRUE(equal) << "prompt " << p << ", token " << i
                         << " of its continuation: another token than with the "
                         << "reference attention";
      if (!equal) break;  // whatever follows follows from it
    }
    if (p >= kCachedPrompts) continue;
    const auto cache = kit::make_reference_kv_cache(config.kv_cache_config(static_cast<int>(read.size())));
    Tensor<float> last = model->forward(read.first(static_cast<std::size_t>(story.prompt_len)), *cache);
    for (int i = 0; i < kCachedTokens; ++i) {
      const bool equal = agrees(story, story.prompt_len - 1 + i, last.span());
      n_cached_equal += equal ? 1 : 0;
      EXPECT_TRUE(equal)
          << "prompt " << p << ", token " << i
          << " with a cache (one query, many keys): another token than with the reference attention";
      if (!equal) break;
      last = model->forward(read.subspan(static_cast<std::size_t>(story.prompt_len + i), 1), *cache);
    }
  }
  EXPECT_EQ(n_cached_equal, kCachedPrompts * kCachedTokens);
  kit::testing::record_value("largest_logit_difference", double{largest_difference});
  kit::testing::record_value("tokens_equal", n_equal);
  kit::testing::record_value("tokens_expected", kPrompts * kNewTokens);
  EXPECT_EQ(n_equal, kPrompts * kNewTokens);
}

}  // namespace
