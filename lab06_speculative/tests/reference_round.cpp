#include "reference_round.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "speculation_reference.h"

namespace lab06_tests {

namespace {

using lab06::RoundResult;
using lab06::SamplingRule;

std::string_view cause_of(RoundMistake mistake) {
  switch (mistake) {
    case RoundMistake::kNone:
      return "the right round";
    case RoundMistake::kCorrectionFirst:
      return "a correction (or bonus token) that stands before the accepted prefix: it follows it";
    case RoundMistake::kNoBonus:
      return "a round without the bonus token: when all draft tokens are accepted, the target's last row "
             "gives one more";
    case RoundMistake::kBonusFromDraft:
      return "a bonus token from the draft: it is sampled from the target's last row";
    case RoundMistake::kBonusCounted:
      return "n_accepted with the correction or bonus token counted: only draft tokens are accepted";
    case RoundMistake::kRuleOnTargetOnly:
      return "the rule (temperature, top-k, top-p) on p only: a draft that follows another rule is exact "
             "still, but more of it is rejected";
    case RoundMistake::kFirstRows:
      return "p from the first rows of the target's logits: the last n_drafted + 1 rows are meant";
    case RoundMistake::kEndOfTextIgnored:
      return "a draft that goes on behind its end-of-text token: nothing may follow it";
    case RoundMistake::kDraftBehind:
      return "a draft that was given only the newest token: it must catch up with all that its cache lacks";
    case RoundMistake::kResidualIsTarget:
      return "a correction from p: it is sampled from norm(max(0, p - q))";
    case RoundMistake::kOneUniform:
      return "one random number for all acceptance tests and the sample: each has its own";
  }
  return "";
}

constexpr RoundMistake kMistakes[] = {RoundMistake::kCorrectionFirst,  RoundMistake::kNoBonus,
                                      RoundMistake::kBonusFromDraft,   RoundMistake::kBonusCounted,
                                      RoundMistake::kRuleOnTargetOnly, RoundMistake::kFirstRows,
                                      RoundMistake::kEndOfTextIgnored, RoundMistake::kDraftBehind,
                                      RoundMistake::kResidualIsTarget, RoundMistake::kOneUniform};

std::string describe(const RoundResult& round) {
  return fmt::format("tokens {}, n_drafted {}, n_accepted {}", to_text(round.tokens), round.n_drafted,
                     round.n_accepted);
}

/// The draft's part: draft tokens, and the distribution of each; one more distribution at the end.
struct Drafted {
  std::vector<int> tokens;
  std::vector<std::vector<double>> q;
};

template <class Uniform>
Drafted draft_tokens(const TableModel& target, const TableModel& draft, const RoundCase& round,
                     RoundMistake mistake, const Uniform& uniform) {
  std::vector<int> text(round.context.begin(), round.context.end());
  if (mistake == RoundMistake::kDraftBehind && round.draft_lacks > 1) {
    text.erase(text.end() - round.draft_lacks, text.end() - 1);
  }
  const SamplingRule rule = mistake == RoundMistake::kRuleOnTargetOnly ? SamplingRule{} : round.rule;
  Drafted drafted;
  while (true) {
    drafted.q.push_back(reference_distribution(draft.logits_after(text), rule));
    const bool ended = !drafted.tokens.empty() && target.config().is_eos(drafted.tokens.back()) &&
                       mistake != RoundMistake::kEndOfTextIgnored;
    if (ended || std::ssize(drafted.tokens) == round.gamma) return drafted;
    drafted.tokens.push_back(reference_sample(drafted.q.back(), uniform()));
    text.push_back(drafted.tokens.back());
  }
}

}  // namespace

std::string to_text(std::span<const int> tokens) {
  return fmt::format("[{}]", fmt::join(tokens, ", "));
}

RoundResult reference_round(const TableModel& target, const TableModel& draft, const RoundCase& round,
                            kit::Rng& rng, RoundMistake mistake) {
  const auto uniform = [&] { return round.rule.temperature == 0 ? 0.0 : rng.uniform(); };
  const Drafted drafted = draft_tokens(target, draft, round, mistake, uniform);
  const std::size_t n = drafted.tokens.size();
  std::vector<double> uniforms;
  for (std::size_t i = 0; i <= n; ++i) {
    uniforms.push_back(mistake == RoundMistake::kOneUniform && i > 0 ? uniforms[0] : uniform());
  }
  std::vector<int> text(round.context.begin(), round.context.end());
  const auto p_after = [&](std::size_t n_tokens) {
    std::vector<int> seen = text;
    seen.insert(seen.end(), drafted.tokens.begin(),
                drafted.tokens.begin() + static_cast<std::ptrdiff_t>(n_tokens));
    if (mistake == RoundMistake::kFirstRows) {
      seen.resize(seen.size() - static_cast<std::size_t>(round.target_lacks - 1));
    }
    return reference_distribution(target.logits_after(seen), round.rule);
  };
  std::size_t n_accepted = 0;
  for (; n_accepted < n; ++n_accepted) {
    const auto token = static_cast<std::size_t>(drafted.tokens[n_accepted]);
    const std::vector<double> p = p_after(n_accepted);
    if (!(uniforms[n_accepted] < std::min(1.0, p[token] / drafted.q[n_accepted][token]))) break;
  }
  RoundResult result{{}, static_cast<int>(n), static_cast<int>(n_accepted)};
  result.tokens.assign(drafted.tokens.begin(),
                       drafted.tokens.begin() + static_cast<std::ptrdiff_t>(n_accepted));
  const bool ended = n_accepted > 0 && target.config().is_eos(result.tokens.back());
  if (ended && mistake != RoundMistake::kEndOfTextIgnored) return result;
  std::vector<double> last = p_after(n_accepted);
  if (n_accepted < n && mistake != RoundMistake::kResidualIsTarget)
    last = reference_residual(last, drafted.q[n_accepted]);
  if (n_accepted == n && n > 0 && mistake == RoundMistake::kNoBonus) return result;
  if (n_accepted == n && mistake == RoundMistake::kBonusFromDraft) last = drafted.q[n];
  const int token = reference_sample(last, uniforms[n]);
  result.tokens.insert(
      mistake == RoundMistake::kCorrectionFirst ? result.tokens.begin() : result.tokens.end(), token);
  if (mistake == RoundMistake::kBonusCounted) ++result.n_accepted;
  return result;
}

testing::AssertionResult is_reference_round(const RoundResult& got, const kit::Rng& rng_after,
                                            const TableModel& target, const TableModel& draft,
                                            const RoundCase& round, const kit::Rng& rng) {
  kit::Rng expected_rng = rng;
  const RoundResult expected = reference_round(target, draft, round, expected_rng);
  if (got == expected && rng_after == expected_rng) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure()
                 << fmt::format("context {}, gamma {}, temperature {}, top_k {}, top_p {}: {}; expected {}.",
                                to_text(round.context), round.gamma, round.rule.temperature, round.rule.top_k,
                                round.rule.top_p, describe(got), describe(expected));
  for (const RoundMistake mistake : kMistakes) {
    kit::Rng wrong_rng = rng;
    const RoundResult wrong = reference_round(target, draft, round, wrong_rng, mistake);
    if (wrong == got && wrong != expected) {
      return failure << fmt::format("\nLikely cause: the result matches {}.", cause_of(mistake));
    }
  }
  if (got == expected) {
    failure << " The tokens are right, but another number of random numbers was drawn: one for each draft "
               "token, then n_drafted + 1 (none at temperature 0).";
  }
  return failure;
}

lab06::SpeculativeResult reference_generate(const TableModel& target, const TableModel& draft,
                                            std::span<const int> prompt,
                                            const lab06::SpeculativeConfig& config, kit::Rng& rng) {
  lab06::SpeculativeResult result;
  std::vector<int> text(prompt.begin(), prompt.end());
  while (std::ssize(result.tokens) < config.max_new_tokens) {
    const int missing = config.max_new_tokens - static_cast<int>(result.tokens.size());
    const RoundResult round = reference_round(
        target, draft, {.context = text, .gamma = std::min(config.gamma, missing - 1), .rule = config.rule},
        rng);
    result.tokens.insert(result.tokens.end(), round.tokens.begin(), round.tokens.end());
    text.insert(text.end(), round.tokens.begin(), round.tokens.end());
    ++result.n_rounds;
    result.n_drafted += round.n_drafted;
    result.n_accepted += round.n_accepted;
    result.n_tested += round.n_accepted + (round.n_accepted < round.n_drafted ? 1 : 0);
    if (target.config().is_eos(text.back())) break;
  }
  return result;
}

}  // namespace lab06_tests

namespace lab06 {

// NOLINTNEXTLINE(readability-identifier-naming)
void PrintTo(const RoundResult& round, std::ostream* out) {
  *out << fmt::format("tokens {}, {} drafted, {} accepted", round.tokens, round.n_drafted, round.n_accepted);
}

}  // namespace lab06
