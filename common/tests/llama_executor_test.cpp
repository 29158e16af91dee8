#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/step_executor.h"
#include "kit/testing.h"

// The executor against kit::Model, which runs one sequence with a contiguous cache. Longer than other tests:
// all compare with the same few models.

namespace kit::testing {
namespace {

constexpr int kBlockSize = 4;
constexpr int kBlocks = 40;

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 41;
  config.dim = 24;
  config.hidden_dim = 37;
  config.n_layers = 3;
  config.n_heads = 6;
  config.n_kv_heads = 2;
  config.head_dim = 6;
  config.max_seq_len = 50;
  return config;
}

PagedKvConfig kv_config(const ModelConfig& c) {
  return {c.n_layers, c.n_kv_heads, c.head_dim, kBlockSize, kBlocks};
}

std::shared_ptr<const LlamaWeights> small_weights() {
  Rng rng = make_rng(520);
  return std::make_shared<const LlamaWeights>(random_llama_weights(small_config(), rng));
}

std::unique_ptr<StepExecutor> small_executor() {
  return make_llama_executor(small_config(), small_weights(), kv_config(small_config()),
                             gathered_paged_attention);
}

std::vector<int> random_tokens(int n, Rng& rng) {
  std::vector<int> tokens(static_cast<std::size_t>(n));
  for (int& token : tokens) token = static_cast<int>(rng.below(41));
  return tokens;
}

void shuffle(std::vector<int>& items, Rng& rng) {
  for (std::size_t i = items.size(); i > 1; --i)
    std::swap(items[i - 1], items[rng.below(static_cast<std::uint32_t>(i))]);
}

/// Sequences with blocks of their own, dealt from a shuffled pile, whose tokens are run in pieces.
class Sequences {
 public:
  explicit Sequences(std::uint64_t stream) : rng_(make_rng(stream)), pile_(kBlocks) {
    std::iota(pile_.begin(), pile_.end(), 0);
    shuffle(pile_, rng_);
  }

  /// A sequence of n random tokens; its number.
  std::size_t add(int n) {
    tokens_.push_back(random_tokens(n, rng_));
    done_.push_back(0);
    std::vector<int> table;
    for (int held = 0; held < n; held += kBlockSize) {
      table.push_back(pile_.back());
      pile_.pop_back();
    }
    tables_.push_back(table);
    return tokens_.size() - 1;
  }

  /// The next n tokens of a sequence, as part of a step.
  StepSequence next(std::size_t s, int n) {
    const auto begin = tokens_[s].begin() + done_[s];
    StepSequence part{.tokens = {begin, begin + n}, .first_pos = done_[s], .block_table = tables_[s]};
    done_[s] += n;
    return part;
  }

  int left(std::size_t s) const { return static_cast<int>(tokens_[s].size()) - done_[s]; }
  /// The tokens that were run already.
  std::span<const int> done(std::size_t s) const {
    return std::span(tokens_[s]).first(static_cast<std::size_t>(done_[s]));
  }
  std::size_t size() const { return tokens_.size(); }
  Rng& rng() { return rng_; }

 private:
  Rng rng_;
  std::vector<int> pile_;
  std::vector<std::vector<int>> tokens_;
  std::vector<int> done_;
  std::vector<std::vector<int>> tables_;
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// The logits after `tokens`, by the model alone.
Tensor<float> alone(Model& model, std::span<const int> tokens) {
  const auto cache = make_reference_kv_cache(model.config().kv_cache_config(model.config().max_seq_len));
  return model.forward(tokens, *cache);
}

/// Attention in float sums a few dozen products of size 1 and divides by a sum: some 1e-6 away from double
/// precision. Three layers and the head with activations of size 1 carry that on, each without growth to
/// speak of. A wrong key, position or row moves logits by 0.1 and more.
constexpr Tolerance kFloatAttention{.absolute = 5e-5, .relative = 0.0};

TEST(LlamaExecutor, PrefillAndDecodeMatchTheModel) {
  for (const int n : {1, 3, 4, 5, 31, 32, 33}) {
    const auto model = make_llama(small_config(), small_weights(), reference_attention_ops());
    const auto executor = small_executor();
    Sequences sequences(530);
    const std::size_t s = sequences.add(n + 3);
    const Tensor<float> prefill = executor->run({sequences.next(s, n)});
    ASSERT_EQ(prefill.shape(), (Shape{1, 41}));
    EXPECT_TRUE(matches(prefill, alone(*model, sequences.done(s)), kFloatAttention)) << "prompt of " << n;
    while (sequences.left(s) > 0) {
      const Tensor<float> decode = executor->run({sequences.next(s, 1)});
      EXPECT_TRUE(matches(decode, alone(*model, sequences.done(s)), kFloatAttention))
          << "decode after " << sequences.done(s).size() - 1;
    }
  }
}

/// Runs all sequences to their ends, a random part of them in each step, in random order and pieces; calls
/// visit(sequence, row of the logits) for each part.
template <class Visit>
void run_ragged(StepExecutor& executor, Sequences& sequences, const Visit& visit) {
  Rng& rng = sequences.rng();
  for (;;) {
    std::vector<int> parts;
    for (std::size_t s = 0; s < sequences.size(); ++s)
      if (sequences.left(s) > 0 && rng.below(3) != 0) parts.push_back(static_cast<int>(s));
    shuffle(parts, rng);
    std::vector<StepSequence> batch;
    for (const int s : parts) {
      const auto left = static_cast<std::uint32_t>(sequences.left(static_cast<std::size_t>(s)));
      // Decodes beside pieces of prompts.
      const int n = rng.below(2) == 0 ? 1 : 1 + static_cast<int>(rng.below(std::min(left, 9U)));
      batch.push_back(sequences.next(static_cast<std::size_t>(s), n));
    }
    if (!batch.empty()) {
      const Tensor<float> logits = executor.run(batch);
      ASSERT_EQ(logits.shape(), (Shape{static_cast<std::int64_t>(parts.size()), 41}));
      for (std::size_t i = 0; i < parts.size(); ++i) visit(static_cast<std::size_t>(parts[i]), logits.row(i));
    }
    bool done = true;
    for (std::size_t s = 0; s < sequences.size(); ++s) done = done && sequences.left(s) == 0;
    if (done) return;
  }
}

TEST(LlamaExecutor, RaggedBatchesMatchTheModel) {
  // Unused slots are NaN, so a key too many would show at once.
  const auto model = make_llama(small_config(), small_weights(), reference_attention_ops());
  const auto executor = small_executor();
  Sequences sequences(540);
  for (const int n : {1, 33, 8, 17, 4, 31}) sequences.add(n);
  run_ragged(*executor, sequences, [&](std::size_t s, std::span<const float> logits) {
    EXPECT_TRUE(matches({logits.data(), {1, 41}}, alone(*model, sequences.done(s)), kFloatAttention))
        << "sequence " << s << ", " << sequences.done(s).size() << " tokens";
  });
}

TEST(LlamaExecutor, LogitsHaveTheSameBitsWhateverElseRuns) {
  // The model with the same attention in float, all tokens at once: other pieces, other neighbours, other
  // block size, and still every bit.
  const auto model = make_llama(small_config(), small_weights(), gathered_attention_ops());
  const auto executor = small_executor();
  Sequences sequences(550);
  for (const int n : {33, 2, 16, 29, 7, 5}) sequences.add(n);
  int n_compared = 0;
  run_ragged(*executor, sequences, [&](std::size_t s, std::span<const float> logits) {
    ++n_compared;
    EXPECT_TRUE(same_bits(logits, alone(*model, sequences.done(s)).span()))
        << "sequence " << s << ", " << sequences.done(s).size() << " tokens";
  });
  EXPECT_GT(n_compared, 12);
}

TEST(LlamaExecutor, AllLogitsAreThoseOfTheModelAlone) {
  const auto model = make_llama(small_config(), small_weights(), gathered_attention_ops());
  const auto executor = small_executor();
  Sequences sequences(555);
  for (const int n : {7, 1, 18}) sequences.add(n);
  std::int64_t row = 0;
  executor->run({sequences.next(0, 2), sequences.next(2, 13)});
  const Tensor<float> logits =
      executor->run({sequences.next(0, 5), sequences.next(1, 1), sequences.next(2, 5)}, Logits::kAll);
  ASSERT_EQ(logits.shape(), (Shape{11, 41}));
  for (const std::size_t s : {0U, 1U, 2U}) {
    const Tensor<float> all = model->forward(sequences.done(s), Logits::kAll);
    const std::int64_t n = s == 1 ? 1 : 5;
    for (std::int64_t i = 0; i < n; ++i, ++row)
      EXPECT_TRUE(same_bits(logits.row(row), all.row(all.dim(0) - n + i))) << "sequence " << s << ", " << i;
  }
}

TEST(LlamaExecutor, ShippedModelGivesTheSameBitsInABatch) {
  const auto directory = models_dir() / "target";
  const ModelConfig config = load_config(directory);
  const auto weights = std::make_shared<const LlamaWeights>(load_llama_weights(directory, config));
  const auto executor =
      make_llama_executor(config, weights, {config.n_layers, config.n_kv_heads, config.head_dim, 16, 16},
                          gathered_paged_attention);
  const auto model = make_llama(config, weights, gathered_attention_ops());
  Rng rng = make_rng(560);
  std::vector<StepSequence> batch;
  int block = 0;
  for (const int n : {1, 33, 16, 9}) {
    StepSequence s;
    for (int i = 0; i < n; ++i) s.tokens.push_back(static_cast<int>(rng.below(2048)));
    for (int held = 0; held < n; held += 16) s.block_table.push_back(15 - block++);
    batch.push_back(std::move(s));
  }
  const Tensor<float> logits = executor->run(batch);
  for (std::size_t i = 0; i < batch.size(); ++i)
    EXPECT_TRUE(same_bits(logits.row(i), alone(*model, batch[i].tokens).span())) << "sequence " << i;
}

TEST(LlamaExecutor, ReadsABlockThatAnotherSequenceFillsInTheSameStep) {
  // Two requests with a common prompt: one runs it, the other's table begins with its block.
  const auto model = make_llama(small_config(), small_weights(), gathered_attention_ops());
  const auto executor = small_executor();
  Rng rng = make_rng(570);
  const std::vector<int> prompt = random_tokens(6, rng);
  const std::vector<int> first(prompt.begin(), prompt.begin() + 4);
  const Tensor<float> logits =
      executor->run({{.tokens = {prompt[4], prompt[5]}, .first_pos = 4, .block_table = {9, 2}},
                     {.tokens = first, .first_pos = 0, .block_table = {9}}});
  EXPECT_TRUE(same_bits(logits.row(0), alone(*model, prompt).span()));
  EXPECT_TRUE(same_bits(logits.row(1), alone(*model, first).span()));
}

TEST(LlamaExecutor, ARejectedStepWritesNothing) {
  const auto executor = small_executor();
  const auto untouched = small_executor();
  Sequences sequences(580);
  const std::size_t s = sequences.add(9);
  const StepSequence prompt = sequences.next(s, 8);
  executor->run({prompt});
  untouched->run({prompt});
  // The first sequence would overwrite the prompt's blocks, the second is wrong.
  StepSequence other = prompt;
  std::reverse(other.tokens.begin(), other.tokens.end());
  EXPECT_TRUE(throws_error(
      [&] {
        executor->run({other, {.tokens = {3}, .first_pos = 0, .block_table = {kBlocks}}});
      },
      "block 40 is not in [0, 40)"));
  EXPECT_EQ(executor->steps().size(), 1U);
  EXPECT_EQ(executor->tokens_processed(), 8);
  const StepSequence decode = sequences.next(s, 1);
  EXPECT_TRUE(same_bits(executor->run({decode}).span(), untouched->run({decode}).span()));
}

TEST(LlamaExecutor, CallsAttentionOnceALayerAndSequence) {
  std::atomic<int> n_calls = 0;
  const auto executor =
      make_llama_executor(small_config(), small_weights(), kv_config(small_config()),
                          [&](TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
                              std::span<const int> table, int context_len, TensorView<float> out) {
                            ++n_calls;
                            gathered_paged_attention(q, k, v, table, context_len, out);
                          });
  Sequences sequences(590);
  for (const int n : {7, 5, 1}) sequences.add(n);
  executor->run({sequences.next(0, 7), sequences.next(1, 5), sequences.next(2, 1)});
  EXPECT_EQ(n_calls, 3 * 3);
}

TEST(LlamaExecutor, AttentionThatWritesNothingShowsAsNan) {
  const auto executor =
      make_llama_executor(small_config(), small_weights(), kv_config(small_config()), [](auto&&...) {});
  const Tensor<float> logits = executor->run({{.tokens = {1, 2}, .first_pos = 0, .block_table = {0}}});
  for (const float logit : logits.span()) EXPECT_TRUE(std::isnan(logit));
}

TEST(LlamaExecutor, RejectsBlocksAndWeightsOfAnotherModel) {
  const ModelConfig config = small_config();
  const PagedKvConfig kv = kv_config(config);
  const auto make = [&](const PagedKvConfig& blocks) {
    return make_llama_executor(config, small_weights(), blocks, gathered_paged_attention);
  };
  PagedKvConfig other = kv;
  other.n_layers = 2;
  EXPECT_TRUE(
      throws_error([&] { make(other); }, "blocks for 2 layers, 2 kv heads, head_dim 6; the model has 3"));
  other = kv;
  other.n_kv_heads = 6;
  EXPECT_TRUE(throws_error([&] { make(other); }, "6 kv heads"));
  other = kv;
  other.head_dim = 8;
  EXPECT_TRUE(throws_error([&] { make(other); }, "head_dim 8"));
  other = kv;
  other.block_size = 0;
  EXPECT_TRUE(throws_error([&] { make(other); }, "block_size 0"));
  other = kv;
  other.n_blocks = 0;
  EXPECT_TRUE(throws_error([&] { make(other); }, "n_blocks 0"));
  EXPECT_TRUE(throws_error([&] { make_llama_executor(config, nullptr, kv, gathered_paged_attention); },
                           "without weights"));
  EXPECT_TRUE(
      throws_error([&] { make_llama_executor(config, small_weights(), kv, {}); }, "without attention"));
  ModelConfig wider = config;
  wider.hidden_dim = 38;
  EXPECT_TRUE(throws_error([&] { make_llama_executor(wider, small_weights(), kv, gathered_paged_attention); },
                           "w_gate has shape [37, 24] instead of [38, 24]"));
}

/// Keys and values of `n` positions in blocks of `block_size`, dealt in random order; the rest is NaN.
struct PagedArrays {
  PagedArrays(const Tensor<float>& k, const Tensor<float>& v, int block_size, Rng& rng)
      : n_blocks(k.dim(0) / block_size + 3),
        k_blocks(nan_tensor({n_blocks, block_size, k.dim(1), k.dim(2)})),
        v_blocks(nan_tensor(k_blocks.shape())),
        table(static_cast<std::size_t>(n_blocks)) {
    std::iota(table.begin(), table.end(), 0);
    shuffle(table, rng);
    const std::int64_t size = k.dim(1) * k.dim(2);
    for (std::int64_t pos = 0; pos < k.dim(0); ++pos) {
      const std::int64_t slot =
          table[static_cast<std::size_t>(pos / block_size)] * block_size + pos % block_size;
      std::copy_n(k.data() + pos * size, size, k_blocks.data() + slot * size);
      std::copy_n(v.data() + pos * size, size, v_blocks.data() + slot * size);
    }
  }
  std::int64_t n_blocks;
  Tensor<float> k_blocks, v_blocks;
  std::vector<int> table;
};

TEST(GatheredPagedAttention, MatchesTheReference) {
  Rng rng = make_rng(600);
  for (const int context_len : {1, 4, 31, 32, 33, 1000}) {
    for (const int q_len : {1, 3, 31}) {
      if (q_len > context_len) continue;
      const Tensor<float> q = random_tensor({q_len, 6, 10}, rng);
      const Tensor<float> k = random_tensor({context_len, 2, 10}, rng);
      const Tensor<float> v = random_tensor({context_len, 2, 10}, rng);
      Tensor<float> expected(q.shape());
      reference_attention(q, k, v, expected);
      for (const int block_size : {1, 4, 33}) {
        const PagedArrays blocks(k, v, block_size, rng);
        Tensor<float> out = nan_tensor(q.shape());
        gathered_paged_attention(q, blocks.k_blocks, blocks.v_blocks, blocks.table, context_len, out);
        // A weighted mean of N(0,1) values in float: up to 1000 additions of rounding 2^-24 each to a sum and
        // to its divisor, and scores of size 3 whose rounding the exponential passes on. Random signs.
        EXPECT_TRUE(matches(out, expected, {.absolute = 1e-5, .relative = 0}))
            << q_len << " queries of " << context_len << ", blocks of " << block_size;
      }
    }
  }
}

TEST(GatheredPagedAttention, EveryQueryHasTheSameBitsWhateverQLenIs) {
  Rng rng = make_rng(610);
  for (const int n : {5, 33, 200}) {
    const Tensor<float> q = random_tensor({n, 6, 10}, rng);
    const Tensor<float> k = random_tensor({n, 2, 10}, rng);
    const Tensor<float> v = random_tensor({n, 2, 10}, rng);
    const PagedArrays blocks(k, v, 4, rng);
    Tensor<float> all = nan_tensor(q.shape());
    gathered_paged_attention(q, blocks.k_blocks, blocks.v_blocks, blocks.table, n, all);
    const PagedArrays other_blocks(k, v, 7, rng);
    for (int i = 0; i < n; ++i) {
      Tensor<float> one = nan_tensor({1, 6, 10});
      gathered_paged_attention({q.row(i, 0).data(), {1, 6, 10}}, other_blocks.k_blocks, other_blocks.v_blocks,
                               other_blocks.table, i + 1, one);
      ASSERT_EQ(std::memcmp(one.data(), all.row(i, 0).data(), one.span().size_bytes()), 0)
          << "query " << i << " of " << n;
    }
  }
}

TEST(GatheredPagedAttention, RejectsShapesThatDoNotFit) {
  const Tensor<float> q({2, 4, 8});
  const Tensor<float> blocks({3, 4, 2, 8});
  Tensor<float> out({2, 4, 8});
  const std::vector<int> table = {0, 2};
  const auto run = [&](const Tensor<float>& query, const Tensor<float>& k, std::span<const int> of,
                       int context_len) {
    return [&, of, context_len] { gathered_paged_attention(query, k, blocks, of, context_len, out); };
  };
  EXPECT_TRUE(throws_error(run(Tensor<float>({2, 3, 8}), blocks, table, 8), "q [2, 3, 8]"));
  EXPECT_TRUE(throws_error(run(q, Tensor<float>({3, 4, 1, 8}), table, 8), "k_blocks [3, 4, 1, 8]"));
  EXPECT_TRUE(throws_error(run(q, blocks, table, 1), "2 queries, but context_len is 1"));
  EXPECT_TRUE(throws_error(run(q, blocks, table, 9), "2 blocks for 9 positions, 3 are needed"));
  const std::vector<int> wrong = {0, 3};
  EXPECT_TRUE(throws_error(run(q, blocks, wrong, 8), "block 3 is not in [0, 3)"));
}

}  // namespace
}  // namespace kit::testing
