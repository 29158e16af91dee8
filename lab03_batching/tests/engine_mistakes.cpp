#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <set>

#include "engine_run.h"
#include "kit/sampling.h"

// What the known mistakes of an engine look like from outside.

namespace lab03_tests {

namespace {

using Tokens = std::vector<int>;

/// Tokens [first, first + n) of a request; fewer when there are not so many.
Tokens piece(const Tokens& tokens, int first, int n) {
  const int size = static_cast<int>(tokens.size());
  const int begin = std::clamp(first, 0, size);
  const int end = std::clamp(first + n, begin, size);
  return {tokens.begin() + begin, tokens.begin() + end};
}

/// The sequence of the batch that is in the chunk's blocks; null without one.
const kit::StepSequence* in_blocks_of(const kit::ScheduledChunk& chunk,
                                      const std::vector<kit::StepSequence>& batch) {
  for (const kit::StepSequence& s : batch)
    if (!s.block_table.empty() && s.block_table.front() == chunk.block_table.front()) return &s;
  return nullptr;
}

/// The chunk's tokens were run, but in other blocks.
std::string wrong_blocks(const kit::ScheduledChunk& chunk, const kit::StepSequence& s,
                         const kit::Schedule& schedule, bool was_preempted) {
  for (const kit::ScheduledChunk& other : schedule.chunks) {
    if (other.request != chunk.request && other.block_table.front() == s.block_table.front())
      return fmt::format("request {} ran with the block table of request {}: their caches are mixed",
                         chunk.request, other.request);
  }
  return fmt::format("request {} ran with block table {} instead of {}{}: caches of two requests are mixed",
                     chunk.request, s.block_table, chunk.block_table,
                     was_preempted ? " (it was preempted, and its old blocks are somebody else's now)" : "");
}

/// The chunk's blocks were used, but for other tokens or positions.
std::string wrong_tokens(const kit::ScheduledChunk& chunk, const kit::StepSequence& s,
                         const KnownTokens& known, bool was_preempted) {
  const auto n = static_cast<int>(s.tokens.size());
  const Tokens wanted = piece(known.tokens, chunk.first_pos, chunk.n_tokens);
  if (n < chunk.n_tokens && s.tokens == piece(wanted, chunk.n_tokens - n, n))
    return fmt::format("of request {}'s chunk of {} tokens only the last {} were run: {} skipped",
                       chunk.request, chunk.n_tokens, n,
                       chunk.first_pos < known.prompt_len ? "its prefill was" : "some were");
  if (s.tokens == wanted)
    return fmt::format("request {}'s tokens were run at position {} instead of {}{}", chunk.request,
                       s.first_pos, chunk.first_pos,
                       std::abs(s.first_pos - chunk.first_pos) == 1 ? ": positions are off by one" : "");
  for (const int shift : {-1, 1}) {
    if (s.tokens == piece(known.tokens, chunk.first_pos + shift, chunk.n_tokens))
      return fmt::format("request {} was given the tokens from position {} on instead of {}: off by one",
                         chunk.request, chunk.first_pos + shift, chunk.first_pos);
  }
  if (was_preempted && chunk.first_pos + chunk.n_tokens > known.prompt_len)
    return fmt::format(
        "request {} was preempted, and then given {} at position {} instead of {}: the tokens that it "
        "had written were lost",
        chunk.request, s.tokens, chunk.first_pos, wanted);
  return fmt::format(
      "request {} was given tokens {} at position {} instead of {}: was its new token appended?",
      chunk.request, s.tokens, chunk.first_pos, wanted);
}

/// Which row of the logits, with which generator, a wrong engine takes for event number `event` of a step.
struct Choice {
  std::size_t row = 0;
  kit::Rng* rng = nullptr;
  float temperature = 0.0F;
};

/// What a wrong way to sample remembers while a run is replayed.
struct Replay {
  const std::vector<kit::GenerationRequest>* submitted;
  std::map<int, kit::Rng> own;  // of each request
  kit::Rng shared{0};
};

const kit::GenerationRequest& request_of(const Replay& replay, int id) {
  for (auto it = replay.submitted->rbegin(); it != replay.submitted->rend(); ++it)
    if (it->id == id) return *it;
  throw kit::Error(fmt::format("request {} was never submitted", id));
}

struct SamplingMistake {
  std::string cause;
  /// Before the tokens of a step are chosen.
  std::function<void(Replay& replay, const SeenStep& step)> begin_step = [](Replay&, const SeenStep&) {};
  /// `right` is what a right engine takes for chunk number `index`, the `nth` that samples.
  std::function<Choice(Replay& replay, const SeenStep& step, std::size_t index, std::size_t nth,
                       Choice right)>
      choose;
};

Choice as_it_should(Replay& /*replay*/, const SeenStep& /*step*/, std::size_t /*index*/, std::size_t /*nth*/,
                    Choice right) {
  return right;
}

/// Long because there are many: a few lines each.
std::vector<SamplingMistake> sampling_mistakes(const std::vector<kit::GenerationRequest>& submitted) {
  std::vector<SamplingMistake> all;
  const auto plain = [&](std::string cause, auto choose) {
    SamplingMistake mistake;
    mistake.cause = std::move(cause);
    mistake.choose = choose;
    all.push_back(std::move(mistake));
  };
  plain("rows of the logits are counted by the chunks that sample, but every chunk has a row",
        [](Replay&, const SeenStep&, std::size_t, std::size_t nth, Choice right) {
          right.row = nth;
          return right;
        });
  plain("every token is chosen from the first row of the logits",
        [](Replay&, const SeenStep&, std::size_t, std::size_t, Choice right) {
          right.row = 0;
          return right;
        });
  plain("every token is chosen from the last row of the logits",
        [](Replay&, const SeenStep& step, std::size_t, std::size_t, Choice right) {
          right.row = step.batch.size() - 1;
          return right;
        });
  plain("the temperature is not used: the choice is greedy",
        [](Replay&, const SeenStep&, std::size_t, std::size_t, Choice right) {
          right.temperature = 0.0F;
          return right;
        });
  plain("each token starts a new generator from the request's seed",
        [](Replay& replay, const SeenStep& step, std::size_t index, std::size_t, Choice right) {
          const int id = step.schedule.chunks[index].request;
          replay.own.at(id) = kit::Rng(request_of(replay, id).seed);
          return right;
        });
  SamplingMistake reset;
  reset.cause = "a preempted request's generator starts again from its seed: its tokens are chosen again";
  reset.begin_step = [](Replay& replay, const SeenStep& step) {
    for (const int id : step.schedule.preempted) replay.own.at(id) = kit::Rng(request_of(replay, id).seed);
  };
  reset.choose = as_it_should;
  all.push_back(reset);
  SamplingMistake extra;
  extra.cause = "a chunk that does not sample uses up a random number of its request";
  extra.begin_step = [](Replay& replay, const SeenStep& step) {
    for (const kit::ScheduledChunk& chunk : step.schedule.chunks)
      if (!chunk.samples && request_of(replay, chunk.request).temperature > 0.0F)
        replay.own.at(chunk.request).uniform();
  };
  extra.choose = as_it_should;
  all.push_back(extra);
  std::set<std::uint64_t> seeds = {0, 1};
  for (const kit::GenerationRequest& request : submitted) seeds.insert(request.seed);
  for (const std::uint64_t seed : seeds) {
    plain("one generator serves all requests; each must have its own",
          [seed, begun = false](Replay& replay, const SeenStep&, std::size_t, std::size_t,
                                Choice right) mutable {
            if (!std::exchange(begun, true)) replay.shared = kit::Rng(seed);
            right.rng = &replay.shared;
            return right;
          });
  }
  return all;
}

/// Whether the mistake explains every token of the run.
bool explains(SamplingMistake& mistake, const std::vector<SeenStep>& seen,
              const std::vector<kit::GenerationRequest>& submitted) {
  Replay replay{.submitted = &submitted, .own = {}};
  for (const kit::GenerationRequest& request : submitted)
    replay.own.insert_or_assign(request.id, kit::Rng(request.seed));
  for (const SeenStep& step : seen) {
    mistake.begin_step(replay, step);
    std::size_t nth = 0;
    for (std::size_t i = 0; i < step.schedule.chunks.size() && nth < step.events.size(); ++i) {
      const kit::ScheduledChunk& chunk = step.schedule.chunks[i];
      if (!chunk.samples) continue;
      const kit::StepSequence* s = in_blocks_of(chunk, step.batch);
      if (s == nullptr) return false;
      const Choice right{.row = static_cast<std::size_t>(s - step.batch.data()),
                         .rng = &replay.own.at(chunk.request),
                         .temperature = request_of(replay, chunk.request).temperature};
      const Choice choice = mistake.choose(replay, step, i, nth, right);
      if (kit::sample(step.logits.row(choice.row), choice.temperature, *choice.rng) != step.events[nth].token)
        return false;
      ++nth;
    }
  }
  return true;
}

}  // namespace

std::string batch_mistake(const std::vector<SeenStep>& seen, const std::map<int, KnownTokens>& known) {
  std::set<int> preempted;
  for (const SeenStep& step : seen) {
    preempted.insert(step.schedule.preempted.begin(), step.schedule.preempted.end());
    if (step.batch.empty()) continue;  // see SeenStep
    for (const kit::ScheduledChunk& chunk : step.schedule.chunks) {
      const KnownTokens& k = known.at(chunk.request);
      const Tokens wanted = piece(k.tokens, chunk.first_pos, chunk.n_tokens);
      const bool was_preempted = preempted.contains(chunk.request);
      const kit::StepSequence* elsewhere = nullptr;
      bool found = false;
      for (const kit::StepSequence& s : step.batch) {
        if (s.tokens != wanted || s.first_pos != chunk.first_pos) continue;
        if (s.block_table == chunk.block_table) found = true;
        elsewhere = &s;
      }
      if (found) continue;
      if (elsewhere != nullptr) return wrong_blocks(chunk, *elsewhere, step.schedule, was_preempted);
      const kit::StepSequence* there = in_blocks_of(chunk, step.batch);
      if (there != nullptr) return wrong_tokens(chunk, *there, k, was_preempted);
      return fmt::format("request {}'s chunk was not run at all", chunk.request);
    }
  }
  return "";
}

std::string sampling_mistake(const std::vector<SeenStep>& seen,
                             const std::vector<kit::GenerationRequest>& submitted) {
  SamplingMistake none;
  none.choose = as_it_should;
  if (explains(none, seen, submitted)) return "";
  for (SamplingMistake& mistake : sampling_mistakes(submitted))
    if (explains(mistake, seen, submitted)) return mistake.cause;
  return "";
}

}  // namespace lab03_tests
