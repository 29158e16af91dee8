#include "cuda_support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "lab06/cuda_kernels.h"

namespace lab06_tests {

using kit::DeviceBuffer;
using kit::Tensor;
using kit::testing::same_bits;

namespace {

using Row = std::span<float>;
using ConstRow = std::span<const float>;

constexpr std::int32_t kUnwritten = -77;

template <class T>
auto row_of(T& rows, std::int64_t s, std::int64_t t) {
  const auto vocab_size = static_cast<std::size_t>(rows.dim(2));
  return std::span(&rows(s, t, 0), vocab_size);
}

/// Softmax; tokens with a logit of -infinity get exactly 0.
void fill_softmax(const std::vector<double>& logits, Row row) {
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(std::exp(logits[i]) / sum);
}

/// Two rows that agree about half. `drawn` >= 0 is a token that p likes better than q does.
void fill_rows(Row p, Row q, double zeros, int drawn, kit::Rng& rng) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  std::vector<double> p_logits(p.size());
  std::vector<double> q_logits(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double common = 1.5 * rng.normal();
    p_logits[i] = rng.uniform() < zeros ? kNever : common + 0.7 * rng.normal();
    q_logits[i] = rng.uniform() < zeros ? kNever : common + 0.7 * rng.normal();
  }
  // Never a row of zeros alone, and never two rows that share no token.
  const std::size_t shared = rng.below(static_cast<std::uint32_t>(p.size()));
  p_logits[shared] = 0.0;
  q_logits[shared] = 0.1;
  if (drawn >= 0) {
    p_logits[static_cast<std::size_t>(drawn)] = 1.5;
    q_logits[static_cast<std::size_t>(drawn)] = -0.5;
  }
  fill_softmax(p_logits, p);
  if (!q.empty()) fill_softmax(q_logits, q);
}

double ratio(ConstRow p, ConstRow q, std::size_t token) {
  return std::min(1.0, double{p[token]} / double{q[token]});
}

/// A draft token and a uniform that accept or reject it, far from p / q. False where q >= p has no token to
/// reject well.
bool draw_test(ConstRow p, ConstRow q, bool accept, std::int32_t& token, float& uniform, kit::Rng& rng) {
  std::vector<std::int32_t> fit;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (q[i] < 1e-6F) continue;
    const double r = ratio(p, q, i);
    if (accept ? r > 0.1 : r < 0.8) fit.push_back(static_cast<std::int32_t>(i));
  }
  if (fit.empty()) return false;
  token = fit[rng.below(static_cast<std::uint32_t>(fit.size()))];
  const double r = ratio(p, q, static_cast<std::size_t>(token));
  const double share = 0.1 + 0.8 * rng.uniform();
  uniform = static_cast<float>(accept ? share * r : r + share * (1.0 - r));
  return true;
}

/// What the token after `first` accepted drafts is drawn from. Not normalised.
std::vector<double> weights_of(const DraftBatch& batch, std::int64_t s, int first, bool rejected) {
  const ConstRow p = row_of(batch.p, s, first);
  std::vector<double> weights(p.begin(), p.end());
  if (!rejected) return weights;
  const ConstRow q = row_of(batch.q, s, first);
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    weights[i] = std::max(0.0, double{p[i]} - double{q[i]});
    sum += weights[i];
  }
  if (sum == 0.0) weights.assign(p.begin(), p.end());
  return weights;
}

double sum_of(const std::vector<double>& weights) {
  double sum = 0.0;
  for (const double w : weights) sum += w;
  return sum;
}

/// A token whose cell is wide enough that roundings of float sums (below 1e-5 of the sum) cannot matter.
int any_drawn(const std::vector<double>& weights, kit::Rng& rng) {
  const double max = *std::ranges::max_element(weights);
  std::vector<int> fit;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] >= std::min(1e-3 * sum_of(weights), 0.5 * max) && weights[i] > 0.0)
      fit.push_back(static_cast<int>(i));
  }
  return fit[rng.below(static_cast<std::uint32_t>(fit.size()))];
}

/// The first token at which the sum exceeds `threshold`, or the last that has a weight.
int find_token(const std::vector<double>& weights, double threshold, bool equal_counts = false) {
  int last = 0;
  double sum = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum > threshold || (equal_counts && sum >= threshold)) return static_cast<int>(i);
    if (weights[i] > 0.0) last = static_cast<int>(i);
  }
  return last;
}

/// One sequence of reference().
class Verification {
 public:
  Verification(const DraftBatch& batch, std::int64_t s, DraftMistake mistake)
      : batch_(batch), s_(s), mistake_(mistake), gamma_(static_cast<int>(batch.q.dim(1))) {
    n_draft_ = is(DraftMistake::kAllDraftsThere) ? gamma_ : batch.n_draft[static_cast<std::size_t>(s)];
    int n_passed = 0;
    first_ = n_draft_;
    for (int t = 0; t < n_draft_; ++t) {
      if (passes(t)) {
        ++n_passed;
      } else if (first_ == n_draft_ || is(DraftMistake::kLastRejection)) {
        first_ = t;
      }
    }
    n_accepted_ = is(DraftMistake::kCountsAllAccepted) ? n_passed : first_;
  }

  /// n_accepted, then tokens.
  std::vector<float> outcome() const {
    std::vector<float> out(static_cast<std::size_t>(gamma_) + 2, -1.0F);
    out[0] = static_cast<float>(n_accepted_);
    const bool drawn_first = is(DraftMistake::kDrawnFirst);
    auto place = out.begin() + 1;
    if (drawn_first) *place++ = static_cast<float>(drawn());
    for (int t = 0; t < first_; ++t) *place++ = static_cast<float>(batch_.draft_tokens(s_, t));
    if (!drawn_first) *place = static_cast<float>(drawn());
    return out;
  }

 private:
  bool is(DraftMistake mistake) const { return mistake_ == mistake; }
  float uniform(int t) const { return batch_.uniforms(is(DraftMistake::kUniformsOfSequence0) ? 0 : s_, t); }

  bool passes(int t) const {
    const auto token = batch_.draft_tokens(s_, t);
    const double p = batch_.p(s_, t, token);
    const double q = batch_.q(s_, t, token);
    return is(DraftMistake::kLikelierTokensOnly) ? p >= q : double{uniform(t)} * q < p;
  }

  int drawn() const {
    const bool rejected = first_ < n_draft_;
    std::vector<double> weights =
        weights_of(batch_, s_, first_, rejected && !is(DraftMistake::kDrawnFromTarget));
    if (!rejected && first_ > 0 && is(DraftMistake::kBonusFromDraft)) {
      const ConstRow q = row_of(batch_.q, s_, first_ - 1);
      weights.assign(q.begin(), q.end());
    }
    if (is(DraftMistake::kNoTail)) {
      for (std::size_t i = weights.size() / 32 * 32; i < weights.size(); ++i) weights[i] = 0.0;
    }
    double u = uniform(gamma_);
    if (is(DraftMistake::kUniformAfterTests)) u = uniform(n_draft_);
    if (rejected && is(DraftMistake::kUniformOfRejection)) u = uniform(first_);
    return find_token(weights, is(DraftMistake::kNotNormalised) ? u : u * sum_of(weights),
                      is(DraftMistake::kProbabilityZero));
  }

  const DraftBatch& batch_;
  std::int64_t s_;
  DraftMistake mistake_;
  int gamma_;
  int n_draft_ = 0;
  int first_ = 0;
  int n_accepted_ = 0;
};

}  // namespace

void draw_token(DraftBatch& batch, std::int64_t s, int n_accepted, int drawn) {
  const bool rejected = n_accepted < batch.n_draft[static_cast<std::size_t>(s)];
  const std::vector<double> weights = weights_of(batch, s, n_accepted, rejected);
  double before = 0.0;
  for (int i = 0; i < drawn; ++i) before += weights[static_cast<std::size_t>(i)];
  const double middle = before + weights[static_cast<std::size_t>(drawn)] / 2.0;
  batch.uniforms(s, batch.q.dim(1)) = static_cast<float>(middle / sum_of(weights));
}

DraftBatch random_drafts(const DraftBatchSizes& sizes, const std::vector<Outcome>& outcomes,
                         std::uint64_t stream) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const auto n_seqs = static_cast<std::int64_t>(outcomes.size());
  DraftBatch batch{.p = Tensor<float>({n_seqs, sizes.gamma + 1, sizes.vocab_size}),
                   .q = Tensor<float>({n_seqs, sizes.gamma, sizes.vocab_size}),
                   .draft_tokens = Tensor<std::int32_t>({n_seqs, sizes.gamma}),
                   .n_draft = {},
                   .uniforms = Tensor<float>({n_seqs, sizes.gamma + 1})};
  for (std::int64_t s = 0; s < n_seqs; ++s) {
    const Outcome& outcome = outcomes[static_cast<std::size_t>(s)];
    batch.n_draft.push_back(outcome.n_draft);
    for (int t = 0; t < sizes.gamma; ++t) {
      const bool rejects = t == outcome.n_accepted && t < outcome.n_draft;
      const bool accepts = t < outcome.n_accepted || (!rejects && rng.below(2) == 0);
      const int drawn = t == outcome.n_accepted ? outcome.drawn : -1;
      do {
        fill_rows(row_of(batch.p, s, t), row_of(batch.q, s, t), sizes.zeros, drawn, rng);
      } while (!draw_test(row_of(batch.p, s, t), row_of(batch.q, s, t), accepts, batch.draft_tokens(s, t),
                          batch.uniforms(s, t), rng));
    }
    const int drawn = outcome.n_accepted == sizes.gamma ? outcome.drawn : -1;
    fill_rows(row_of(batch.p, s, sizes.gamma), {}, sizes.zeros, drawn, rng);
    const std::vector<double> weights =
        weights_of(batch, s, outcome.n_accepted, outcome.n_accepted < outcome.n_draft);
    draw_token(batch, s, outcome.n_accepted, outcome.drawn >= 0 ? outcome.drawn : any_drawn(weights, rng));
  }
  return batch;
}

Tensor<float> reference(const DraftBatch& batch, DraftMistake mistake) {
  Tensor<float> all({batch.p.dim(0), batch.q.dim(1) + 2});
  for (std::int64_t s = 0; s < all.dim(0); ++s) {
    const std::vector<float> outcome = Verification(batch, s, mistake).outcome();
    std::ranges::copy(outcome, &all(s, 0));
  }
  return all;
}

Tensor<float> run(const DraftBatch& batch) {
  const std::int64_t n_seqs = batch.p.dim(0);
  const std::int64_t gamma = batch.q.dim(1);
  const DeviceBuffer<float> p(batch.p.span());
  const DeviceBuffer<float> q(batch.q.span());
  const DeviceBuffer<std::int32_t> draft_tokens(batch.draft_tokens.span());
  const DeviceBuffer<std::int32_t> n_draft{std::span(batch.n_draft)};
  const DeviceBuffer<float> uniforms(batch.uniforms.span());
  const std::vector<std::int32_t> unwritten(static_cast<std::size_t>(n_seqs * (gamma + 1)), kUnwritten);
  DeviceBuffer<std::int32_t> tokens{std::span(unwritten)};
  DeviceBuffer<std::int32_t> n_accepted{std::span(unwritten).first(static_cast<std::size_t>(n_seqs))};
  lab06::verify_drafts_cuda(p.view(batch.p.shape()), q.view(batch.q.shape()),
                            draft_tokens.view(batch.draft_tokens.shape()), n_draft.view({n_seqs}),
                            uniforms.view(batch.uniforms.shape()), n_accepted.view({n_seqs}),
                            tokens.view({n_seqs, gamma + 1}));
  EXPECT_TRUE(same_bits(p.to_host(), batch.p.span()) && same_bits(q.to_host(), batch.q.span()) &&
              same_bits(uniforms.to_host(), batch.uniforms.span()) && n_draft.to_host() == batch.n_draft &&
              std::ranges::equal(draft_tokens.to_host(), batch.draft_tokens.span()))
      << "an input was changed";
  const std::vector<std::int32_t> host_accepted = n_accepted.to_host();
  const std::vector<std::int32_t> host_tokens = tokens.to_host();
  Tensor<float> all({n_seqs, gamma + 2});
  for (std::int64_t s = 0; s < n_seqs; ++s) {
    all(s, 0) = static_cast<float>(host_accepted[static_cast<std::size_t>(s)]);
    for (std::int64_t t = 0; t <= gamma; ++t)
      all(s, 1 + t) = static_cast<float>(host_tokens[static_cast<std::size_t>(s * (gamma + 1) + t)]);
  }
  return all;
}

::testing::AssertionResult verifies(const DraftBatch& batch) {
  // Whole numbers: equal or wrong.
  constexpr kit::Tolerance kExact{0.0, 0.0};
  const Tensor<float> expected = reference(batch);
  const Tensor<float> got = run(batch);
  if (kit::compare(got, expected, kExact).ok) return ::testing::AssertionSuccess();
  using enum DraftMistake;
  const std::vector<std::pair<const char*, DraftMistake>> causes = {
      {"drafts accepted only where p >= q: below, with probability p / q", kLikelierTokensOnly},
      {"the correction drawn from p: what the draft already had its chance at must be taken off",
       kDrawnFromTarget},
      {"max(0, p - q) taken for a distribution: it sums to the probability of a rejection, not to 1",
       kNotNormalised},
      {"the bonus token drawn from q: behind the last draft there is a row of p", kBonusFromDraft},
      {"tokens behind the last full 32 never drawn: vocab_size need not be a multiple of the warp", kNoTail},
      {"the uniforms of sequence 0 in every sequence", kUniformsOfSequence0},
      {"the token drawn by uniforms[s, n_draft[s]]: it is uniforms[s, gamma], however many drafts there are",
       kUniformAfterTests},
      {"the correction drawn by the uniform that has just rejected the draft: it is no longer uniform",
       kUniformOfRejection},
      {"gamma drafts tested in every sequence: only the first n_draft[s] are there", kAllDraftsThere},
      {"the token drawn put before the accepted drafts: it comes after them", kDrawnFirst},
      {"everything accepted up to the last rejection: it is the first that counts", kLastRejection},
      {"n_accepted with the drafts that pass behind the first rejection: they are void", kCountsAllAccepted},
      {"a token of probability 0, where the sum equals the uniform: the sum must exceed it",
       kProbabilityZero},
  };
  std::vector<kit::KnownMistake> known;
  known.reserve(causes.size());
  for (const auto& [cause, mistake] : causes) known.push_back({cause, reference(batch, mistake)});
  return kit::testing::matches(got, expected, kExact, known)
         << "\nColumn 0 is n_accepted, columns 1 to gamma + 1 are tokens; " << kUnwritten
         << " was never written";
}

}  // namespace lab06_tests
