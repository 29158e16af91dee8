#include "lab06/acceptance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kit/testing.h"
#include "known_distribution.h"
#include "speculation_reference.h"

namespace {

using kit::Tensor;
using kit::testing::KnownValue;
using kit::testing::make_rng;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab06::accept_draft;
using lab06::acceptance_probability;
using lab06::AcceptedTokens;
using lab06::residual_distribution;
using lab06_tests::AcceptanceMistake;
using lab06_tests::KnownDistribution;
using lab06_tests::matches_distribution;
using Doubles = std::vector<double>;

// One division each, of numbers that are given: 2^-53 or two of them. Sums over 1000 tokens: 1e-13.
constexpr double kRelative = 1e-11;
constexpr double kAbsolute = 1e-15;

/// A random distribution in which some tokens, but not token `possible`, have probability 0.
Doubles random_distribution(int vocab_size, double zero_rate, kit::Rng& rng, int possible = 0) {
  Doubles p(static_cast<std::size_t>(vocab_size));
  for (double& x : p) x = rng.uniform() < zero_rate ? 0.0 : std::exp(1.5 * rng.normal());
  if (p[static_cast<std::size_t>(possible)] == 0.0) p[static_cast<std::size_t>(possible)] = 1.0;
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

void expect_probability(const Doubles& p, const Doubles& q, int token) {
  SCOPED_TRACE(fmt::format("token {}: p {}, q {}", token, p[static_cast<std::size_t>(token)],
                           q[static_cast<std::size_t>(token)]));
  const double px = p[static_cast<std::size_t>(token)];
  const double qx = q[static_cast<std::size_t>(token)];
  const std::vector<KnownValue> mistakes = {
      {"p / q without the min: a probability above 1", px / qx},
      {"accepting only where p >= q; where p < q it is p / q of the cases", px >= qx ? 1.0 : 0.0},
      {"q / p: the two are exchanged", std::min(1.0, qx / px)},
      {"p[token]; it is min(1, p / q)", px},
      {"min(p, q), the probability of drafting and accepting", std::min(px, qx)}};
  EXPECT_TRUE(matches_value(acceptance_probability(p, q, token),
                            lab06_tests::reference_acceptance(p, q, token), kRelative, mistakes));
}

TEST(AcceptanceProbability, ByHand) {
  const Doubles p = {0.6, 0.3, 0.1, 0.0};
  const Doubles q = {0.2, 0.5, 0.1, 0.2};
  expect_probability(p, q, 1);  // 0.3 / 0.5
  expect_probability(p, q, 0);  // p > q: always
  expect_probability(p, q, 2);  // p == q: always
  expect_probability(p, q, 3);  // p = 0: never
}

TEST(AcceptanceProbability, MatchesTheDefinition) {
  kit::Rng rng = make_rng(201);
  for (const int vocab_size : {1, 2, 31, 33, 1000}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const int token = static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab_size)));
      const Doubles q = random_distribution(vocab_size, 0.3, rng, token);
      expect_probability(random_distribution(vocab_size, 0.3, rng), q, token);
    }
  }
}

TEST(AcceptanceProbability, RejectsWhatCannotBe) {
  const Doubles p = {0.5, 0.5, 0.0};
  const Doubles q = {0.0, 1.0, 0.0};
  EXPECT_TRUE(throws_error([&] { acceptance_probability(p, q, 0); }));  // q = 0 < p
  EXPECT_TRUE(throws_error([&] { acceptance_probability(p, q, 2); }));  // q = 0 = p
  EXPECT_TRUE(throws_error([&] { acceptance_probability(p, q, -1); }));
  EXPECT_TRUE(throws_error([&] { acceptance_probability(p, q, 3); }));
  EXPECT_TRUE(throws_error([&] { acceptance_probability(p, Doubles{0.5, 0.5}, 1); }));
}

Doubles scaled(Doubles x, double factor) {
  for (double& value : x) value *= factor;
  return x;
}

Doubles normalised(const Doubles& x) {
  return scaled(x, 1.0 / std::accumulate(x.begin(), x.end(), 0.0));
}

void expect_residual(const Doubles& p, const Doubles& q) {
  SCOPED_TRACE(fmt::format("{} tokens", p.size()));
  Doubles positive;
  Doubles magnitude;
  Doubles exchanged;
  for (std::size_t i = 0; i < p.size(); ++i) {
    positive.push_back(std::max(0.0, p[i] - q[i]));
    magnitude.push_back(std::abs(p[i] - q[i]));
    exchanged.push_back(std::max(0.0, q[i] - p[i]));
  }
  const std::vector<KnownDistribution> mistakes = {
      {"p; drawn from it, what q favours comes too often", p},
      {"max(0, p - q) that is not divided by its sum", positive},
      {"|p - q| divided by its sum", normalised(magnitude)},
      {"max(0, q - p) divided by its sum: the two are exchanged", normalised(exchanged)}};
  EXPECT_TRUE(matches_distribution(residual_distribution(p, q), lab06_tests::reference_residual(p, q),
                                   kAbsolute, kRelative, mistakes));
}

TEST(ResidualDistribution, ByHand) {
  expect_residual({0.6, 0.3, 0.1}, {0.2, 0.5, 0.3});                   // (1, 0, 0)
  expect_residual({0.5, 0.25, 0.25, 0.0}, {0.25, 0.5, 0.125, 0.125});  // (2/3, 0, 1/3, 0)
}

TEST(ResidualDistribution, MatchesTheDefinition) {
  kit::Rng rng = make_rng(202);
  for (const int vocab_size : {2, 31, 33, 1000}) {
    for (const double zero_rate : {0.0, 0.5}) {
      const Doubles p = random_distribution(vocab_size, zero_rate, rng);
      expect_residual(p, random_distribution(vocab_size, zero_rate, rng, vocab_size - 1));
    }
  }
}

TEST(ResidualDistribution, EqualDistributionsLeaveP) {
  kit::Rng rng = make_rng(203);
  for (const int vocab_size : {1, 2, 33}) {
    const Doubles p = random_distribution(vocab_size, 0.3, rng);
    const std::vector<KnownDistribution> mistakes = {
        {"0 / 0: nothing is left where p == q, and p itself is asked for",
         Doubles(p.size(), std::numeric_limits<double>::quiet_NaN())},
        {"nothing, where p == q; p itself is asked for", Doubles(p.size(), 0.0)}};
    EXPECT_TRUE(matches_distribution(residual_distribution(p, p), p, 0.0, kRelative, mistakes));
  }
}

TEST(ResidualDistribution, DisjointSupportsLeaveP) {
  expect_residual({0.25, 0.75, 0.0, 0.0}, {0.0, 0.0, 0.5, 0.5});
}

TEST(ResidualDistribution, TinyDifferencesAreNormalisedToo) {
  const double tiny = std::ldexp(1.0, -40);  // exact in all the differences below
  const Doubles residual =
      residual_distribution(Doubles{0.5 + tiny, 0.25 - tiny, 0.25}, Doubles{0.5, 0.25, 0.25});
  EXPECT_TRUE(matches_distribution(
      residual, Doubles{1.0, 0.0, 0.0}, kAbsolute, kRelative,
      std::vector<KnownDistribution>{{"p: a difference of 1e-12 is taken for none", {0.5, 0.25, 0.25}},
                                     {"max(0, p - q) that is not divided by its sum", {tiny, 0.0, 0.0}}}));
}

TEST(ResidualDistribution, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { residual_distribution(Doubles{0.5, 0.5}, Doubles{1.0}); }));
  EXPECT_TRUE(throws_error([] { residual_distribution({}, {}); }));
}

TEST(ResidualDistribution, DraftAndResidualTogetherMakeP) {
  // Leviathan et al., appendix A.1: q(x) min(1, p(x) / q(x)) + P(rejection) residual(x) = p(x).
  kit::Rng rng = make_rng(204);
  for (const int vocab_size : {2, 3, 31, 1000}) {
    for (const double zero_rate : {0.0, 0.4}) {
      const Doubles p = random_distribution(vocab_size, zero_rate, rng);
      const Doubles q = random_distribution(vocab_size, zero_rate, rng, vocab_size - 1);
      const Doubles residual = residual_distribution(p, q);
      ASSERT_EQ(residual.size(), p.size());
      Doubles emitted(p.size(), 0.0);
      double rejected = 1.0;
      for (std::size_t i = 0; i < p.size(); ++i) {
        if (q[i] == 0.0) continue;
        emitted[i] = q[i] * lab06_tests::reference_acceptance(p, q, static_cast<int>(i));
        rejected -= emitted[i];
      }
      for (std::size_t i = 0; i < p.size(); ++i) emitted[i] += rejected * residual[i];
      EXPECT_TRUE(matches_distribution(emitted, p, 1e-12, 0.0));
    }
  }
}

/// Arguments of accept_draft.
struct Round {
  Tensor<double> p;        // [gamma + 1, vocab_size]
  Tensor<double> q;        // [gamma, vocab_size]
  std::vector<int> draft;  // [gamma]
  Doubles uniforms;        // [gamma + 1]
};

void set_row(Tensor<double>& rows, std::int64_t i, const Doubles& row) {
  std::ranges::copy(row, rows.row(i).begin());
}

/// Every position has other distributions. `similarity`: how much of p is in q, so that some drafts live
/// long.
Round random_round(int gamma, int vocab_size, double similarity, kit::Rng& rng) {
  Round r{Tensor<double>({gamma + 1, vocab_size}), Tensor<double>({gamma, vocab_size}), {}, {}};
  for (int i = 0; i <= gamma; ++i) {
    const Doubles p = random_distribution(vocab_size, 0.2, rng);
    set_row(r.p, i, p);
    if (i == gamma) break;
    Doubles q = random_distribution(vocab_size, 0.2, rng);
    for (std::size_t j = 0; j < q.size(); ++j) q[j] = similarity * p[j] + (1.0 - similarity) * q[j];
    set_row(r.q, i, q);
    r.draft.push_back(lab06_tests::reference_sample(q, rng.uniform()));
  }
  for (int i = 0; i <= gamma; ++i) r.uniforms.push_back(rng.uniform());
  return r;
}

/// Whether another order of summing could give another answer: a uniform within 1e-9 of a boundary.
bool is_ambiguous(const Round& r) {
  const auto answer = [&](double shift) {
    Doubles u = r.uniforms;
    for (double& x : u) x = std::clamp(x + shift, 0.0, std::nextafter(1.0, 0.0));
    return lab06_tests::reference_accept(r.p, r.q, r.draft, u);
  };
  return answer(-1e-9) != answer(1e-9);
}

std::string describe(const AcceptedTokens& x) {
  return fmt::format("{} accepted, then token {}", x.n_accepted, x.token);
}

/// All rounds right; otherwise the first wrong one, and the mistake that explains all answers.
testing::AssertionResult all_match(const std::vector<Round>& rounds) {
  std::vector<AcceptedTokens> got;
  std::vector<AcceptedTokens> expected;
  std::size_t first = rounds.size();
  for (const Round& r : rounds) {
    got.push_back(accept_draft(r.p, r.q, r.draft, r.uniforms));
    expected.push_back(lab06_tests::reference_accept(r.p, r.q, r.draft, r.uniforms));
    if (got.back() != expected.back()) first = std::min(first, got.size() - 1);
  }
  if (first == rounds.size()) return testing::AssertionSuccess();
  const Round& r = rounds[first];
  std::string message = fmt::format(
      "of {} rounds the first wrong one is {} (gamma {}, {} tokens): got {}; expected {}", rounds.size(),
      first, r.draft.size(), r.p.dim(1), describe(got[first]), describe(expected[first]));
  for (const AcceptanceMistake mistake : lab06_tests::acceptance_mistakes()) {
    const auto explains = [&](const Round& round, const AcceptedTokens& answer) {
      return lab06_tests::reference_accept(round.p, round.q, round.draft, round.uniforms, mistake) == answer;
    };
    if (!std::ranges::equal(rounds, got, explains)) continue;
    message += fmt::format("\nLikely cause: the result matches {}.", lab06_tests::cause_of(mistake));
    break;
  }
  return testing::AssertionFailure() << message;
}

std::vector<Round> random_rounds(int n, int gamma, int vocab_size, double similarity, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  std::vector<Round> rounds;
  while (std::ssize(rounds) < n) {
    Round r = random_round(gamma, vocab_size, similarity, rng);
    if (!is_ambiguous(r)) rounds.push_back(std::move(r));
  }
  return rounds;
}

TEST(AcceptDraft, ByHand) {
  Round r{Tensor<double>({3, 3}), Tensor<double>({2, 3}), {1, 2}, {0.0, 0.0, 0.0}};
  set_row(r.p, 0, {0.5, 0.25, 0.25});
  set_row(r.q, 0, {0.25, 0.5, 0.25});  // token 1 is kept half the time; residual (1, 0, 0)
  set_row(r.p, 1, {0.25, 0.5, 0.25});
  set_row(r.q, 1, {0.25, 0.25, 0.5});  // token 2 is kept half the time; residual (0, 1, 0)
  set_row(r.p, 2, {0.0, 0.25, 0.75});
  const auto with = [&](const Doubles& uniforms) {
    Round changed = r;
    changed.uniforms = uniforms;
    return changed;
  };
  EXPECT_TRUE(all_match({
      with({0.6, 0.1, 0.9}),  // 0 accepted, then token 0
      with({0.4, 0.6, 0.9}),  // 1 accepted, then token 1
      with({0.4, 0.4, 0.9}),  // 2 accepted, then token 2
      with({0.4, 0.4, 0.1}),  // 2 accepted, then token 1
      with({0.5, 0.0, 0.5}),  // u must be below 1/2: 0 accepted
  }));
}

TEST(AcceptDraft, MatchesTheDefinition) {
  EXPECT_TRUE(all_match(random_rounds(300, 1, 5, 0.5, 211)));
  EXPECT_TRUE(all_match(random_rounds(300, 4, 7, 0.6, 212)));
  EXPECT_TRUE(all_match(random_rounds(100, 8, 33, 0.8, 213)));
  EXPECT_TRUE(all_match(random_rounds(20, 3, 1000, 0.7, 214)));
}

TEST(AcceptDraft, WithoutDraftsItSamplesFromP) {
  EXPECT_TRUE(all_match(random_rounds(50, 0, 9, 0.5, 215)));
}

TEST(AcceptDraft, EqualDistributionsAcceptEverything) {
  kit::Rng rng = make_rng(216);
  std::vector<Round> rounds;
  for (int repeat = 0; repeat < 30; ++repeat) {
    Round r = random_round(4, 6, 0.0, rng);
    for (int i = 0; i < 4; ++i) {
      const Doubles p(r.p.row(i).begin(), r.p.row(i).end());
      set_row(r.q, i, p);
      r.draft[static_cast<std::size_t>(i)] = lab06_tests::reference_sample(p, rng.uniform());
      r.uniforms[static_cast<std::size_t>(i)] = std::nextafter(1.0, 0.0);
    }
    rounds.push_back(std::move(r));
  }
  EXPECT_TRUE(all_match(rounds));
}

TEST(AcceptDraft, DisjointSupportsAcceptNothing) {
  Round r{Tensor<double>({2, 4}), Tensor<double>({1, 4}), {3}, {0.0, 0.5}};
  set_row(r.p, 0, {0.25, 0.75, 0.0, 0.0});
  set_row(r.q, 0, {0.0, 0.0, 0.5, 0.5});
  set_row(r.p, 1, {0.0, 0.0, 0.0, 1.0});
  EXPECT_TRUE(all_match({r}));  // also with u = 0
}

TEST(AcceptDraft, PointMassesCompareTokens) {
  // Greedy decoding: p and q have all mass on one token each; no uniform has any influence.
  kit::Rng rng = make_rng(217);
  std::vector<Round> rounds;
  for (int agreeing = 0; agreeing <= 4; ++agreeing) {
    for (const double u : {0.0, 0.5, std::nextafter(1.0, 0.0)}) {
      Round r{Tensor<double>({5, 33}), Tensor<double>({4, 33}), {}, Doubles(5, u)};
      for (int i = 0; i < 5; ++i) {
        const int token = static_cast<int>(rng.below(33));
        r.p(i, token) = 1.0;
        if (i == 4) break;
        r.draft.push_back(i < agreeing ? token : (token + 1) % 33);
        r.q(i, r.draft.back()) = 1.0;
      }
      rounds.push_back(std::move(r));
    }
  }
  EXPECT_TRUE(all_match(rounds));
}

TEST(AcceptDraft, NothingBehindTheFirstRejectionMatters) {
  std::vector<Round> rounds = random_rounds(60, 5, 6, 0.4, 218);
  kit::Rng rng = make_rng(219);
  for (Round& r : rounds) {
    const int n = lab06_tests::reference_accept(r.p, r.q, r.draft, r.uniforms).n_accepted;
    for (int i = n + 1; i <= 5; ++i) {
      set_row(r.p, i, random_distribution(6, 0.2, rng));
      if (i == 5) break;
      set_row(r.q, i, random_distribution(6, 0.2, rng));
      r.draft[static_cast<std::size_t>(i)] = lab06_tests::reference_sample(r.q.row(i), rng.uniform());
      r.uniforms[static_cast<std::size_t>(i)] = 0.0;  // as if it were accepted
    }
  }
  EXPECT_TRUE(all_match(rounds));
}

TEST(AcceptDraft, RejectsShapesThatDoNotFit) {
  kit::Rng rng = make_rng(220);
  const Round r = random_round(3, 5, 0.5, rng);
  const Tensor<double> two_rows({2, 5}, 0.2);
  const Tensor<double> four_rows({4, 5}, 0.2);
  const Tensor<double> narrow({3, 4}, 0.25);
  EXPECT_TRUE(throws_error([&] { accept_draft(r.q, r.q, r.draft, r.uniforms); }));  // p without its last row
  EXPECT_TRUE(throws_error([&] { accept_draft(r.p, two_rows, r.draft, r.uniforms); }));   // q too short
  EXPECT_TRUE(throws_error([&] { accept_draft(r.p, four_rows, r.draft, r.uniforms); }));  // q too long
  EXPECT_TRUE(throws_error([&] { accept_draft(r.p, narrow, r.draft, r.uniforms); }));  // another vocabulary
  EXPECT_TRUE(throws_error([&] { accept_draft(r.p, r.q, std::vector<int>{0, 1}, r.uniforms); }));
  EXPECT_TRUE(throws_error([&] { accept_draft(r.p, r.q, r.draft, Doubles(3, 0.5)); }));
}

TEST(AcceptDraft, RejectsWhatCannotBe) {
  kit::Rng rng = make_rng(221);
  Round r = random_round(2, 5, 0.5, rng);
  const auto fails = [&](const std::vector<int>& draft, const Doubles& uniforms) {
    return throws_error([&] { accept_draft(r.p, r.q, draft, uniforms); });
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double u : {-0.1, 1.0, nan}) {
    EXPECT_TRUE(fails(r.draft, {u, 0.5, 0.5}));
    EXPECT_TRUE(fails(r.draft, {0.5, 0.5, u}));
  }
  EXPECT_TRUE(fails({-1, 0}, r.uniforms));
  EXPECT_TRUE(fails({5, 0}, r.uniforms));
  set_row(r.q, 0, {0.0, 0.25, 0.25, 0.25, 0.25});
  set_row(r.q, 1, {0.5, 0.0, 0.5, 0.0, 0.0});
  EXPECT_TRUE(fails({0, 0}, r.uniforms));  // q = 0
  // Behind a rejection as well: token 1 has p = 0 in the first row.
  set_row(r.p, 0, {0.5, 0.0, 0.5, 0.0, 0.0});
  EXPECT_TRUE(fails({1, 1}, {0.5, 0.5, 0.5}));
}

}  // namespace
