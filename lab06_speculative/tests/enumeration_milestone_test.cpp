#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "kit/testing.h"
#include "known_distribution.h"
#include "lab06/acceptance.h"
#include "speculation_reference.h"

// Milestone: speculation is exact, by enumeration. On vocabularies of 2 to 5 tokens every draft is
// enumerated, and every outcome of accept_draft: as a function of its uniforms it is constant on boxes, whose
// volumes are probabilities. No sampling, no noise: the emitted tokens' distribution must be the target's to
// 1e-12.

namespace {

using kit::Tensor;
using kit::testing::make_rng;
using lab06::AcceptedTokens;
using lab06_tests::KnownDistribution;

using Accept = std::function<AcceptedTokens(const Tensor<double>& p, const Tensor<double>& q,
                                            std::span<const int> draft, std::span<const double> uniforms)>;

// Probabilities are multiples of 1/64: sums and differences of them are exact, so it is certain which tokens
// have p == q, and no box is as thin as a rounding.
constexpr int kDenominator = 64;

// A few thousand products and sums of numbers up to 1, each rounded by 2^-53.
constexpr double kBar = 1e-12;

std::vector<double> random_distribution(int vocab_size, kit::Rng& rng) {
  std::vector<double> p(static_cast<std::size_t>(vocab_size), 0.0);
  // A few large lumps, so that some tokens get nothing.
  for (const int lump : {21, 13, 11, 8, 5, 3, 2, 1}) {
    p[rng.below(static_cast<std::uint32_t>(vocab_size))] += static_cast<double>(lump) / kDenominator;
  }
  return p;
}

/// Both models: a distribution after every history of up to gamma tokens.
struct Tables {
  int vocab_size = 0;
  int gamma = 0;
  std::vector<std::vector<double>> p;  // [history], see index_of
  std::vector<std::vector<double>> q;  // [history]
};

/// Histories in the order of their lengths; of one length, as numbers of base vocab_size.
std::size_t index_of(std::span<const int> history, int vocab_size) {
  std::size_t index = 0;
  for (const int token : history)
    index = index * static_cast<std::size_t>(vocab_size) + 1 + static_cast<std::size_t>(token);
  return index;
}

Tables random_tables(int vocab_size, int gamma, kit::Rng& rng) {
  Tables t{vocab_size, gamma, {}, {}};
  const std::vector<int> last(static_cast<std::size_t>(gamma), vocab_size - 1);
  for (std::size_t i = 0; i <= index_of(last, vocab_size); ++i) {
    t.p.push_back(random_distribution(vocab_size, rng));
    t.q.push_back(random_distribution(vocab_size, rng));
  }
  return t;
}

/// Calls visit(tokens) for every sequence of `length` tokens.
void for_each_sequence(int vocab_size, int length, const std::function<void(std::span<const int>)>& visit) {
  std::vector<int> tokens(static_cast<std::size_t>(length), 0);
  for (;;) {
    visit(tokens);
    std::size_t i = 0;
    while (i < tokens.size() && ++tokens[i] == vocab_size) tokens[i++] = 0;
    if (i == tokens.size()) return;
  }
}

/// Probability of these tokens under the tables.
double probability(const std::vector<std::vector<double>>& table, std::span<const int> tokens,
                   std::size_t from, int vocab_size) {
  double product = 1.0;
  for (std::size_t i = from; i < tokens.size(); ++i) {
    product *= table[index_of(tokens.first(i), vocab_size)][static_cast<std::size_t>(tokens[i])];
  }
  return product;
}

struct Interval {
  double begin = 0.0;
  double end = 1.0;
  double width() const { return end - begin; }
};

/// What one draft brings about.
struct Draft {
  Tensor<double> p;  // [gamma + 1, vocab_size]
  Tensor<double> q;  // [gamma, vocab_size]
  std::vector<int> tokens;
};

Draft draft_of(const Tables& t, std::span<const int> tokens) {
  Draft d{Tensor<double>({t.gamma + 1, t.vocab_size}),
          Tensor<double>({t.gamma, t.vocab_size}),
          {tokens.begin(), tokens.end()}};
  for (int i = 0; i <= t.gamma; ++i) {
    const std::size_t index = index_of(tokens.first(static_cast<std::size_t>(i)), t.vocab_size);
    std::ranges::copy(t.p[index], d.p.row(i).begin());
    if (i < t.gamma) std::ranges::copy(t.q[index], d.q.row(i).begin());
  }
  return d;
}

/// The cells of the last uniform when the first n draft tokens are accepted.
std::vector<Interval> sample_cells(const Draft& d, int n) {
  const int gamma = static_cast<int>(d.tokens.size());
  const std::vector<double> from = n == gamma ? std::vector<double>(d.p.row(n).begin(), d.p.row(n).end())
                                              : lab06_tests::reference_residual(d.p.row(n), d.q.row(n));
  std::vector<Interval> cells;
  double sum = 0.0;
  for (const double x : from) {
    if (x > 0.0) cells.push_back({sum, sum + x});
    sum += x;
  }
  cells.back().end = 1.0;
  return cells;
}

/// Calls visit(box) for all boxes of uniforms in which, by the definition, the outcome is constant: [gamma +
/// 1] intervals each. They fill the cube. Uniforms behind the first rejection are split like the others:
/// whether they have an influence is for the student's code to say.
void for_each_box(const Draft& d, const std::function<void(std::span<const Interval>)>& visit) {
  const std::size_t gamma = d.tokens.size();
  std::vector<Interval> box(gamma + 1);
  for (unsigned rejected = 0; rejected < 1U << gamma; ++rejected) {
    bool is_empty = false;
    for (std::size_t i = 0; i < gamma; ++i) {
      const auto row = static_cast<std::int64_t>(i);
      const double a = lab06_tests::reference_acceptance(d.p.row(row), d.q.row(row), d.tokens[i]);
      box[i] = (rejected >> i & 1U) != 0 ? Interval{a, 1.0} : Interval{0.0, a};
      is_empty = is_empty || box[i].width() == 0.0;
    }
    if (is_empty) continue;
    int n = 0;
    while (n < static_cast<int>(gamma) && (rejected >> n & 1U) == 0) ++n;
    for (const Interval& cell : sample_cells(d, n)) {
      box[gamma] = cell;
      visit(box);
    }
  }
}

/// The distribution of the first gamma + 1 tokens, [vocab_size^(gamma + 1)]: what a round emits, continued by
/// the target where it emits fewer.
struct Emitted {
  std::vector<double> joint;
  std::string problem;  // an answer that cannot be
};

std::size_t number_of(std::span<const int> tokens, int vocab_size) {
  std::size_t number = 0;
  for (const int token : tokens)
    number = number * static_cast<std::size_t>(vocab_size) + static_cast<std::size_t>(token);
  return number;
}

/// Adds `weight`, spread over the target's continuations of `tokens`.
void add(const Tables& t, std::span<const int> tokens, double weight, std::vector<double>& joint) {
  for_each_sequence(
      t.vocab_size, t.gamma + 1 - static_cast<int>(tokens.size()), [&](std::span<const int> rest) {
        std::vector<int> all(tokens.begin(), tokens.end());
        all.insert(all.end(), rest.begin(), rest.end());
        joint[number_of(all, t.vocab_size)] += weight * probability(t.p, all, tokens.size(), t.vocab_size);
      });
}

/// Asks in two corners of a box, just inside: a boundary that lies elsewhere shows on one side or the other.
void ask(const Tables& t, const Draft& d, std::span<const Interval> box, double weight, const Accept& accept,
         Emitted& emitted) {
  for (const double share : {1e-6, 1.0 - 1e-6}) {
    std::vector<double> uniforms;
    for (const Interval& side : box) uniforms.push_back(side.begin + share * side.width());
    const AcceptedTokens answer = accept(d.p, d.q, d.tokens, uniforms);
    if (answer.n_accepted < 0 || answer.n_accepted > t.gamma || answer.token < 0 ||
        answer.token >= t.vocab_size) {
      emitted.problem =
          fmt::format("accept_draft returned {} accepted and token {}, for gamma {} and {} tokens",
                      answer.n_accepted, answer.token, t.gamma, t.vocab_size);
      return;
    }
    std::vector<int> tokens(d.tokens.begin(), d.tokens.begin() + answer.n_accepted);
    tokens.push_back(answer.token);
    add(t, tokens, 0.5 * weight, emitted.joint);
  }
}

Emitted enumerate(const Tables& t, const Accept& accept) {
  Emitted emitted{
      std::vector<double>(static_cast<std::size_t>(std::lround(std::pow(t.vocab_size, t.gamma + 1))), 0.0),
      ""};
  for_each_sequence(t.vocab_size, t.gamma, [&](std::span<const int> tokens) {
    const double drafted = probability(t.q, tokens, 0, t.vocab_size);
    if (drafted == 0.0) return;
    const Draft d = draft_of(t, tokens);
    for_each_box(d, [&](std::span<const Interval> box) {
      double weight = drafted;
      for (const Interval& side : box) weight *= side.width();
      if (emitted.problem.empty()) ask(t, d, box, weight, accept, emitted);
    });
  });
  return emitted;
}

std::vector<double> target_distribution(const Tables& t) {
  std::vector<double> joint(static_cast<std::size_t>(std::lround(std::pow(t.vocab_size, t.gamma + 1))), 0.0);
  add(t, {}, 1.0, joint);
  return joint;
}

/// What comes out with each of the classic mistakes.
std::vector<KnownDistribution> wrong_distributions(const Tables& t) {
  std::vector<KnownDistribution> result;
  for (const auto mistake : lab06_tests::acceptance_mistakes()) {
    const Accept wrong = [&](const Tensor<double>& p, const Tensor<double>& q, std::span<const int> draft,
                             std::span<const double> uniforms) {
      return lab06_tests::reference_accept(p, q, draft, uniforms, mistake);
    };
    result.push_back({"a decoder with " + lab06_tests::cause_of(mistake), enumerate(t, wrong).joint});
  }
  return result;
}

/// The student's answer.
lab06_tests::Case case_of(const std::string& what, const Tables& t) {
  const Accept student = [](const Tensor<double>& p, const Tensor<double>& q, std::span<const int> draft,
                            std::span<const double> uniforms) {
    return lab06::accept_draft(p, q, draft, uniforms);
  };
  const Emitted emitted = enumerate(t, student);
  EXPECT_EQ(emitted.problem, "");
  return {fmt::format("{}, {} tokens, gamma {}", what, t.vocab_size, t.gamma), emitted.joint,
          target_distribution(t), [t] { return wrong_distributions(t); }};
}

using Rows = std::vector<std::vector<double>>;

/// All mass of every row on one token.
void make_point_masses(Rows& rows, kit::Rng& rng) {
  for (auto& row : rows) {
    const auto vocab_size = static_cast<std::uint32_t>(row.size());
    row.assign(row.size(), 0.0);
    row[rng.below(vocab_size)] = 1.0;
  }
}

TEST(EnumerationMilestone, EmittedTokensFollowTheTarget) {
  kit::Rng rng = make_rng(2001);
  std::vector<lab06_tests::Case> cases;
  for (const int vocab_size : {2, 3, 4, 5}) {
    for (const int gamma : {1, 2, 3}) {
      cases.push_back(case_of("random tables", random_tables(vocab_size, gamma, rng)));
    }
  }
  Tables same = random_tables(3, 3, rng);
  same.q = same.p;
  cases.push_back(case_of("a draft that is the target", same));
  Tables disjoint = random_tables(4, 2, rng);
  std::ranges::fill(disjoint.p, std::vector<double>{0.25, 0.75, 0.0, 0.0});
  std::ranges::fill(disjoint.q, std::vector<double>{0.0, 0.0, 0.5, 0.5});
  cases.push_back(case_of("a draft that is never right", disjoint));
  Tables lookup = random_tables(4, 3, rng);
  make_point_masses(lookup.q, rng);
  cases.push_back(case_of("a draft of one possible token, as prompt lookup", lookup));
  Tables greedy = random_tables(4, 3, rng);
  make_point_masses(greedy.p, rng);
  cases.push_back(case_of("a target of one possible token, as greedy decoding", greedy));
  double deviation = 0.0;
  for (const lab06_tests::Case& c : cases) {
    for (std::size_t i = 0; i < c.expected.size(); ++i) {
      deviation = std::max(deviation, std::abs(c.got[i] - c.expected[i]));
    }
  }
  kit::testing::record_value("deviation", deviation);
  kit::testing::record_value("deviation_bar", kBar);
  EXPECT_TRUE(lab06_tests::all_match(cases, kBar, 0.0));
}

}  // namespace
