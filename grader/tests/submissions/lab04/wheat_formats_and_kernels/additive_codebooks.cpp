#include "lab04/additive_codebooks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kit/parallel.h"

namespace lab04 {

namespace {

using Vectors = kit::Tensor<float>;  // [n, dim]

constexpr int kKMeansRounds = 8;
/// Added to the diagonal of a codeword's least-squares problem, times its mean: inputs that never occur leave
/// it without a unique solution.
constexpr double kRidge = 1e-6;

/// A fit under way. The loss is trace(E H E^T), E = W - Q. Adding delta to the vector of Q in row o, group g
/// changes it by delta H_gg delta^T - 2 delta . slope(o, g), slope = E H: so that is kept up to date, and
/// with H's diagonal blocks it is all one needs to judge a change.
struct Fit {
  AdditiveConfig config;
  std::int64_t dim, n_groups, n_words;
  kit::Tensor<float> hessian;       // [cols, cols]
  kit::Tensor<float> slope;         // [rows, cols]
  kit::Tensor<float> words;         // [n_codebooks, dim, n_words]: neighbours are compared at once
  kit::Tensor<std::uint8_t> codes;  // [rows, n_groups, n_codebooks]

  /// Adds delta to a vector of Q.
  void move(std::int64_t o, std::int64_t g, std::span<const float> delta) {
    const std::int64_t cols = slope.dim(1);
    float* row = slope.row(o).data();
    for (std::int64_t d = 0; d < dim; ++d) {
      const float* h = hessian.row(g * dim + d).data();
#pragma omp simd
      for (std::int64_t j = 0; j < cols; ++j) row[j] -= delta[d] * h[j];
    }
  }
};

/// The codeword with the smallest energies[k] - words[k] . target. words: [dim, n_words], scores: scratch of
/// n_words.
std::uint8_t best_word(kit::TensorView<const float> words, std::span<const float> energies,
                       std::span<const float> target, std::span<float> scores) {
  const auto n_words = std::ssize(scores);
  std::ranges::copy(energies, scores.begin());
  for (std::int64_t d = 0; d < words.dim(0); ++d) {
    const float* word = words.row(d).data();
#pragma omp simd
    for (std::int64_t k = 0; k < n_words; ++k) scores[k] -= target[d] * word[k];
  }
  return static_cast<std::uint8_t>(std::ranges::min_element(scores) - scores.begin());
}

/// One codebook, as a view: [dim, n_words].
kit::TensorView<float> codebook(Fit& fit, std::int64_t m) {
  return {&fit.words(m, 0, 0), {fit.dim, fit.n_words}};
}

/// Codebook m becomes the centres of clusters of the vectors, and their codes its nearest.
void k_means(Fit& fit, std::int64_t m, const Vectors& vectors, kit::Rng& rng) {
  const std::int64_t n = vectors.dim(0);
  const kit::TensorView<float> words = codebook(fit, m);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t k = 0; k < fit.n_words; ++k) {
    if (k < n) std::swap(order[k], order[k + rng.below(static_cast<std::uint32_t>(n - k))]);
    for (std::int64_t d = 0; d < fit.dim; ++d) words(d, k) = vectors(order[k % n], d);
  }
  for (int round = 0; round < kKMeansRounds; ++round) {
    std::vector<float> energies(static_cast<std::size_t>(fit.n_words), 0.0F);
    for (std::int64_t d = 0; d < fit.dim; ++d) {
      for (std::int64_t k = 0; k < fit.n_words; ++k) energies[k] += 0.5F * words(d, k) * words(d, k);
    }
    kit::parallel_for(n, 256, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scores(energies.size());
      for (std::int64_t i = begin; i < end; ++i)
        fit.codes.data()[i * fit.config.n_codebooks + m] = best_word(words, energies, vectors.row(i), scores);
    });
    kit::Tensor<float> sums({fit.dim, fit.n_words});
    std::vector<float> counts(static_cast<std::size_t>(fit.n_words), 0.0F);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::uint8_t k = fit.codes.data()[i * fit.config.n_codebooks + m];
      counts[k] += 1.0F;
      for (std::int64_t d = 0; d < fit.dim; ++d) sums(d, k) += vectors(i, d);
    }
    for (std::int64_t k = 0; k < fit.n_words; ++k) {
      for (std::int64_t d = 0; d < fit.dim && counts[k] > 0.0F; ++d) words(d, k) = sums(d, k) / counts[k];
    }
  }
}

/// Each code in turn becomes the best for all others as they are.
void choose_codes(Fit& fit) {
  // words H_gg words^T / 2, the same for all rows
  kit::Tensor<float> energies({fit.n_groups, fit.config.n_codebooks, fit.n_words});
  kit::parallel_for(fit.n_groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      for (std::int64_t m = 0; m < fit.config.n_codebooks; ++m) {
        for (std::int64_t d = 0; d < fit.dim; ++d) {
          for (std::int64_t e = 0; e < fit.dim; ++e) {
            const float h = 0.5F * fit.hessian(g * fit.dim + d, g * fit.dim + e);
#pragma omp simd
            for (std::int64_t k = 0; k < fit.n_words; ++k)
              energies(g, m, k) += h * fit.words(m, d, k) * fit.words(m, e, k);
          }
        }
      }
    }
  });
  kit::parallel_for(fit.slope.dim(0), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores(static_cast<std::size_t>(fit.n_words));
    std::vector<float> target(static_cast<std::size_t>(fit.dim));
    for (std::int64_t o = begin; o < end; ++o) {
      for (std::int64_t g = 0; g < fit.n_groups; ++g) {
        for (std::int64_t m = 0; m < fit.config.n_codebooks; ++m) {
          // Without the present word the slope would be steeper by H_gg times it.
          std::uint8_t& code = fit.codes(o, g, m);
          for (std::int64_t d = 0; d < fit.dim; ++d) {
            target[d] = fit.slope(o, g * fit.dim + d);
            for (std::int64_t e = 0; e < fit.dim; ++e)
              target[d] += fit.hessian(g * fit.dim + d, g * fit.dim + e) * fit.words(m, e, code);
          }
          const std::uint8_t best = best_word(codebook(fit, m), energies.row(g, m), target, scores);
          if (best == code) continue;
          for (std::int64_t d = 0; d < fit.dim; ++d)
            target[d] = fit.words(m, d, best) - fit.words(m, d, code);
          code = best;
          fit.move(o, g, target);
        }
      }
    }
  });
}

/// Solves a x = b by Cholesky, x in place of b; a: [n, n], positive definite, is overwritten.
void solve(kit::TensorView<double> a, std::span<double> b) {
  const std::int64_t n = a.dim(0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      for (std::int64_t k = 0; k < j; ++k) a(i, j) -= a(i, k) * a(j, k);
      a(i, j) = i == j ? std::sqrt(a(i, i)) : a(i, j) / a(j, j);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < i; ++k) b[i] -= a(i, k) * b[k];
    b[i] /= a(i, i);
  }
  for (std::int64_t i = n - 1; i >= 0; --i) {
    for (std::int64_t k = i + 1; k < n; ++k) b[i] -= a(k, i) * b[k];
    b[i] /= a(i, i);
  }
}

struct Place {
  std::int64_t o, g;
};

/// Codeword k of codebook m becomes the best for all others and all codes as they are.
void update_word(Fit& fit, std::int64_t m, std::int64_t k, std::span<const Place> places) {
  kit::Tensor<double> a({fit.dim, fit.dim});
  std::vector<double> b(static_cast<std::size_t>(fit.dim), 0.0);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Place& p = places[i];
    std::size_t begin = i;
    while (begin > 0 && places[begin - 1].o == p.o) --begin;
    for (std::size_t n = begin; n < places.size() && places[n].o == p.o; ++n) {
      const Place& other = places[n];
      for (std::int64_t d = 0; d < fit.dim; ++d) {
        for (std::int64_t e = 0; e < fit.dim; ++e)
          a(d, e) += fit.hessian(p.g * fit.dim + d, other.g * fit.dim + e);
      }
    }
    for (std::int64_t d = 0; d < fit.dim; ++d) b[d] += fit.slope(p.o, p.g * fit.dim + d);
  }
  double mean = 0.0;
  for (std::int64_t d = 0; d < fit.dim; ++d) mean += a(d, d) / static_cast<double>(fit.dim);
  if (!(mean > 0.0)) return;
  for (std::int64_t d = 0; d < fit.dim; ++d) a(d, d) += kRidge * mean;
  solve(a, b);
  const std::vector<float> delta(b.begin(), b.end());
  for (std::int64_t d = 0; d < fit.dim; ++d) fit.words(m, d, k) += delta[d];
  for (const Place& p : places) fit.move(p.o, p.g, delta);
}

void update_codebooks(Fit& fit) {
  for (std::int64_t m = 0; m < fit.config.n_codebooks; ++m) {
    std::vector<std::vector<Place>> places(static_cast<std::size_t>(fit.n_words));
    for (std::int64_t o = 0; o < fit.codes.dim(0); ++o) {
      for (std::int64_t g = 0; g < fit.n_groups; ++g) places[fit.codes(o, g, m)].push_back({o, g});
    }
    for (std::int64_t k = 0; k < fit.n_words; ++k) update_word(fit, m, k, places[k]);
  }
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

  Fit fit;
  fit.config = config;
  fit.dim = config.vector_dim;
  fit.n_groups = w.dim(1) / fit.dim;
  fit.n_words = std::int64_t{1} << config.codebook_bits;
  fit.hessian = kit::Tensor<float>(hessian.shape());
  std::ranges::transform(hessian.span(), fit.hessian.data(), [](double h) { return static_cast<float>(h); });
  fit.slope = kit::Tensor<float>(w.shape());
  fit.words = kit::Tensor<float>({config.n_codebooks, fit.dim, fit.n_words});
  fit.codes = kit::Tensor<std::uint8_t>({w.dim(0), fit.n_groups, config.n_codebooks});

  Vectors rest({w.dim(0) * fit.n_groups, fit.dim});
  std::ranges::copy(w.span(), rest.data());
  for (std::int64_t m = 0; m < config.n_codebooks; ++m) {
    k_means(fit, m, rest, rng);
    for (std::int64_t i = 0; i < rest.dim(0); ++i) {
      for (std::int64_t d = 0; d < fit.dim; ++d)
        rest(i, d) -= fit.words(m, d, fit.codes.data()[i * config.n_codebooks + m]);
    }
  }
  for (std::int64_t i = 0; i < rest.dim(0); ++i) {
    for (std::int64_t d = 0; d < fit.dim; ++d) rest(i, d) = -rest(i, d);
    fit.move(i / fit.n_groups, i % fit.n_groups, rest.row(i));
  }
  for (int round = 0; round < config.n_rounds; ++round) {
    choose_codes(fit);
    update_codebooks(fit);
  }
  AdditiveQuantized q;
  q.config = config;
  q.rows = w.dim(0);
  q.cols = w.dim(1);
  q.codes.assign(fit.codes.span().begin(), fit.codes.span().end());
  for (std::int64_t m = 0; m < config.n_codebooks; ++m) {
    for (std::int64_t k = 0; k < fit.n_words; ++k) {
      for (std::int64_t d = 0; d < fit.dim; ++d) q.codebooks.push_back(fit.words(m, d, k));
    }
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
  for (std::int64_t i = 0; i < w.size() / dim; ++i) {
    for (std::int64_t m = 0; m < q.config.n_codebooks; ++m) {
      const std::int64_t word = m * n_words + q.codes[i * q.config.n_codebooks + m];
      for (std::int64_t d = 0; d < dim; ++d) w.data()[i * dim + d] += q.codebooks[word * dim + d];
    }
  }
}

}  // namespace lab04
