#include "lab04/gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "gptq_reference.h"
#include "kit/testing.h"
#include "reference_quantizers.h"

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::random_tensor;
using kit::testing::throws_error;
using lab04::GptqConfig;
using lab04::GptqResult;
using lab04::GroupConfig;
using lab04_tests::agrees;
using lab04_tests::decoded;
using lab04_tests::hessian_in_double;
using lab04_tests::output_error;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Problem {
  Tensor<float> w;         // [rows, cols]
  Tensor<double> hessian;  // [cols, cols]
};

struct Sizes {
  std::int64_t rows, cols;
  std::int64_t n_tokens = 0;  // 0: twice the columns
  double correlation = 0.8;   // of neighbouring inputs
  double spread = 1.0;        // standard deviation of log(size of an input)
};

/// Calibration inputs whose neighbours resemble each other, and whose sizes differ: what GPTQ lives on.
Tensor<float> random_inputs(const Sizes& s, kit::Rng& rng) {
  std::vector<double> sizes;
  for (std::int64_t j = 0; j < s.cols; ++j) sizes.push_back(std::exp(s.spread * rng.normal()));
  Tensor<float> x({s.n_tokens == 0 ? 2 * s.cols : s.n_tokens, s.cols});
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    double value = rng.normal();
    for (std::int64_t j = 0; j < s.cols; ++j) {
      x(t, j) = static_cast<float>(sizes[static_cast<std::size_t>(j)] * value);
      value = s.correlation * value + std::sqrt(1.0 - s.correlation * s.correlation) * rng.normal();
    }
  }
  return x;
}

Problem random_problem(const Sizes& s, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  Tensor<float> w = random_tensor({s.rows, s.cols}, rng);
  return {std::move(w), hessian_in_double(random_inputs(s, rng))};
}

void expect_agrees(const Problem& p, const GptqConfig& config) {
  SCOPED_TRACE(fmt::format("w {}, {} bits, group_size {}, {}, block_size {}{}", p.w.shape().to_string(),
                           config.grid.bits, config.grid.group_size,
                           config.grid.symmetric ? "symmetric" : "asymmetric", config.block_size,
                           config.act_order ? ", act_order" : ""));
  EXPECT_TRUE(agrees(lab04::gptq(p.w, p.hessian, config), p.w, p.hessian, config));
}

/// Where nothing is fed back the weights stay as they are, and the codes are those of round to nearest, bit
/// for bit. Only a quotient as near as a rounding to the middle between two codes may go either way.
void expect_round_to_nearest(const Problem& p, const GptqConfig& config) {
  const GptqResult got = lab04::gptq(p.w, p.hessian, config);
  ASSERT_EQ(lab04_tests::problem_of(got, p.w.shape(), config), "");
  const lab04_tests::GptqAnswer answer = decoded(got);
  const lab04::GroupQuantized nearest = lab04_tests::reference_quantize_groups(p.w, config.grid);
  const lab04_tests::GptqAnswer expected = decoded({nearest, {}});
  for (std::int64_t i = 0; i < p.w.dim(0); ++i) {
    for (std::int64_t j = 0; j < p.w.dim(1); ++j) {
      ASSERT_EQ(answer.scales(i, j), expected.scales(i, j)) << "the scale for w(" << i << ", " << j << ")";
      ASSERT_EQ(answer.zero_points(i, j), expected.zero_points(i, j));
      const float steps = p.w(i, j) / expected.scales(i, j);
      if (std::abs(steps - std::floor(steps) - 0.5F) < 1e-5F) continue;
      ASSERT_EQ(answer.codes(i, j), expected.codes(i, j))
          << "w(" << i << ", " << j << ") is " << p.w(i, j) << ", the scale " << expected.scales(i, j)
          << "; no column has to do with another here, so nothing may be fed back";
    }
  }
}

Tensor<double> diagonal_hessian(std::span<const double> diagonal) {
  const auto n = static_cast<std::int64_t>(diagonal.size());
  Tensor<double> h({n, n});
  for (std::int64_t j = 0; j < n; ++j) h(j, j) = diagonal[static_cast<std::size_t>(j)];
  return h;
}

/// The answer's codes for a weight of one row.
std::vector<int> codes_of_row(const GptqResult& got, const Tensor<float>& w, const GptqConfig& config) {
  const std::string problem = lab04_tests::problem_of(got, w.shape(), config);
  EXPECT_EQ(problem, "");
  if (!problem.empty()) return {};
  const Tensor<int> codes = lab04_tests::reference_codes(got.weights);
  return {codes.span().begin(), codes.span().end()};
}

Tensor<float> as_float(const Tensor<double>& x) {
  Tensor<float> result(x.shape());
  for (std::int64_t i = 0; i < x.size(); ++i) result.data()[i] = static_cast<float>(x.data()[i]);
  return result;
}

Tensor<float> times(const Tensor<double>& x, double factor) {
  Tensor<double> result = x;
  for (double& value : result.span()) value *= factor;
  return as_float(result);
}

/// H of these inputs, in one call.
Tensor<double> student_hessian(const Tensor<float>& x) {
  Tensor<double> h({x.dim(1), x.dim(1)});
  lab04::accumulate_hessian(x, h);
  return h;
}

// Sums of at most 1000 products of size 1, as floats: an element is at most 2000, in double exact to 1e-12.
// Who adds in float, against the contract but harmless, is off by 1e-3.
constexpr kit::Tolerance kHessianTolerance{4e-3, 1e-5};

TEST(Hessian, IsTwiceTheProductOfInputs) {
  kit::Rng rng = make_rng(4700);
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 33}, Shape{31, 31}, Shape{1000, 5}, Shape{33, 65}}) {
    SCOPED_TRACE("x " + shape.to_string());
    const Tensor<float> x = random_tensor(shape, rng);
    Tensor<float> transposed({x.dim(1), x.dim(0)});
    for (std::int64_t t = 0; t < x.dim(0); ++t) {
      for (std::int64_t j = 0; j < x.dim(1); ++j) transposed(j, t) = x(t, j);
    }
    const Tensor<double> expected = hessian_in_double(x);
    std::vector<kit::KnownMistake> mistakes;
    mistakes.push_back({"x^T x without the factor 2", times(expected, 0.5)});
    mistakes.push_back(
        {"the mean over tokens instead of the sum", times(expected, 1.0 / static_cast<double>(x.dim(0)))});
    if (x.dim(0) == x.dim(1))
      mistakes.push_back({"2 x x^T, products of tokens", as_float(hessian_in_double(transposed))});
    EXPECT_TRUE(matches(as_float(student_hessian(x)), as_float(expected), kHessianTolerance, mistakes));
  }
}

TEST(Hessian, AddsToWhatIsThere) {
  kit::Rng rng = make_rng(4701);
  const Tensor<float> first = random_tensor({31, 17}, rng);
  const Tensor<float> second = random_tensor({8, 17}, rng);
  const Tensor<double> only_second = hessian_in_double(second);
  Tensor<double> expected = hessian_in_double(first);
  for (std::int64_t i = 0; i < expected.size(); ++i) expected.data()[i] += only_second.data()[i];
  Tensor<double> h({17, 17});
  lab04::accumulate_hessian(first, h);
  lab04::accumulate_hessian(second, h);
  const std::vector<kit::KnownMistake> mistakes = {
      {"the last call's inputs alone: what was in h is overwritten", as_float(only_second)}};
  EXPECT_TRUE(matches(as_float(h), as_float(expected), kHessianTolerance, mistakes));
}

TEST(Hessian, RejectsBadInput) {
  const auto call = [](const Shape& x, const Shape& h) {
    return throws_error([&] {
      Tensor<double> hessian(h);
      lab04::accumulate_hessian(Tensor<float>(x), hessian);
    });
  };
  EXPECT_TRUE(call({4, 8}, {4, 4})) << "h is [in, in], not [n, n]";
  EXPECT_TRUE(call({4, 8}, {8, 7}));
  EXPECT_TRUE(call({8}, {8, 8})) << "x has two dimensions";
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Tensor<float> x({3, 5}, 1.0F);
    x(2, 4) = bad;
    EXPECT_TRUE(throws_error([&] { (void)student_hessian(x); })) << "an input is " << bad;
  }
}

// By hand. The scale is 1: 7 is the largest weight and the largest code. Column 0 is exact. 2.4 becomes 2, so
// 0.4 is missing, and column 2 makes up for it: 0.3 + 0.4 H(1, 2) / H(2, 2) = 0.68 becomes 1, where 0.3 alone
// becomes 0. With what is missing, d = (0.4, -0.7), the output error d H d^T is 0.236; with (0.4, 0.3) 0.956.
TEST(Gptq, NextColumnMakesUpForTheError) {
  Tensor<float> w({1, 3});
  const std::vector<float> weights = {7.0F, 2.4F, 0.3F};
  std::copy(weights.begin(), weights.end(), w.data());
  Tensor<double> h = diagonal_hessian(std::vector<double>{2.0, 2.0, 2.0});
  h(1, 2) = h(2, 1) = 1.9;
  const GptqConfig config{.grid = {.bits = 4, .group_size = 0}, .damping = 0.0};
  const std::vector<int> codes = codes_of_row(lab04::gptq(w, h, config), w, config);
  EXPECT_EQ(codes, (std::vector<int>{7, 2, 1}))
      << (codes == std::vector<int>{7, 2, 0}
              ? "Likely cause: no feedback, or feedback of the wrong sign: column 2 does not make up for "
                "column 1"
              : "2.4 becomes 2, so 0.3 becomes 0.3 + 0.4 * 1.9 / 2 = 0.68, and that 1");
}

TEST(Gptq, IdentityHessianGivesRoundToNearest) {
  kit::Rng rng = make_rng(4710);
  for (const GroupConfig& grid :
       {GroupConfig{4, 32, true}, GroupConfig{3, 0, true}, GroupConfig{4, 32, false}}) {
    const std::vector<double> ones(100, 1.0);
    expect_round_to_nearest({random_tensor({31, 100}, rng), diagonal_hessian(ones)}, {.grid = grid});
  }
}

TEST(Gptq, DiagonalHessianGivesRoundToNearest) {
  kit::Rng rng = make_rng(4711);
  std::vector<double> diagonal(65);
  for (double& x : diagonal) x = std::exp(3.0 * rng.normal());
  expect_round_to_nearest({random_tensor({33, 65}, rng), diagonal_hessian(diagonal)},
                          {.grid = {.bits = 4, .group_size = 16}});
}

TEST(Gptq, MatchesReference) {
  expect_agrees(random_problem({.rows = 64, .cols = 64}, 4720), {.grid = {.bits = 4, .group_size = 0}});
  expect_agrees(random_problem({.rows = 64, .cols = 96}, 4721), {.grid = {.bits = 4, .group_size = 32}});
}

TEST(Gptq, MatchesReferenceOnOddSizes) {
  expect_agrees(random_problem({.rows = 1, .cols = 1}, 4722), {.grid = {.bits = 4, .group_size = 0}});
  expect_agrees(random_problem({.rows = 1, .cols = 33}, 4723), {.grid = {.bits = 4, .group_size = 8}});
  expect_agrees(random_problem({.rows = 100, .cols = 31}, 4724), {.grid = {.bits = 4, .group_size = 10}});
  expect_agrees(random_problem({.rows = 33, .cols = 1}, 4725), {.grid = {.bits = 3, .group_size = 128}});
}

TEST(Gptq, LastGroupMayHoldOneColumn) {
  expect_agrees(random_problem({.rows = 65, .cols = 33}, 4726), {.grid = {.bits = 4, .group_size = 16}});
}

TEST(Gptq, MatchesReferenceForOtherBits) {
  for (const int bits : {2, 3, 5, 8}) {
    expect_agrees(random_problem({.rows = 50, .cols = 48}, 4730 + static_cast<std::uint64_t>(bits)),
                  {.grid = {.bits = bits, .group_size = 16}});
  }
}

TEST(Gptq, MatchesReferenceOnAsymmetricGrids) {
  Problem p = random_problem({.rows = 64, .cols = 72}, 4740);
  for (float& x : p.w.span()) x += 0.7F;  // so that zero points are not all in the middle
  expect_agrees(p, {.grid = {.bits = 4, .group_size = 24, .symmetric = false}});
  expect_agrees(p, {.grid = {.bits = 2, .group_size = 0, .symmetric = false}});
}

TEST(Gptq, GridsAreChosenWhenAGroupIsReached) {
  // Many small groups: the stronger the columns' correlation, the further a group's weights have moved.
  const Problem p = random_problem({.rows = 64, .cols = 96, .correlation = 0.95}, 4741);
  expect_agrees(p, {.grid = {.bits = 3, .group_size = 8}});
  expect_agrees(p, {.grid = {.bits = 3, .group_size = 8, .symmetric = false}});
}

// 160 columns: a block of 128 and a rest, and groups within, across, and as long as blocks.
TEST(Gptq, BlocksDoNotChangeTheResult) {
  const Problem p = random_problem({.rows = 48, .cols = 160}, 4742);
  for (const int block_size : {1, 7, 32, 128, 1000}) {
    expect_agrees(p, {.grid = {.bits = 3, .group_size = 32}, .block_size = block_size});
  }
}

TEST(Gptq, GroupsMayCrossBlocks) {
  const Problem p = random_problem({.rows = 48, .cols = 160, .correlation = 0.95}, 4743);
  expect_agrees(p, {.grid = {.bits = 3, .group_size = 64}, .block_size = 48});
  expect_agrees(p, {.grid = {.bits = 3, .group_size = 20}, .block_size = 32});
  expect_agrees(p, {.grid = {.bits = 3, .group_size = 0}, .block_size = 48});
}

TEST(Gptq, DampingIsAShareOfTheMeanDiagonal) {
  Problem p = random_problem({.rows = 64, .cols = 64}, 4744);
  // In other units: what is not relative to H shows.
  for (double& x : p.hessian.span()) x *= 1000.0;
  for (const double damping : {0.0, 0.1, 1.0}) {
    SCOPED_TRACE(fmt::format("damping {}", damping));
    expect_agrees(p, {.grid = {.bits = 3, .group_size = 16}, .damping = damping});
  }
}

/// gptq() of a singular H, which damping makes regular.
void expect_agrees_when_singular(const Problem& p, const GptqConfig& config) {
  std::optional<GptqResult> got;
  try {
    got = lab04::gptq(p.w, p.hessian, config);
  } catch (const kit::Error& error) {
    FAIL()
        << "H is singular, but H + damping * mean(diag H) is not. Likely cause: damping is missing, or comes "
           "after the Cholesky factor. gptq says: "
        << error.what();
  }
  EXPECT_TRUE(agrees(*got, p.w, p.hessian, config));
}

TEST(Gptq, DampingRescuesASingularHessian) {
  const GptqConfig config{.grid = {.bits = 4, .group_size = 16}};
  // Fewer calibration tokens than columns.
  expect_agrees_when_singular(random_problem({.rows = 64, .cols = 64, .n_tokens = 20}, 4745), config);
  // Columns that are copies of others.
  kit::Rng rng = make_rng(4746);
  Tensor<float> x = random_inputs({.rows = 0, .cols = 48}, rng);
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    for (std::int64_t j = 24; j < 48; ++j) x(t, j) = x(t, j - 24);
  }
  expect_agrees_when_singular({random_tensor({64, 48}, rng), hessian_in_double(x)}, config);
}

TEST(Gptq, DeadColumnsBecomeZero) {
  kit::Rng rng = make_rng(4747);
  Tensor<float> x = random_inputs({.rows = 0, .cols = 64}, rng);
  const std::vector<std::int64_t> dead = {0, 5, 17, 63};
  Tensor<float> w = random_tensor({40, 64}, rng);
  for (const std::int64_t j : dead) {
    for (std::int64_t t = 0; t < x.dim(0); ++t) x(t, j) = 0.0F;
    for (std::int64_t i = 0; i < w.dim(0); ++i) w(i, j) *= 5.0F;  // would widen the grid of its group
  }
  const Tensor<double> h = hessian_in_double(x);
  for (const double damping : {0.01, 0.0}) {
    for (const bool symmetric : {true, false}) {
      const GptqConfig config{.grid = {.bits = 4, .group_size = 16, .symmetric = symmetric},
                              .damping = damping};
      SCOPED_TRACE(fmt::format("damping {}, {}", damping, symmetric ? "symmetric" : "asymmetric"));
      std::optional<GptqResult> got;
      try {
        got = lab04::gptq(w, h, config);
      } catch (const kit::Error& error) {
        FAIL() << "Likely cause: H(j, j) of a dead column does not become 1. gptq says: " << error.what();
      }
      ASSERT_TRUE(agrees(*got, w, h, config));
      const Tensor<float> values = decoded(*got).values();
      for (const std::int64_t j : dead) {
        for (std::int64_t i = 0; i < w.dim(0); ++i)
          ASSERT_EQ(values(i, j), 0.0F) << "row " << i << ", column " << j;
      }
    }
  }
}

TEST(Gptq, ActOrderTakesLargeDiagonalsFirst) {
  Problem p = random_problem({.rows = 64, .cols = 72}, 4750);
  const GptqConfig config{.grid = {.bits = 4, .group_size = 24}, .act_order = true};
  expect_agrees(p, config);
  expect_agrees(
      p, {.grid = {.bits = 3, .group_size = 24, .symmetric = false}, .act_order = true, .block_size = 40});
  // Equal ones stay in their order, and dead ones count as 1.
  const std::vector<double> diagonal = {0.5, 3.0, 0.0, 3.0, 1.0, 8.0, 0.5, 1.0, 3.0};
  kit::Rng rng = make_rng(4751);
  const Tensor<float> w = random_tensor({3, 9}, rng);
  const GptqResult got =
      lab04::gptq(w, diagonal_hessian(diagonal), {.grid = {.bits = 4, .group_size = 4}, .act_order = true});
  EXPECT_EQ(got.order, (std::vector<std::int32_t>{5, 1, 3, 8, 2, 4, 7, 0, 6}));
}

TEST(Gptq, OrderIsEmptyWithoutActOrder) {
  const Problem p = random_problem({.rows = 2, .cols = 8}, 4752);
  EXPECT_TRUE(lab04::gptq(p.w, p.hessian, {.grid = {.bits = 4, .group_size = 4}}).order.empty());
}

/// GPTQ's output error as a share of round to nearest's: the mean over some problems.
double relative_error(const GptqConfig& config, const Sizes& sizes, std::uint64_t stream) {
  constexpr int kProblems = 4;
  double sum = 0.0;
  for (int i = 0; i < kProblems; ++i) {
    const Problem p = random_problem(sizes, stream + static_cast<std::uint64_t>(i));
    const GptqResult got = lab04::gptq(p.w, p.hessian, config);
    const std::string problem = lab04_tests::problem_of(got, p.w.shape(), config);
    EXPECT_EQ(problem, "");
    if (!problem.empty()) return kNan;
    const lab04::GroupQuantized nearest = lab04_tests::reference_quantize_groups(p.w, config.grid);
    sum += output_error(p.w, decoded(got).values(), p.hessian) /
           output_error(p.w, lab04_tests::reference_dequantize_groups(nearest), p.hessian);
  }
  return sum / kProblems;
}

// Measured over 100 seeds: 0.14 to 0.19.
TEST(Gptq, CorrelatedColumnsLoseLessThanByRoundToNearest) {
  const GptqConfig config{.grid = {.bits = 4, .group_size = 32}};
  EXPECT_LE(relative_error(config, {.rows = 32, .cols = 64, .correlation = 0.9, .spread = 0.0}, 4760), 0.4)
      << "the output error, as a share of round to nearest's";
}

// Measured over 100 seeds: 0.49 to 0.73.
TEST(Gptq, ActOrderHelpsWhenTheDiagonalIsSpread) {
  const Sizes sizes{.rows = 32, .cols = 96, .correlation = 0.8, .spread = 1.5};
  GptqConfig config{.grid = {.bits = 3, .group_size = 0}};
  const double in_order = relative_error(config, sizes, 4770);
  config.act_order = true;
  EXPECT_LE(relative_error(config, sizes, 4770), 0.9 * in_order)
      << "the output error, as a share of round to nearest's; in the columns' own order it is " << in_order;
}

TEST(Gptq, RejectsBadInput) {
  const Tensor<float> w({3, 4}, 0.5F);
  const Tensor<double> h = diagonal_hessian(std::vector<double>{1.0, 2.0, 3.0, 4.0});
  const GptqConfig good{.grid = {.bits = 4, .group_size = 2}};
  const auto call = [](const Tensor<float>& weight, const Tensor<double>& hessian, const GptqConfig& config) {
    return throws_error([&] { (void)lab04::gptq(weight, hessian, config); });
  };
  EXPECT_TRUE(call(w, Tensor<double>({3, 3}, 1.0), good)) << "H must be [cols, cols]";
  EXPECT_TRUE(call(w, Tensor<double>({4, 3}, 1.0), good));
  EXPECT_TRUE(call(Tensor<float>({4}), h, good)) << "w has two dimensions";
  for (const float bad : {kNan, kInfinity}) {
    Tensor<float> bad_w = w;
    bad_w(1, 2) = bad;
    EXPECT_TRUE(call(bad_w, h, good)) << "a weight is " << bad;
    Tensor<double> bad_h = h;
    bad_h(1, 2) = bad_h(2, 1) = double{bad};
    EXPECT_TRUE(call(w, bad_h, good)) << "H(1, 2) is " << bad;
  }
  Tensor<double> negative = h;
  negative(3, 3) = -1.0;
  EXPECT_TRUE(call(w, negative, good)) << "a diagonal element is negative";
  const auto with = [&](auto change) {
    GptqConfig config = good;
    change(config);
    return call(w, h, config);
  };
  EXPECT_TRUE(with([](GptqConfig& config) { config.damping = -0.01; }));
  EXPECT_TRUE(with([](GptqConfig& config) { config.block_size = 0; }));
  EXPECT_TRUE(with([](GptqConfig& config) { config.grid.group_size = -1; }));
  EXPECT_TRUE(with([](GptqConfig& config) { config.grid.bits = 1; }));
  EXPECT_TRUE(with([](GptqConfig& config) { config.grid.bits = 9; }));
}

TEST(Gptq, NamesTheColumnWhereTheHessianIsNotPositiveDefinite) {
  Tensor<double> h = diagonal_hessian(std::vector<double>(20, 1.0));
  h(7, 17) = h(17, 7) = 2.0;  // 1 * 1 - 2 * 2 < 0: wherever one begins, one of the two shows
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab04::gptq(Tensor<float>({2, 20}, 0.5F), h, {.grid = {.bits = 4, .group_size = 0}});
      },
      "7"));
}

}  // namespace
