#include "lab04/additive_codebooks.h"

#include <algorithm>
#include <cmath>

#include "kit/parallel.h"

namespace lab04 {

namespace {

/// Rounds in which a new codebook learns alone what those before it leave over.
constexpr int kStartRounds = 8;

/// Where a codeword is used.
struct Place {
  std::int64_t row, group;
};

/// y += factor * x.
void add_scaled(std::span<float> y, float factor, std::span<const float> x) {
#pragma omp simd
  for (std::size_t j = 0; j < y.size(); ++j) y[j] += factor * x[j];
}

/// A fit under way. The loss is trace(E H E^T) with E = W - Q. To add delta to one vector of Q changes it by
/// delta H_gg delta^T - 2 delta . slope, where H_gg is H's diagonal block of the vector's columns and slope
/// its part of E H. So E H is kept up to date; codes and words then change one at a time, each to the best
/// for all the others, and the loss never grows.
struct Fit {
  std::int64_t dim, n_groups, n_words;
  kit::Tensor<float> hessian;       // [cols, cols]
  kit::Tensor<float> error;         // [rows, cols], E
  kit::Tensor<float> slope;         // [rows, cols], E H
  kit::Tensor<float> words;         // [n_codebooks, dim, n_words]: one number of all words side by side
  kit::Tensor<std::uint8_t> codes;  // [rows, n_groups, n_codebooks]

  /// With the unit matrix for H, and all zeros for Q.
  Fit(kit::TensorView<const float> w, const AdditiveConfig& config)
      : dim(config.vector_dim),
        n_groups(w.dim(1) / dim),
        n_words(std::int64_t{1} << config.codebook_bits),
        hessian({w.dim(1), w.dim(1)}),
        error(kit::clone(w)),
        slope(kit::clone(w)),
        words({config.n_codebooks, dim, n_words}),
        codes({w.dim(0), n_groups, config.n_codebooks}) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) hessian(j, j) = 1.0F;
  }

  void set_hessian(kit::TensorView<const double> h) {
    std::ranges::transform(h.span(), hessian.data(), [](double x) { return static_cast<float>(x); });
    std::ranges::fill(slope.span(), 0.0F);
    for (std::int64_t o = 0; o < error.dim(0); ++o) {
      for (std::int64_t j = 0; j < error.dim(1); ++j) add_scaled(slope.row(o), error(o, j), hessian.row(j));
    }
  }

  /// Adds delta to Q(o, column).
  void add(std::int64_t o, std::int64_t column, float delta) {
    error(o, column) -= delta;
    add_scaled(slope.row(o), -delta, hessian.row(column));
  }
};

/// The words of codebook m become random vectors of E, and everybody uses word 0.
void start(Fit& fit, std::int64_t m, kit::Rng& rng) {
  for (std::int64_t k = 0; k < fit.n_words; ++k) {
    const std::int64_t o = rng.below(static_cast<std::uint32_t>(fit.error.dim(0)));
    const std::int64_t g = rng.below(static_cast<std::uint32_t>(fit.n_groups));
    for (std::int64_t d = 0; d < fit.dim; ++d) fit.words(m, d, k) = fit.error(o, g * fit.dim + d);
  }
  for (std::int64_t o = 0; o < fit.error.dim(0); ++o) {
    for (std::int64_t j = 0; j < fit.error.dim(1); ++j) fit.add(o, j, fit.words(m, j % fit.dim, 0));
  }
}

/// word H_gg word^T / 2, of each word of codebook m in each group: [n_groups, n_words].
kit::Tensor<float> energies(const Fit& fit, std::int64_t m) {
  kit::Tensor<float> result({fit.n_groups, fit.n_words});
  std::vector<float> product(static_cast<std::size_t>(fit.n_words));
  for (std::int64_t j = 0; j < fit.n_groups * fit.dim; ++j) {
    const std::int64_t g = j / fit.dim;
    std::ranges::fill(product, 0.0F);
    for (std::int64_t e = 0; e < fit.dim; ++e)
      add_scaled(product, fit.hessian(j, g * fit.dim + e), fit.words.row(m, e));
    for (std::int64_t k = 0; k < fit.n_words; ++k)
      result(g, k) += 0.5F * fit.words(m, j % fit.dim, k) * product[k];
  }
  return result;
}

void choose_code(Fit& fit, std::int64_t o, std::int64_t g, std::int64_t m, std::span<const float> energies) {
  std::vector<float> scores(energies.begin(), energies.end());
  std::uint8_t& code = fit.codes(o, g, m);
  const std::int64_t first = g * fit.dim;
  // The best word has the smallest energy - target . word, where target is the slope without the present
  // word.
  for (std::int64_t d = 0; d < fit.dim; ++d) {
    float target = fit.slope(o, first + d);
    for (std::int64_t e = 0; e < fit.dim; ++e)
      target += fit.hessian(first + d, first + e) * fit.words(m, e, code);
    add_scaled(scores, -target, fit.words.row(m, d));
  }
  const auto best = static_cast<std::uint8_t>(std::ranges::min_element(scores) - scores.begin());
  if (best == code) return;
  for (std::int64_t d = 0; d < fit.dim; ++d)
    fit.add(o, first + d, fit.words(m, d, best) - fit.words(m, d, code));
  code = best;
}

/// Least squares for one number of a word at a time. Two places in the same row see each other through H.
void update_word(Fit& fit, std::int64_t m, std::int64_t k, std::span<const Place> places) {
  for (std::int64_t d = 0; d < fit.dim; ++d) {
    double slope = 0.0;
    double curvature = 0.0;
    for (auto p = places.begin(); p != places.end(); ++p) {
      const std::int64_t j = p->group * fit.dim + d;
      slope += fit.slope(p->row, j);
      curvature += fit.hessian(j, j);
      for (auto other = p + 1; other != places.end() && other->row == p->row; ++other)
        curvature += 2.0 * fit.hessian(j, other->group * fit.dim + d);
    }
    if (!(curvature > 0.0)) continue;  // nobody uses the word, or only for inputs that never occur
    const auto delta = static_cast<float>(slope / curvature);
    fit.words(m, d, k) += delta;
    for (const Place& p : places) fit.add(p.row, p.group * fit.dim + d, delta);
  }
}

/// Codebook m: codes for its words, then words for these codes.
void improve(Fit& fit, std::int64_t m) {
  const std::int64_t rows = fit.error.dim(0);
  const kit::Tensor<float> energies_of_words = energies(fit, m);
  kit::parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      for (std::int64_t g = 0; g < fit.n_groups; ++g) choose_code(fit, o, g, m, energies_of_words.row(g));
    }
  });
  std::vector<std::vector<Place>> places(static_cast<std::size_t>(fit.n_words));
  for (std::int64_t o = 0; o < rows; ++o) {
    for (std::int64_t g = 0; g < fit.n_groups; ++g) places[fit.codes(o, g, m)].push_back({o, g});
  }
  for (std::int64_t k = 0; k < fit.n_words; ++k) update_word(fit, m, k, places[k]);
}

void check_config(const AdditiveConfig& config, std::int64_t cols) {
  const auto [n_codebooks, codebook_bits, vector_dim, n_rounds] = config;
  KIT_CHECK(n_codebooks >= 1 && codebook_bits >= 1 && codebook_bits <= 8 && vector_dim >= 1 && n_rounds >= 0,
            "{} codebooks of {} bits, vectors of {}, {} rounds: want at least 1, 1 to 8, at least 1 and 0",
            n_codebooks, codebook_bits, vector_dim, n_rounds);
  KIT_CHECK(cols % vector_dim == 0, "vectors of {} do not divide {} columns", vector_dim, cols);
}

}  // namespace

AdditiveQuantized quantize_additive(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
                                    const AdditiveConfig& config, kit::Rng& rng) {
  KIT_CHECK(w.rank() == 2 && w.size() > 0 && hessian.shape() == (kit::Shape{w.dim(1), w.dim(1)}),
            "w {}, hessian {}: want [rows, cols] and [cols, cols]", w.shape().to_string(),
            hessian.shape().to_string());
  check_config(config, w.dim(1));
  for (const float x : w.span()) KIT_CHECK(std::isfinite(x), "a weight is {}", x);
  for (const double x : hessian.span()) KIT_CHECK(std::isfinite(x), "a number of the hessian is {}", x);

  // The start is blind to H: with H from the beginning the fit ends twice as far away (README).
  Fit fit(w, config);
  for (std::int64_t m = 0; m < config.n_codebooks; ++m) {
    start(fit, m, rng);
    for (int round = 0; round < kStartRounds; ++round) improve(fit, m);
  }
  for (int round = 0; round < config.n_rounds; ++round) {
    for (std::int64_t m = 0; m < config.n_codebooks; ++m) improve(fit, m);
  }
  AdditiveQuantized q{config, w.dim(0), w.dim(1), {}, {}};
  q.codes.assign(fit.codes.span().begin(), fit.codes.span().end());
  for (std::int64_t i = 0; i < config.n_codebooks * fit.n_words; ++i) {
    for (std::int64_t d = 0; d < fit.dim; ++d)
      q.codebooks.push_back(fit.words(i / fit.n_words, d, i % fit.n_words));
  }
  return q;
}

void dequantize_additive(const AdditiveQuantized& q, kit::TensorView<float> w) {
  KIT_CHECK(w.shape() == (kit::Shape{q.rows, q.cols}), "weights [{}, {}] do not fit into {}", q.rows, q.cols,
            w.shape().to_string());
  check_config(q.config, q.cols);
  const std::int64_t dim = q.config.vector_dim;
  const std::int64_t n_codebooks = q.config.n_codebooks;
  const std::int64_t n_words = std::int64_t{1} << q.config.codebook_bits;
  KIT_CHECK(std::ssize(q.codebooks) == n_codebooks * n_words * dim &&
                std::ssize(q.codes) == w.size() / dim * n_codebooks,
            "{} numbers in codebooks and {} codes, want {} and {}", q.codebooks.size(), q.codes.size(),
            n_codebooks * n_words * dim, w.size() / dim * n_codebooks);
  for (const std::uint8_t code : q.codes) KIT_CHECK(code < n_words, "code {} of {} words", code, n_words);

  std::ranges::fill(w.span(), 0.0F);
  for (std::int64_t i = 0; i < std::ssize(q.codes); ++i) {
    const std::int64_t word = i % n_codebooks * n_words + q.codes[i];
    const std::span<float> out = w.span().subspan(i / n_codebooks * dim, dim);
    add_scaled(out, 1.0F, std::span(q.codebooks).subspan(word * dim, dim));
  }
}

}  // namespace lab04
