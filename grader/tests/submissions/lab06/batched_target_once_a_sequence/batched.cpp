#include "lab06/batched.h"

#include <algorithm>
#include <cstddef>
#include <list>
#include <utility>

#include "kit/check.h"
#include "lab06/acceptance.h"

namespace lab06 {

namespace {

struct Blocks {
  kit::BlockAllocator* allocator;
  int block_size;
};

/// What one model's cache holds of a sequence, and in which blocks. Gives them back when it goes.
class CachedTokens {
 public:
  explicit CachedTokens(const Blocks& blocks) : blocks_(blocks) {}
  ~CachedTokens() { truncate(0); }
  CachedTokens(const CachedTokens&) = delete;
  CachedTokens& operator=(const CachedTokens&) = delete;

  /// A step that runs those of `tokens` that are not here yet, with blocks for them.
  kit::StepSequence extend(const std::vector<int>& tokens) {
    const int missing = n_blocks(tokens.size()) - static_cast<int>(block_table_.size());
    const std::vector<int> more = blocks_.allocator->allocate(missing);
    block_table_.insert(block_table_.end(), more.begin(), more.end());
    const std::size_t first_pos = std::exchange(length_, tokens.size());
    return {.tokens = {tokens.begin() + static_cast<std::ptrdiff_t>(first_pos), tokens.end()},
            .first_pos = static_cast<int>(first_pos),
            .block_table = block_table_};
  }

  /// Forgets what is behind the first `length` tokens. It may hold fewer: then nothing happens.
  void truncate(std::size_t length) {
    length_ = std::min(length_, length);
    while (static_cast<int>(block_table_.size()) > n_blocks(length_)) {
      blocks_.allocator->release(block_table_.back());
      block_table_.pop_back();
    }
  }

 private:
  int n_blocks(std::size_t n_tokens) const {
    return (static_cast<int>(n_tokens) + blocks_.block_size - 1) / blocks_.block_size;
  }

  Blocks blocks_;
  std::vector<int> block_table_;
  std::size_t length_ = 0;
};

struct Sequence {
  Sequence(const BatchedRequest& request, BatchedResult& to, const Blocks& in_target, const Blocks& in_draft)
      : tokens(request.prompt),
        end(request.prompt.size() + static_cast<std::size_t>(request.max_new_tokens)),
        rng(request.seed),
        target(in_target),
        draft(in_draft),
        result(&to) {}

  std::size_t n_drafted() const { return tokens.size() - n_context; }
  /// Greedy distributions are one-hot: every u in [0, 1) decides alike, and none is drawn.
  double uniform(const SamplingRule& rule) { return rule.temperature == 0.0 ? 0.0 : rng.uniform(); }

  std::vector<int> tokens;  // the prompt and what was written; during a round the draft tokens, too
  std::size_t end;          // tokens there will be at most
  kit::Rng rng;
  CachedTokens target;
  CachedTokens draft;
  BatchedResult* result;
  std::size_t n_context = 0;             // tokens without this round's draft tokens
  std::vector<std::vector<double>> q{};  // [n_drafted, vocab_size]
};

void check(const kit::StepExecutor& target, const kit::StepExecutor& draft,
           const std::vector<BatchedRequest>& requests, const BatchedConfig& config) {
  KIT_CHECK(target.config().vocab_size == draft.config().vocab_size,
            "the target has {} tokens, the draft model {}: not the same vocabulary",
            target.config().vocab_size, draft.config().vocab_size);
  KIT_CHECK(config.gamma >= 0, "gamma is {}, must not be negative", config.gamma);
  const int max_seq_len = std::min(target.config().max_seq_len, draft.config().max_seq_len);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const BatchedRequest& r = requests[i];
    KIT_CHECK(!r.prompt.empty(), "request {} has no prompt", i);
    KIT_CHECK(r.max_new_tokens >= 1, "request {} wants {} new tokens", i, r.max_new_tokens);
    // The last new token is never fed back.
    const std::int64_t n_positions = static_cast<std::int64_t>(r.prompt.size()) + r.max_new_tokens - 1;
    KIT_CHECK(n_positions <= max_seq_len, "request {} may need {} positions, the models have {}", i,
              n_positions, max_seq_len);
  }
}

/// Appends draft tokens to every sequence: one run a step for all that still draft.
void propose(std::list<Sequence>& running, kit::StepExecutor& draft, const BatchedConfig& config,
             const kit::ModelConfig& target) {
  for (Sequence& s : running) {
    s.n_context = s.tokens.size();
    s.q.clear();
  }
  for (;;) {
    std::vector<Sequence*> drafting;
    std::vector<kit::StepSequence> batch;
    for (Sequence& s : running) {
      const std::size_t room = std::min(static_cast<std::size_t>(config.gamma), s.end - s.n_context - 1);
      if (s.n_drafted() == room || (s.n_drafted() > 0 && target.is_eos(s.tokens.back()))) continue;
      drafting.push_back(&s);
      batch.push_back(s.draft.extend(s.tokens));
    }
    if (batch.empty()) return;
    const kit::Tensor<float> logits = draft.run(batch);
    for (std::size_t i = 0; i < drafting.size(); ++i) {
      Sequence& s = *drafting[i];
      s.q.push_back(to_distribution(logits.row(i), config.rule));
      s.tokens.push_back(sample(s.q.back(), s.uniform(config.rule)));
    }
  }
}

kit::Tensor<double> stacked(const std::vector<std::vector<double>>& rows, int vocab_size) {
  kit::Tensor<double> all({std::ssize(rows), vocab_size});
  for (std::size_t i = 0; i < rows.size(); ++i) std::ranges::copy(rows[i], all.row(i).begin());
  return all;
}

/// Replaces the draft tokens by those that are kept, and the one that follows. logits: row first_row + i is
/// what the target says after i draft tokens. Says whether the sequence has ended.
bool settle(Sequence& s, const kit::Tensor<float>& logits, std::size_t first_row, const SamplingRule& rule,
            const kit::ModelConfig& model) {
  const std::size_t n_drafted = s.n_drafted();
  std::vector<std::vector<double>> p;
  std::vector<double> uniforms;
  for (std::size_t i = 0; i <= n_drafted; ++i) {
    p.push_back(to_distribution(logits.row(first_row + i), rule));
    uniforms.push_back(s.uniform(rule));
  }
  const auto [n_accepted, token] = accept_draft(stacked(p, model.vocab_size), stacked(s.q, model.vocab_size),
                                                std::span(s.tokens).last(n_drafted), uniforms);
  s.tokens.resize(s.n_context + static_cast<std::size_t>(n_accepted));
  if (n_accepted == 0 || !model.is_eos(s.tokens.back())) s.tokens.push_back(token);
  s.target.truncate(s.tokens.size() - 1);
  s.draft.truncate(s.tokens.size() - 1);
  s.result->tokens.insert(s.result->tokens.end(), s.tokens.begin() + static_cast<std::ptrdiff_t>(s.n_context),
                          s.tokens.end());
  s.result->n_rounds += 1;
  s.result->n_drafted += static_cast<int>(n_drafted);
  s.result->n_accepted += n_accepted;
  return model.is_eos(s.tokens.back()) || s.tokens.size() == s.end;
}

/// One run of the target for all sequences; those that end leave the batch.
void verify(std::list<Sequence>& running, kit::StepExecutor& target, const SamplingRule& rule) {
  std::vector<kit::StepSequence> batch;
  for (Sequence& s : running) batch.push_back(s.target.extend(s.tokens));
  std::int64_t n_rows = 0;
  for (const kit::StepSequence& part : batch) n_rows += std::ssize(part.tokens);
  kit::Tensor<float> logits({n_rows, target.config().vocab_size});
  float* to = logits.data();
  for (const kit::StepSequence& part : batch) {
    const kit::Tensor<float> rows = target.run({part}, kit::Logits::kAll);
    to = std::ranges::copy(rows.span(), to).out;
  }
  std::size_t end_row = 0;
  auto part = batch.begin();
  for (auto s = running.begin(); s != running.end();) {
    end_row += part++->tokens.size();
    const bool is_over = settle(*s, logits, end_row - s->n_drafted() - 1, rule, target.config());
    s = is_over ? running.erase(s) : std::next(s);
  }
}

}  // namespace

std::vector<BatchedResult> batched_speculation(kit::StepExecutor& target, kit::BlockAllocator& target_blocks,
                                               kit::StepExecutor& draft, kit::BlockAllocator& draft_blocks,
                                               const std::vector<BatchedRequest>& requests,
                                               const BatchedConfig& config) {
  check(target, draft, requests, config);
  std::vector<BatchedResult> results(requests.size());
  const Blocks in_target = {&target_blocks, target.kv_config().block_size};
  const Blocks in_draft = {&draft_blocks, draft.kv_config().block_size};
  std::list<Sequence> running;  // a list: those that end leave from the middle
  for (std::size_t i = 0; i < requests.size(); ++i)
    running.emplace_back(requests[i], results[i], in_target, in_draft);
  while (!running.empty()) {
    propose(running, draft, config, target.config());
    verify(running, target, config.rule);
  }
  return results;
}

}  // namespace lab06
