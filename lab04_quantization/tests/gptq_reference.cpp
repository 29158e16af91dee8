#include "gptq_reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "reference_quantizers.h"

namespace lab04_tests {
namespace {

using kit::Shape;
using kit::Tensor;
using kit::TensorView;
using lab04::GptqConfig;
using lab04::GptqResult;
using Feedback = GptqVariant::Feedback;
using Damping = GptqVariant::Damping;
using GridFrom = GptqVariant::GridFrom;
using Columns = GptqVariant::Columns;
using Matrix = Tensor<double>;

// Two correct implementations may differ where a weight lies within rounding of the middle between two codes;
// the rest of that row then goes another way. Measured over these tests: in double never in 1,360
// comparisons; in float, an honest choice too, in 67 of 5,100, and 98.3 % of the codes were equal at least.
// Each mistake below leaves less than half of them equal in the test that is made for it.
constexpr double kShareOfEqualCodes = 0.97;

/// Gauss-Jordan, without pivoting: a is positive definite.
Matrix inverse(Matrix a) {
  const std::int64_t n = a.dim(0);
  Matrix result({n, n});
  for (std::int64_t i = 0; i < n; ++i) result(i, i) = 1.0;
  for (std::int64_t j = 0; j < n; ++j) {
    const double pivot = a(j, j);
    for (double& x : a.row(j)) x /= pivot;
    for (double& x : result.row(j)) x /= pivot;
    for (std::int64_t i = 0; i < n; ++i) {
      const double factor = i == j ? 0.0 : a(i, j);
      if (factor == 0.0) continue;
      for (std::int64_t k = 0; k < n; ++k) {
        a(i, k) -= factor * a(j, k);
        result(i, k) -= factor * result(j, k);
      }
    }
  }
  return result;
}

/// Column after column is eliminated from a. Row j is a's row j just before its elimination, from the
/// diagonal on: sqrt(s(j, j)) times the Cholesky factor's row.
Matrix eliminated(Matrix a) {
  const std::int64_t n = a.dim(0);
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = j + 1; i < n; ++i) {
      const double factor = a(j, i) / a(j, j);
      for (std::int64_t k = i; k < n; ++k) a(i, k) -= factor * a(j, k);
    }
  }
  return a;
}

/// The inverse of H's Cholesky factor, transposed: upper triangular, but U U^T is H^-1, not U^T U.
Matrix inverse_of_factor(const Matrix& h) {
  const std::int64_t n = h.dim(0);
  const Matrix s = eliminated(h);
  Matrix u({n, n});
  for (std::int64_t j = 0; j < n;
       ++j) {  // column j of L^-1 by forward substitution; L(i, k) = s(k, i) / sqrt(s(k, k))
    for (std::int64_t i = j; i < n; ++i) {
      double sum = i == j ? 1.0 : 0.0;
      for (std::int64_t k = j; k < i; ++k) sum -= s(k, i) / std::sqrt(s(k, k)) * u(j, k);
      u(j, i) = sum / std::sqrt(s(i, i));
    }
  }
  return u;
}

/// b(j, k): what w_k loses for each unit of w_j - q_j.
Matrix feedback_of(const Matrix& h, Feedback feedback) {
  Matrix s(h.shape());
  if (feedback == Feedback::kNone) return s;
  if (feedback == Feedback::kCholeskyOfHessian) {
    s = eliminated(h);
  } else if (feedback == Feedback::kInverseOfFactor) {
    s = inverse_of_factor(h);
  } else if (feedback == Feedback::kInverseItself) {
    s = inverse(h);
  } else {
    s = eliminated(inverse(h));
  }
  for (std::int64_t j = 0; j < h.dim(0); ++j) {
    const double diagonal = s(j, j);
    for (double& x : s.row(j)) x /= feedback == Feedback::kNotDivided ? std::sqrt(diagonal) : diagonal;
  }
  return s;
}

/// H in the order of processing, damped.
Matrix prepared(TensorView<const double> hessian, std::span<const double> diagonal,
                std::span<const std::int32_t> order, double damping, Damping kind) {
  const double mean =
      std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / static_cast<double>(diagonal.size());
  Matrix h(hessian.shape());
  for (std::size_t j = 0; j < order.size(); ++j) {
    for (std::size_t k = 0; k < order.size(); ++k) h(j, k) = hessian(order[j], order[k]);
    const double own = diagonal[static_cast<std::size_t>(order[j])];
    const double unit = kind == Damping::kMean ? mean : kind == Damping::kOwnDiagonal ? own : 1.0;
    h(j, j) = own + (kind == Damping::kNone ? 0.0 : damping * unit);
  }
  return h;
}

/// The nearest point of the grid. A NaN, which only a mistake makes, becomes a code that does not exist.
int nearest_code(double w, double scale, int zero_point, const lab04::GroupConfig& grid) {
  const int largest = (1 << (grid.symmetric ? grid.bits - 1 : grid.bits)) - 1;
  const double code = std::nearbyint(w / scale) + zero_point;
  if (std::isnan(code)) return std::numeric_limits<int>::min();
  return static_cast<int>(std::clamp<double>(code, grid.symmetric ? -largest : 0, largest));
}

/// Scales and zero points of the columns [begin, end), one group, chosen from `w`.
void choose_grids(const Matrix& w, std::int64_t begin, std::int64_t end, const lab04::GroupConfig& grid,
                  GptqAnswer& answer) {
  Tensor<float> group({w.dim(0), end - begin});
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = begin; j < end; ++j) group(i, j - begin) = static_cast<float>(w(i, j));
  }
  const lab04::GroupQuantized q = reference_quantize_groups(group, {grid.bits, 0, grid.symmetric});
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    const auto row = static_cast<std::size_t>(i);
    for (std::int64_t j = begin; j < end; ++j) {
      answer.scales(i, j) = kit::to_float(q.scales[row]);
      answer.zero_points(i, j) = grid.symmetric ? 0 : q.zero_points[row];
    }
  }
}

/// Step 5 of the contract.
void quantize_columns(Matrix w, const Matrix& feedback, const GptqConfig& config, const GptqVariant& variant,
                      GptqAnswer& answer) {
  const std::int64_t cols = w.dim(1);
  const std::int64_t group_size = config.grid.group_size == 0 ? cols : config.grid.group_size;
  const Matrix original = w;
  Matrix at_begin_of_block = w;
  for (std::int64_t j = 0; j < cols; ++j) {
    if (j % config.block_size == 0) at_begin_of_block = w;
    const std::int64_t end_of_block = std::min(cols, (j / config.block_size + 1) * config.block_size);
    if (j % group_size == 0) {
      Matrix seen = w;
      if (variant.grid_from == GridFrom::kOriginal) seen = original;
      if (variant.grid_from == GridFrom::kBeginOfBlock) seen = at_begin_of_block;
      if (variant.grid_from == GridFrom::kWithoutPending) {
        for (std::int64_t i = 0; i < w.dim(0); ++i) {
          for (std::int64_t k = end_of_block; k < cols; ++k) seen(i, k) = at_begin_of_block(i, k);
        }
      }
      choose_grids(seen, j, std::min(cols, j + group_size), config.grid, answer);
    }
    const std::int64_t end = variant.feedback == Feedback::kOnlyInsideTheBlock ? end_of_block : cols;
    for (std::int64_t i = 0; i < w.dim(0); ++i) {
      const double scale = answer.scales(i, j);
      const int code = nearest_code(w(i, j), scale, answer.zero_points(i, j), config.grid);
      const double error = w(i, j) - scale * (code - answer.zero_points(i, j));
      answer.codes(i, j) = code;
      for (std::int64_t k = j + 1; k < end; ++k) w(i, k) -= error * feedback(j, k);
    }
  }
}

/// Where code, scale and zero point are the same. Scales may differ by one rounding to binary16.
double share_of_equal(const GptqAnswer& a, const GptqAnswer& b) {
  std::int64_t n_equal = 0;
  for (std::int64_t i = 0; i < a.codes.dim(0); ++i) {
    for (std::int64_t j = 0; j < a.codes.dim(1); ++j) {
      const bool same_scale = std::abs(a.scales(i, j) - b.scales(i, j)) <= 0x1p-10F * b.scales(i, j);
      n_equal +=
          a.codes(i, j) == b.codes(i, j) && a.zero_points(i, j) == b.zero_points(i, j) && same_scale ? 1 : 0;
    }
  }
  return static_cast<double>(n_equal) / static_cast<double>(a.codes.size());
}

const std::vector<GptqVariant>& known_mistakes() {
  static const std::vector<GptqVariant> mistakes = {
      {.cause = "round to nearest: the errors never reach a column that is still to come (no feedback, or "
                "feedback to the left)",
       .feedback = Feedback::kNone},
      {.cause = "errors that are not divided by U(j, j)", .feedback = Feedback::kNotDivided},
      {.cause = "feedback from the Cholesky factor of H instead of H^-1",
       .feedback = Feedback::kCholeskyOfHessian},
      {.cause =
           "feedback from the inverse of H's Cholesky factor, for which U U^T = H^-1; wanted is U^T U = H^-1",
       .feedback = Feedback::kInverseOfFactor},
      {.cause = "feedback from rows of H^-1 itself instead of its Cholesky factor: as if the columns to the "
                "left could still change",
       .feedback = Feedback::kInverseItself},
      {.cause = "blocks that keep their errors: columns behind a block never get their share",
       .feedback = Feedback::kOnlyInsideTheBlock},
      {.cause = "GPTQ without damping", .damping = Damping::kNone},
      {.cause = "damping that is not multiplied by the mean of H's diagonal", .damping = Damping::kAbsolute},
      {.cause = "damping by each column's own H(j, j) instead of the mean", .damping = Damping::kOwnDiagonal},
      {.cause = "stale scales: groups' grids chosen from the original weights, without the feedback so far "
                "(in the first block that is also what they were when the block began)",
       .grid_from = GridFrom::kOriginal},
      {.cause = "groups' grids chosen from the weights as they were when the block began",
       .grid_from = GridFrom::kBeginOfBlock},
      {.cause = "groups that reach beyond the block, and whose grids lack the updates that wait for the "
                "block's end",
       .grid_from = GridFrom::kWithoutPending},
      {.cause = "act_order that permutes H and leaves the weights where they are",
       .columns = Columns::kWeightsStay},
      {.cause = "act_order that permutes the weights and leaves H as it is",
       .columns = Columns::kHessianStays},
      {.cause = "dead columns that keep their weights", .dead_columns_kept = true},
  };
  return mistakes;
}

std::string likely_cause(const GptqAnswer& got, const GptqAnswer& expected, TensorView<const float> w,
                         TensorView<const double> hessian, const GptqConfig& config) {
  for (const GptqVariant& mistake : known_mistakes()) {
    const GptqAnswer wrong = reference_gptq(w, hessian, config, mistake);
    if (share_of_equal(wrong, expected) < kShareOfEqualCodes &&
        share_of_equal(got, wrong) >= kShareOfEqualCodes) {
      return "\nLikely cause: the codes match " + mistake.cause + ".";
    }
  }
  return "";
}

/// Why the order is not the expected one; empty when it is.
std::string problem_of_order(const std::vector<std::int32_t>& got,
                             const std::vector<std::int32_t>& expected) {
  if (got == expected) return "";
  std::vector<std::int32_t> inverted(expected.size());
  for (std::size_t j = 0; j < expected.size(); ++j) {
    inverted[static_cast<std::size_t>(expected[j])] = static_cast<std::int32_t>(j);
  }
  if (got == inverted) {
    return "the order is inverted: order[j] is the layer's column that is processed as number j. Likely "
           "cause: "
           "the inverse permutation is returned.";
  }
  const auto [a, b] = std::ranges::mismatch(got, expected);
  return fmt::format(
      "column {} of those processed is the layer's column {}, expected {}: falling H(j, j), equal "
      "ones in their order, dead columns counted as 1",
      a - got.begin(), *a, *b);
}

}  // namespace

Tensor<double> hessian_in_double(TensorView<const float> x) {
  Tensor<double> h({x.dim(1), x.dim(1)});
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    for (std::int64_t i = 0; i < x.dim(1); ++i) {
      for (std::int64_t j = 0; j < x.dim(1); ++j) h(i, j) += 2.0 * double{x(t, i)} * double{x(t, j)};
    }
  }
  return h;
}

Tensor<float> GptqAnswer::values() const {
  Tensor<float> result(codes.shape());
  for (std::int64_t i = 0; i < codes.dim(0); ++i) {
    for (std::int64_t j = 0; j < codes.dim(1); ++j) {
      result(i, order[static_cast<std::size_t>(j)]) =
          scales(i, j) * static_cast<float>(codes(i, j) - zero_points(i, j));
    }
  }
  return result;
}

GptqAnswer reference_gptq(TensorView<const float> w, TensorView<const double> hessian,
                          const GptqConfig& config, const GptqVariant& variant) {
  std::vector<double> diagonal;
  std::vector<bool> dead;
  for (std::int64_t j = 0; j < w.dim(1); ++j) {
    dead.push_back(hessian(j, j) == 0.0 && !variant.dead_columns_kept);
    diagonal.push_back(dead.back() ? 1.0 : hessian(j, j));
  }
  std::vector<std::int32_t> as_it_is(diagonal.size());
  std::iota(as_it_is.begin(), as_it_is.end(), 0);
  GptqAnswer answer{.codes = Tensor<int>(w.shape()),
                    .scales = Tensor<float>(w.shape()),
                    .zero_points = Tensor<int>(w.shape()),
                    .order = as_it_is};
  if (config.act_order) {
    std::ranges::stable_sort(answer.order, std::greater(),
                             [&](std::int32_t j) { return diagonal[static_cast<std::size_t>(j)]; });
  }
  Matrix weights(w.shape());
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      const std::vector<std::int32_t>& order =
          variant.columns == Columns::kWeightsStay ? as_it_is : answer.order;
      const std::int32_t from = order[static_cast<std::size_t>(j)];
      weights(i, j) = dead[static_cast<std::size_t>(from)] ? 0.0 : w(i, from);
    }
  }
  const Matrix h =
      prepared(hessian, diagonal, variant.columns == Columns::kHessianStays ? as_it_is : answer.order,
               config.damping, variant.damping);
  quantize_columns(weights, feedback_of(h, variant.feedback), config, variant, answer);
  return answer;
}

std::string problem_of(const GptqResult& got, const Shape& shape, const GptqConfig& config) {
  const lab04::GroupQuantized& q = got.weights;
  if (std::string problem = problem_of(q); !problem.empty()) return problem;
  if (Shape({q.rows, q.cols}) != shape) {
    return fmt::format("codes for [{}, {}], the weight is {}", q.rows, q.cols, shape.to_string());
  }
  if (q.config.bits != config.grid.bits || q.config.group_size != config.grid.group_size ||
      q.config.symmetric != config.grid.symmetric) {
    return "weights.config is not the grid that was asked for";
  }
  if (!config.act_order) return got.order.empty() ? "" : "order must be empty without act_order";
  std::vector<std::int32_t> sorted = got.order;
  std::ranges::sort(sorted);
  bool permutation = std::ssize(sorted) == q.cols;
  for (std::size_t j = 0; permutation && j < sorted.size(); ++j)
    permutation = sorted[j] == static_cast<std::int32_t>(j);
  return permutation ? "" : fmt::format("order is no permutation of {} columns", q.cols);
}

GptqAnswer decoded(const GptqResult& got) {
  const lab04::GroupQuantized& q = got.weights;
  const Shape shape{q.rows, q.cols};
  GptqAnswer answer{.codes = reference_codes(q),
                    .scales = Tensor<float>(shape),
                    .zero_points = Tensor<int>(shape),
                    .order = got.order};
  for (std::int64_t i = 0; i < q.rows; ++i) {
    for (std::int64_t j = 0; j < q.cols; ++j) {
      const std::int64_t group = q.config.group_size == 0 ? 0 : j / q.config.group_size;
      const auto g = static_cast<std::size_t>(i * q.n_groups() + group);
      answer.scales(i, j) = kit::to_float(q.scales[g]);
      answer.zero_points(i, j) = q.config.symmetric ? 0 : q.zero_points[g];
    }
  }
  if (answer.order.empty()) {
    answer.order.resize(static_cast<std::size_t>(q.cols));
    std::iota(answer.order.begin(), answer.order.end(), 0);
  }
  return answer;
}

double output_error(TensorView<const float> w, TensorView<const float> q, TensorView<const double> hessian) {
  double error = 0.0;
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    std::vector<double> difference;
    for (std::int64_t j = 0; j < w.dim(1); ++j) difference.push_back(double{w(i, j)} - double{q(i, j)});
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      const std::span<const double> row = hessian.row(j);
      error += difference[static_cast<std::size_t>(j)] *
               std::inner_product(row.begin(), row.end(), difference.begin(), 0.0);
    }
  }
  return error;
}

::testing::AssertionResult agrees(const GptqResult& got, TensorView<const float> w,
                                  TensorView<const double> hessian, const GptqConfig& config) {
  if (const std::string problem = problem_of(got, w.shape(), config); !problem.empty()) {
    return ::testing::AssertionFailure() << problem;
  }
  const GptqAnswer expected = reference_gptq(w, hessian, config);
  if (config.act_order) {
    if (const std::string problem = problem_of_order(got.order, expected.order); !problem.empty()) {
      return ::testing::AssertionFailure() << problem;
    }
  }
  const GptqAnswer answer = decoded(got);
  const double share = share_of_equal(answer, expected);
  if (share >= kShareOfEqualCodes) return ::testing::AssertionSuccess();
  const auto [a, b] = std::ranges::mismatch(answer.codes.span(), expected.codes.span());
  const std::int64_t at = a - answer.codes.span().begin();
  auto failure = ::testing::AssertionFailure();
  failure << fmt::format("{:.1f} % of the codes and scales are right, at least {:.1f} % must be.",
                         100.0 * share, 100.0 * kShareOfEqualCodes);
  if (a != answer.codes.span().end()) {
    failure << fmt::format(" The first wrong code is ({}, {}): {}, expected {}.", at / w.dim(1),
                           at % w.dim(1), *a, *b);
  }
  failure << fmt::format(" The output error is {:.4g}, expected {:.4g}.",
                         output_error(w, answer.values(), hessian),
                         output_error(w, expected.values(), hessian));
  return failure << likely_cause(answer, expected, w, hessian, config);
}

}  // namespace lab04_tests
