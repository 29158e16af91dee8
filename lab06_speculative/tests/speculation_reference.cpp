#include "speculation_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lab06_tests {

namespace {

std::vector<double> normalised(std::vector<double> p) {
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

using Real = std::function<double(double)>;  // what a number becomes when it is stored

/// Step 1: weights up to a constant, in the order of the ids.
std::vector<double> weights_of(std::span<const float> logits, double factor, bool subtract_maximum,
                               const Real& stored) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> weights;
  for (const double logit : logits) {
    const double shifted = subtract_maximum ? logit - largest : logit;
    weights.push_back(stored(std::exp(stored(shifted * factor))));
  }
  return weights;
}

/// Step 2: of the tokens of `order`, the first k.
void cut_top_k(std::vector<std::size_t>& order, std::span<const float> logits, int k, bool keep_ties) {
  if (k == 0 || static_cast<std::size_t>(k) >= order.size()) return;
  auto n = static_cast<std::size_t>(k);
  while (keep_ties && n < order.size() && logits[order[n]] == logits[order[n - 1]]) ++n;
  order.resize(n);
}

/// Step 3: the shortest prefix of `order` that reaches top_p of `total`.
void cut_top_p(std::vector<std::size_t>& order, std::span<const double> weights, double top_p, double total,
               DistributionMistake mistake) {
  if (top_p == 1.0) return;
  double sum = 0.0;
  std::size_t n = 0;
  while (n < order.size() && sum < top_p * total) sum += weights[order[n++]];
  if (mistake == DistributionMistake::kWithoutCrossing && n > 1) --n;
  if (mistake == DistributionMistake::kOneTooMany && n < order.size()) ++n;
  order.resize(n);
}

}  // namespace

std::vector<double> reference_distribution(std::span<const float> logits, const lab06::SamplingRule& rule,
                                           DistributionMistake mistake) {
  using enum DistributionMistake;
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (mistake == kTiesToHigherIds) std::ranges::reverse(order);
  std::ranges::stable_sort(order, std::ranges::greater(), [&](std::size_t i) { return logits[i]; });
  std::vector<double> p(logits.size(), 0.0);
  if (rule.temperature == 0.0) {
    p[order[0]] = 1.0;
    return p;
  }
  const Real stored = [&](double x) { return mistake == kInFloat ? static_cast<float>(x) : x; };
  const double factor = mistake == kTimesTemperature ? rule.temperature
                        : mistake == kNoTemperature  ? 1.0
                                                     : 1.0 / rule.temperature;
  const std::vector<double> weights = weights_of(logits, factor, mistake != kNoMaximum, stored);
  const std::vector<double> top_p_weights =
      mistake == kTopPBeforeTemperature ? weights_of(logits, 1.0, true, stored) : weights;
  const auto sum_of_kept = [&] {
    double sum = 0.0;
    for (const std::size_t i : order) sum += top_p_weights[i];
    return sum;
  };
  const double sum_of_all = sum_of_kept();
  cut_top_k(order, logits, rule.top_k, mistake == kTopKKeepsTies);
  const double total = mistake == kTopPOfAll ? sum_of_all : sum_of_kept();
  cut_top_p(order, top_p_weights, rule.top_p, total, mistake);
  for (const std::size_t i : order) p[i] = weights[i];
  const double sum = mistake == kNotRenormalised ? std::accumulate(weights.begin(), weights.end(), 0.0)
                                                 : std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x = stored(x / sum);
  return p;
}

std::vector<KnownDistribution> wrong_distributions(std::span<const float> logits,
                                                   const lab06::SamplingRule& rule) {
  using enum DistributionMistake;
  const std::vector<std::pair<DistributionMistake, const char*>> mistakes = {
      {kTimesTemperature, "logits times the temperature; they are divided by it"},
      {kNoTemperature, "temperature 1: the temperature has no influence"},
      {kTopPBeforeTemperature,
       "a top-p cut on the distribution at temperature 1; the temperature comes first"},
      {kTopPOfAll, "top-p of the whole distribution; top-k comes first, and what it left is renormalised"},
      {kWithoutCrossing, "top-p without the token that crosses it"},
      {kOneTooMany, "top-p with one token more than needed"},
      {kTopKKeepsTies, "top-k with all tokens that tie with the last one: more than k"},
      {kTiesToHigherIds, "ties that go to the higher id"},
      {kNotRenormalised, "probabilities before the cut: what is left does not sum to 1"},
      {kNoMaximum, "exp without the largest logit subtracted"},
      {kInFloat, "a computation in float; double is asked for"},
  };
  std::vector<KnownDistribution> result;
  for (const auto& [mistake, cause] : mistakes) {
    result.push_back({cause, reference_distribution(logits, rule, mistake)});
  }
  return result;
}

int reference_sample(std::span<const double> p, double u) {
  int last_possible = -1;
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0.0) continue;
    last_possible = static_cast<int>(i);
    sum += p[i];
    if (u < sum) break;
  }
  return last_possible;
}

std::string cause_of(AcceptanceMistake mistake) {
  using enum AcceptanceMistake;
  switch (mistake) {
    case kNone:
      return "the definition";
    case kOnlyWhereLarger:
      return "accepting only where p >= q; where p < q it is p / q of the cases";
    case kAcceptWithP:
      return "accepting with probability p[token]; it is min(1, p / q)";
    case kAtMost:
      return "accepting with u <= p / q: a token of p = 0 is accepted at u = 0";
    case kCorrectionFromP:
      return "a correction drawn from p; it is drawn from norm(max(0, p - q))";
    case kCorrectionWithoutToken:
      return "a correction drawn from p without the rejected token";
    case kScalarResidual:
      return "a residual max(0, p - q[token]): one number is subtracted from all of p";
    case kNotNormalised:
      return "a residual that is not divided by its sum";
    case kResidualOfNextRow:
      return "a correction from the row behind the rejected token";
    case kBonusFromDraft:
      return "a bonus token drawn from q; it is drawn from p[gamma]";
    case kBonusFromLastRow:
      return "a bonus token drawn from p[gamma - 1]; it is drawn from p[gamma]";
    case kGoesOn:
      return "testing that goes on behind the first rejection";
    case kNextUniform:
      return "a sample with uniforms[n_accepted + 1]; it is the last uniform";
    case kUniformOfTest:
      return "a sample with the uniform of the failed test, which says how large u is";
  }
  return "";
}

std::vector<AcceptanceMistake> acceptance_mistakes() {
  std::vector<AcceptanceMistake> all;
  for (int i = 1; i <= static_cast<int>(AcceptanceMistake::kUniformOfTest); ++i) {
    all.push_back(static_cast<AcceptanceMistake>(i));
  }
  return all;
}

double reference_acceptance(std::span<const double> p, std::span<const double> q, int token) {
  const auto i = static_cast<std::size_t>(token);
  return p[i] >= q[i] ? 1.0 : p[i] / q[i];
}

std::vector<double> reference_residual(std::span<const double> p, std::span<const double> q) {
  std::vector<double> residual;
  for (std::size_t i = 0; i < p.size(); ++i) residual.push_back(p[i] > q[i] ? p[i] - q[i] : 0.0);
  const bool nothing_left = std::ranges::all_of(residual, [](double x) { return x == 0.0; });
  return nothing_left ? std::vector<double>(p.begin(), p.end()) : normalised(residual);
}

namespace {

bool accepted(std::span<const double> p, std::span<const double> q, int token, double u,
              AcceptanceMistake mistake) {
  using enum AcceptanceMistake;
  const auto i = static_cast<std::size_t>(token);
  if (mistake == kOnlyWhereLarger) return p[i] >= q[i];
  if (mistake == kAcceptWithP) return u < p[i];
  if (mistake == kAtMost) return u <= reference_acceptance(p, q, token);
  return u < reference_acceptance(p, q, token);
}

/// What the correction is drawn from.
std::vector<double> correction(std::span<const double> p, std::span<const double> q, int token,
                               AcceptanceMistake mistake) {
  using enum AcceptanceMistake;
  const auto i = static_cast<std::size_t>(token);
  std::vector<double> result(p.begin(), p.end());
  if (mistake == kCorrectionWithoutToken) {
    result[i] = 0.0;
  } else if (mistake == kScalarResidual) {
    for (double& x : result) x = std::max(0.0, x - q[i]);
  } else if (mistake == kNotNormalised) {
    for (std::size_t j = 0; j < p.size(); ++j) result[j] = std::max(0.0, p[j] - q[j]);
    return result;
  } else if (mistake != kCorrectionFromP) {
    return reference_residual(p, q);
  }
  const bool nothing_left = std::ranges::all_of(result, [](double x) { return x == 0.0; });
  return nothing_left ? std::vector<double>(p.begin(), p.end()) : normalised(result);
}

}  // namespace

lab06::AcceptedTokens reference_accept(kit::TensorView<const double> p, kit::TensorView<const double> q,
                                       std::span<const int> draft_tokens, std::span<const double> uniforms,
                                       AcceptanceMistake mistake) {
  using enum AcceptanceMistake;
  const std::size_t gamma = draft_tokens.size();
  std::size_t n = 0;
  for (std::size_t i = 0; i < gamma; ++i) {
    const auto row = static_cast<std::int64_t>(i);
    if (accepted(p.row(row), q.row(row), draft_tokens[i], uniforms[i], mistake)) {
      ++n;
    } else if (mistake != kGoesOn) {
      break;
    }
  }
  const auto row = static_cast<std::int64_t>(n);
  const double u = mistake == kNextUniform && n < gamma     ? uniforms[n + 1]
                   : mistake == kUniformOfTest && n < gamma ? uniforms[n]
                                                            : uniforms[gamma];
  lab06::AcceptedTokens result{static_cast<int>(n), 0};
  if (n == gamma) {
    const bool from_draft = mistake == kBonusFromDraft && gamma > 0;
    const std::int64_t last = mistake == kBonusFromLastRow && gamma > 0 ? row - 1 : row;
    result.token = reference_sample(from_draft ? q.row(row - 1) : p.row(last), u);
  } else {
    const bool next = mistake == kResidualOfNextRow && n + 1 < gamma;
    const std::int64_t from = next ? row + 1 : row;
    result.token = reference_sample(correction(p.row(from), q.row(from), draft_tokens[n], mistake), u);
  }
  return result;
}

}  // namespace lab06_tests
