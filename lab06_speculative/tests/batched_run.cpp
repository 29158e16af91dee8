#include "batched_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "kit/reference.h"
#include "kit/rng.h"
#include "speculation_reference.h"

namespace lab06_tests {

namespace {

/// A sequence that is written alone.
struct Alone {
  int request = 0;
  std::vector<int> tokens;
  std::size_t end = 0;
  kit::Rng rng;
  std::unique_ptr<kit::KvCache> target_cache;
  std::unique_ptr<kit::KvCache> draft_cache;
  std::size_t n_context = 0;
  std::vector<std::vector<double>> q{};
  kit::Tensor<float> logits{};  // of the target's last run
  bool is_over = false;

  std::size_t n_drafted() const { return tokens.size() - n_context; }
};

kit::Tensor<double> stacked(const std::vector<std::vector<double>>& rows, int vocab_size) {
  kit::Tensor<double> all({std::ssize(rows), vocab_size});
  for (std::size_t i = 0; i < rows.size(); ++i) std::ranges::copy(rows[i], all.row(i).begin());
  return all;
}

/// Lockstep, so that mistakes which mix sequences can be made, too.
class Simulation {
 public:
  Simulation(const TinyLlama& target, const TinyLlama& draft,
             const std::vector<lab06::BatchedRequest>& requests, const lab06::BatchedConfig& config,
             BatchMistake what)
      : target_(target.model()), draft_(draft.model()), config_(config), what_(what), shared_(0) {
    if (what == BatchMistake::kGreedy) config_.rule.temperature = 0.0;
    if (!requests.empty()) shared_ = kit::Rng(requests[0].seed);
    for (const lab06::BatchedRequest& r : requests) {
      const auto cache = [&](const kit::ModelConfig& c) {
        return kit::make_reference_kv_cache(c.kv_cache_config(c.max_seq_len));
      };
      sequences_.push_back({.request = static_cast<int>(sequences_.size()),
                            .tokens = r.prompt,
                            .end = r.prompt.size() + static_cast<std::size_t>(r.max_new_tokens),
                            .rng = kit::Rng(r.seed),
                            .target_cache = cache(target.config),
                            .draft_cache = cache(draft.config)});
    }
    batch_.results.resize(requests.size());
  }

  ExpectedBatch run() {
    for (;;) {
      std::vector<Alone*> live;
      for (Alone& s : sequences_)
        if (!s.is_over) live.push_back(&s);
      if (live.empty()) return std::move(batch_);
      propose(live);
      verify(live);
    }
  }

 private:
  double uniform(Alone& s) {
    if (config_.rule.temperature == 0.0) return 0.0;
    return what_ == BatchMistake::kOneGenerator ? shared_.uniform() : s.rng.uniform();
  }
  bool is_eos(int token) const {
    return what_ != BatchMistake::kGoesOnBehindTheEnd && target_->config().is_eos(token);
  }

  static kit::Tensor<float> forward(kit::Model& model, kit::KvCache& cache, const Alone& s, kit::Logits which,
                                    ExpectedRun& run) {
    const int first_pos = cache.length(0);
    std::vector<int> tokens(s.tokens.begin() + first_pos, s.tokens.end());
    kit::Tensor<float> logits = model.forward(tokens, cache, which);
    run.parts.push_back({s.request, std::move(tokens), first_pos});
    return logits;
  }

  void propose(const std::vector<Alone*>& live) {
    for (Alone* s : live) {
      s->n_context = s->tokens.size();
      s->q.clear();
    }
    for (;;) {
      ExpectedRun run;
      for (Alone* s : live) {
        const std::size_t room = std::min(static_cast<std::size_t>(config_.gamma), s->end - s->n_context - 1);
        if (s->n_drafted() == room || (s->n_drafted() > 0 && is_eos(s->tokens.back()))) continue;
        const kit::Tensor<float> logits = forward(*draft_, *s->draft_cache, *s, kit::Logits::kLast, run);
        lab06::SamplingRule rule = config_.rule;
        if (what_ == BatchMistake::kRuleForTargetOnly) rule = {};
        s->q.push_back(reference_distribution(logits.span(), rule));
        s->tokens.push_back(reference_sample(s->q.back(), uniform(*s)));
      }
      if (run.parts.empty()) return;
      for (const Alone* s : live) run.held.push_back(s->draft_cache->length(0));
      batch_.draft_runs.push_back(std::move(run));
    }
  }

  void verify(const std::vector<Alone*>& live) {
    ExpectedRun run;
    for (Alone* s : live) {
      s->logits = forward(*target_, *s->target_cache, *s, kit::Logits::kAll, run);
      run.held.push_back(s->target_cache->length(0));
    }
    batch_.target_runs.push_back(std::move(run));
    std::vector<lab06::AcceptedTokens> accepted;
    for (Alone* s : live) accepted.push_back(accept(*s));
    int shortest = config_.gamma;
    for (const lab06::AcceptedTokens& a : accepted) shortest = std::min(shortest, a.n_accepted);
    for (std::size_t i = 0; i < live.size(); ++i) {
      lab06::AcceptedTokens& a = accepted[i];
      if (what_ == BatchMistake::kShortestAcceptance && a.n_accepted > shortest) {
        a = {shortest, live[i]->tokens[live[i]->n_context + static_cast<std::size_t>(shortest)]};
      }
      settle(*live[i], a);
    }
  }

  lab06::AcceptedTokens accept(Alone& s) {
    std::vector<std::vector<double>> p;
    std::vector<double> uniforms;
    const auto n_drafted = static_cast<std::int64_t>(s.n_drafted());
    for (std::int64_t i = 0; i <= n_drafted; ++i) {
      p.push_back(reference_distribution(s.logits.row(s.logits.dim(0) - n_drafted - 1 + i), config_.rule));
      uniforms.push_back(uniform(s));
    }
    const int vocab_size = target_->config().vocab_size;
    return reference_accept(stacked(p, vocab_size), stacked(s.q, vocab_size),
                            std::span(s.tokens).last(s.n_drafted()), uniforms);
  }

  void settle(Alone& s, const lab06::AcceptedTokens& accepted) {
    lab06::BatchedResult& result = batch_.results[static_cast<std::size_t>(s.request)];
    result.n_rounds += 1;
    result.n_drafted += static_cast<int>(s.n_drafted());
    result.n_accepted += accepted.n_accepted;
    s.tokens.resize(s.n_context + static_cast<std::size_t>(accepted.n_accepted));
    if (accepted.n_accepted == 0 || !is_eos(s.tokens.back())) s.tokens.push_back(accepted.token);
    result.tokens.insert(result.tokens.end(), s.tokens.begin() + static_cast<std::ptrdiff_t>(s.n_context),
                         s.tokens.end());
    const int n_kept = static_cast<int>(s.tokens.size()) - 1;
    s.target_cache->truncate(std::min(n_kept, s.target_cache->length(0)));
    s.draft_cache->truncate(std::min(n_kept, s.draft_cache->length(0)));
    s.is_over = is_eos(s.tokens.back()) || s.tokens.size() >= s.end;
  }

  std::unique_ptr<kit::Model> target_;
  std::unique_ptr<kit::Model> draft_;
  lab06::BatchedConfig config_;
  BatchMistake what_;
  kit::Rng shared_;
  std::vector<Alone> sequences_;
  ExpectedBatch batch_;
};

/// What is wrong with the tables of a batch: a free block, or one that two sequences write to.
std::string table_mistake(const std::vector<kit::StepSequence>& batch, int block_size,
                          const kit::BlockAllocator& allocator) {
  std::unordered_map<int, std::size_t> owner;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const kit::StepSequence& s = batch[i];
    const int end = s.first_pos + static_cast<int>(s.tokens.size());
    for (int b = 0; b * block_size < end; ++b) {
      const int block = s.block_table[static_cast<std::size_t>(b)];
      if (allocator.ref_count(block) == 0)
        return fmt::format("block {} of the table of sequence {} is free", block, i);
      const auto [at, is_new] = owner.insert({block, i});
      if (!is_new)
        return fmt::format("block {} is in the tables of sequences {} and {}", block, at->second, i);
    }
  }
  return {};
}

std::string difference(const kit::StepSequence& got, const ExpectedPart& expected, const ExpectedRun& run) {
  if (got.tokens == expected.tokens && got.first_pos == expected.first_pos) return {};
  std::string text = fmt::format("runs {} from position {}, expected {} from position {}", got.tokens,
                                 got.first_pos, expected.tokens, expected.first_pos);
  if (got.tokens != expected.tokens || run.parts.size() < 2) return text;
  for (const ExpectedPart& other : run.parts) {
    if (other.request != expected.request && other.first_pos == got.first_pos)
      return text + fmt::format(". Likely cause: the position matches that of request {}, its neighbour",
                                other.request);
  }
  return text;
}

}  // namespace

int ExpectedRun::n_blocks(int block_size) const {
  int n = 0;
  for (const int positions : held) n += (positions + block_size - 1) / block_size;
  return n;
}

ExpectedBatch expected_batch(const TinyLlama& target, const TinyLlama& draft,
                             const std::vector<lab06::BatchedRequest>& requests,
                             const lab06::BatchedConfig& config, BatchMistake what) {
  return Simulation(target, draft, requests, config, what).run();
}

WatchedModel::WatchedModel(const TinyLlama& llama, int block_size, int n_blocks)
    : inner_(kit::make_llama_executor(
          llama.config, llama.weights,
          {llama.config.n_layers, llama.config.n_kv_heads, llama.config.head_dim, block_size, n_blocks},
          kit::gathered_paged_attention)),
      allocator_(kit::make_reference_block_allocator(n_blocks)) {}

kit::Tensor<float> WatchedModel::run_checked(const std::vector<kit::StepSequence>& batch, kit::Logits which) {
  const int block_size = kv_config().block_size;
  runs_.push_back({batch, n_used_blocks(), table_mistake(batch, block_size, *allocator_)});
  const auto slot = [&](const kit::StepSequence& s, int pos) {
    return s.block_table[static_cast<std::size_t>(pos / block_size)] * block_size + pos % block_size;
  };
  for (std::size_t i = 0; i < batch.size(); ++i) {
    for (int pos = 0; pos < batch[i].first_pos; ++pos)
      KIT_CHECK(
          written_.contains(slot(batch[i], pos)),
          "sequence {} of the batch goes on at position {}, but nothing was ever written to position {}: "
          "the model has to catch up with that token first",
          i, batch[i].first_pos, pos);
  }
  for (const kit::StepSequence& s : batch) {
    for (int i = 0; i < static_cast<int>(s.tokens.size()); ++i) written_.insert(slot(s, s.first_pos + i));
  }
  return inner_->run(batch, which);
}

testing::AssertionResult same_runs(const WatchedModel& got, const std::vector<ExpectedRun>& expected,
                                   const std::string& model) {
  const std::vector<SeenRun>& runs = got.runs();
  auto failure = testing::AssertionFailure();
  const std::size_t n = std::min(runs.size(), expected.size());
  for (std::size_t r = 0; r < n; ++r) {
    const std::vector<kit::StepSequence>& batch = runs[r].batch;
    const std::vector<ExpectedPart>& parts = expected[r].parts;
    failure << fmt::format("run {} of {}: ", r, model);
    if (!runs[r].mistake.empty()) return failure << runs[r].mistake;
    if (batch.size() != parts.size()) {
      failure << fmt::format("{} sequences, expected {}", batch.size(), parts.size());
      if (batch.size() == 1)
        return failure << ". Likely cause: one run for each sequence, instead of one for all of them";
      if (r > 0 && batch.size() > parts.size())
        return failure << ". Likely cause: a sequence that has ended, or needs no draft any more, is still "
                          "in the batch";
      return failure;
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string what = difference(batch[i], parts[i], expected[r]);
      if (!what.empty()) return failure << fmt::format("request {} {}", parts[i].request, what);
    }
    failure = testing::AssertionFailure();
  }
  if (runs.size() == expected.size()) return testing::AssertionSuccess();
  return failure << fmt::format("{} runs of {}, expected {}", runs.size(), model, expected.size());
}

testing::AssertionResult holds_no_more(const WatchedModel& got, const std::vector<ExpectedRun>& expected,
                                       const std::string& model) {
  const int block_size = got.kv_config().block_size;
  for (std::size_t r = 0; r < std::min(expected.size(), got.runs().size()); ++r) {
    const int used = got.runs()[r].n_used_blocks;
    const int needed = expected[r].n_blocks(block_size);
    if (used <= needed) continue;
    return testing::AssertionFailure() << fmt::format(
               "run {} of {}: {} blocks are taken, its sequences need {}. Likely cause: blocks of "
               "rejected tokens, or of sequences that have ended, were not given back",
               r, model, used, needed);
  }
  return testing::AssertionSuccess();
}

}  // namespace lab06_tests
