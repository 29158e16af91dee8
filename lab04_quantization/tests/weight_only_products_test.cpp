#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kit/testing.h"
#include "lab04/quantized_products.h"
#include "reference_quantizers.h"
#include "target_model.h"

namespace {

using kit::KnownMistake;
using kit::Tensor;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::random_tensor;
using kit::testing::throws_error;
using lab04::GroupQuantized;
using lab04_tests::Int8Matrix;
using lab04_tests::reference_codes;
using lab04_tests::reference_quantize_groups;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// y[row] = the sum over columns of weight(row, column) * x[column], in double.
using Weight = std::function<double(std::int64_t row, std::int64_t column)>;
Tensor<float> product(std::int64_t rows, std::span<const float> x, const Weight& weight) {
  Tensor<float> y({rows});
  for (std::int64_t r = 0; r < rows; ++r) {
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (const double w = weight(r, static_cast<std::int64_t>(i)); w != 0.0) sum += w * double{x[i]};
    }
    y(r) = static_cast<float>(sum);
  }
  return y;
}

/// A float sum of n products, in whatever order, is off by at most n + 1 roundings of 2^-24 of the sum of
/// their absolute values; `largest` bounds |code| * scale. Codes may be counted from the bottom of the grid,
/// so that is twice as much as the weights themselves, and half of the roundings go the other way.
double error_bound(std::span<const float> x, double largest) {
  double sum = 0.0;
  for (const float v : x) sum += std::abs(double{v});
  // And x may be rounded to 16 bits: each input by half a step, of which its block's largest has 32,767.
  constexpr std::size_t kBlock = 128;
  double rounding = 0.0;
  for (std::size_t begin = 0; begin < x.size(); begin += kBlock) {
    const std::span<const float> block = x.subspan(begin, std::min(kBlock, x.size() - begin));
    double most = 0.0;
    for (const float v : block) most = std::max(most, std::abs(double{v}));
    rounding += static_cast<double>(block.size()) * most / (2.0 * 32767.0);
  }
  return largest * ((static_cast<double>(x.size()) + 1.0) * 0x1p-24 * sum + rounding);
}

// --- W8A16

struct Int8Problem {
  Int8Matrix w;
  Tensor<float> x;
};

Int8Problem int8_problem(std::int64_t rows, std::int64_t cols, kit::Rng& rng) {
  Int8Problem p{{Tensor<std::int8_t>({rows, cols}), {}}, random_tensor({cols}, rng)};
  for (std::int8_t& code : p.w.codes.span()) {
    code = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
  }
  // Other scales in every row, and an end that shows when it is missing.
  for (std::int64_t r = 0; r < rows; ++r) p.w.scales.push_back(rng.uniform(0.001F, 0.01F));
  for (std::int64_t r = 0; r < rows; ++r) p.w.codes(r, cols - 1) = r % 2 == 0 ? 101 : -113;
  p.x(cols - 1) = 3.0F;
  return p;
}

std::vector<KnownMistake> int8_mistakes(const Int8Problem& p) {
  const std::int64_t rows = p.w.codes.dim(0);
  const std::int64_t cols = p.w.codes.dim(1);
  const auto variant = [&](const Weight& weight) { return product(rows, p.x.span(), weight); };
  const auto scale = [&](std::int64_t r) { return double{p.w.scales[static_cast<std::size_t>(r)]}; };
  std::vector<KnownMistake> mistakes = {
      {"sums without their scales",
       variant([&](std::int64_t r, std::int64_t i) { return double(p.w.codes(r, i)); })},
      {"the scale of the first row for all rows",
       variant([&](std::int64_t r, std::int64_t i) { return p.w.codes(r, i) * scale(0); })},
      {"codes read as unsigned bytes", variant([&](std::int64_t r, std::int64_t i) {
         return static_cast<std::uint8_t>(p.w.codes(r, i)) * scale(r);
       })},
  };
  for (const int step : {2, 4, 8, 16, 32, 64}) {
    mistakes.push_back({fmt::format("the columns left out that do not fill {}", step),
                        variant([&](std::int64_t r, std::int64_t i) {
                          return i < cols / step * step ? p.w.codes(r, i) * scale(r) : 0.0;
                        })});
  }
  return mistakes;
}

void expect_int8_product(const Int8Problem& p) {
  const std::int64_t rows = p.w.codes.dim(0);
  SCOPED_TRACE(fmt::format("w [{}, {}]", rows, p.w.codes.dim(1)));
  const auto expected = product(rows, p.x.span(), [&](std::int64_t r, std::int64_t i) {
    return double(p.w.codes(r, i)) * double{p.w.scales[static_cast<std::size_t>(r)]};
  });
  Tensor<float> y = kit::testing::nan_tensor({rows});
  lab04::matvec_w8a16(p.w.codes, p.w.scales, p.x.span(), y.span());
  const double largest = 127.0 * double{*std::max_element(p.w.scales.begin(), p.w.scales.end())};
  EXPECT_TRUE(matches(y, expected, {error_bound(p.x.span(), largest), 0x1p-22}, int8_mistakes(p)));
}

TEST(MatvecW8A16, MatchesDoubleReference) {
  kit::Rng rng = make_rng(600);
  expect_int8_product(int8_problem(64, 256, rng));
  expect_int8_product(int8_problem(256, 64, rng));
}

TEST(MatvecW8A16, MatchesOnOddSizes) {
  kit::Rng rng = make_rng(601);
  for (const auto& [rows, cols] : {std::pair{1, 1}, {2, 3}, {3, 31}, {5, 33}, {31, 1}, {7, 65}, {9, 1000}}) {
    expect_int8_product(int8_problem(rows, cols, rng));
  }
}

TEST(MatvecW8A16, MatchesOnTheTargetsWeights) {
  kit::Rng rng = make_rng(602);
  const auto weights = lab04_tests::target_weights();
  for (const auto* w : {&weights->layers[1].wk, &weights->layers[2].w_down}) {
    Int8Problem p{lab04_tests::reference_int8_rows(*w), random_tensor({w->dim(1)}, rng)};
    expect_int8_product(p);
  }
}

TEST(MatvecW8A16, RejectsShapesThatDisagree) {
  const Tensor<std::int8_t> w({3, 4});
  std::vector<float> three(3, 1.0F);
  std::vector<float> four(4, 1.0F);
  std::vector<float> y(3);
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w8a16(w, three, three, y); }));
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w8a16(w, four, four, y); }));
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w8a16(w, three, four, four); }));
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w8a16(Tensor<std::int8_t>({12}), three, four, y); }));
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w8a16(w, std::span(three).first(1), four, y); }))
      << "one scale for three rows";
}

// --- W4A16

GroupQuantized int4_problem(std::int64_t rows, std::int64_t cols, int group_size, bool symmetric,
                            kit::Rng& rng) {
  Tensor<float> w = random_tensor({rows, cols}, rng);
  // Neighbouring groups differ in size, asymmetric ones are off centre, and the last column is large.
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < cols; ++i) {
      const std::int64_t group = group_size == 0 ? 0 : i / group_size;
      w(r, i) = (w(r, i) + (symmetric ? 0.0F : 1.0F)) * static_cast<float>(1 + (r + 2 * group) % 5);
    }
    w(r, cols - 1) *= w(r, cols - 1) * w(r, cols - 1) < 1.0F ? 3.0F : 1.0F;
  }
  return reference_quantize_groups(w, {.bits = 4, .group_size = group_size, .symmetric = symmetric});
}

/// What a variant makes of a quantized weight: code, scale and zero point at (row, column).
struct Int4View {
  const GroupQuantized& q;
  Tensor<int> codes = reference_codes(q);

  std::int64_t group(std::int64_t i) const { return q.config.group_size == 0 ? 0 : i / q.config.group_size; }
  double scale_of(std::int64_t r, std::int64_t g) const {
    return double{kit::to_float(q.scales[static_cast<std::size_t>(r * q.n_groups() + g)])};
  }
  int zero_point(std::int64_t r, std::int64_t g) const {
    return q.config.symmetric ? 0 : q.zero_points[static_cast<std::size_t>(r * q.n_groups() + g)];
  }
  int nibble(std::int64_t r, std::int64_t i) const {
    const int byte = q.codes[static_cast<std::size_t>(r * q.row_bytes() + i / 2)];
    return i % 2 == 0 ? byte & 15 : byte >> 4;
  }
  int as_code(int nibble) const { return q.config.symmetric && nibble >= 8 ? nibble - 16 : nibble; }
  /// With the code of another place and the scale and zero point of another group.
  double weight(std::int64_t r, std::int64_t i, std::int64_t g) const {
    return scale_of(r, g) * (codes(r, i) - zero_point(r, g));
  }
};

std::vector<KnownMistake> int4_mistakes(const GroupQuantized& q, std::span<const float> x) {
  const Int4View v{q};
  const std::int64_t last_group = q.n_groups() - 1;
  const auto variant = [&](const Weight& weight) { return product(q.rows, x, weight); };
  std::vector<KnownMistake> mistakes = {
      {"the two codes of a byte exchanged (the first is the low half)",
       variant([&](std::int64_t r, std::int64_t i) {
         const std::int64_t g = v.group(i);
         return v.scale_of(r, g) * (v.as_code(v.nibble(r, i ^ 1)) - v.zero_point(r, g));
       })},
      {"the last column of an odd number of columns left out", variant([&](std::int64_t r, std::int64_t i) {
         return i < q.cols / 2 * 2 ? v.weight(r, i, v.group(i)) : 0.0;
       })},
      {"the scale of the first group for the whole row",
       variant([&](std::int64_t r, std::int64_t i) { return v.weight(r, i, 0); })},
      {"the scale of the next group at a group's last element", variant([&](std::int64_t r, std::int64_t i) {
         return v.weight(r, i, std::min(v.group(i + 1), last_group));
       })},
      {"the scale of the group before at a group's first element",
       variant([&](std::int64_t r, std::int64_t i) {
         return v.weight(r, i, v.group(std::max<std::int64_t>(i - 1, 0)));
       })},
      {"rows packed without gaps: each begins in a byte of its own",
       variant([&](std::int64_t r, std::int64_t i) {
         const std::int64_t at = r * q.cols + i;
         const int byte = q.codes[static_cast<std::size_t>(at / 2)];
         const std::int64_t g = v.group(i);
         return v.scale_of(r, g) * (v.as_code(at % 2 == 0 ? byte & 15 : byte >> 4) - v.zero_point(r, g));
       })},
  };
  if (q.config.symmetric) {
    mistakes.push_back(
        {"codes without their sign: two's complement in 4 bits", variant([&](std::int64_t r, std::int64_t i) {
           return v.scale_of(r, v.group(i)) * v.nibble(r, i);
         })});
    mistakes.push_back(
        {"codes read as code + 8: they are two's complement", variant([&](std::int64_t r, std::int64_t i) {
           return v.scale_of(r, v.group(i)) * (v.nibble(r, i) - 8);
         })});
  } else {
    mistakes.push_back({"zero points ignored", variant([&](std::int64_t r, std::int64_t i) {
                          return v.scale_of(r, v.group(i)) * v.codes(r, i);
                        })});
    mistakes.push_back({"zero points that are always 8", variant([&](std::int64_t r, std::int64_t i) {
                          return v.scale_of(r, v.group(i)) * (v.codes(r, i) - 8);
                        })});
  }
  return mistakes;
}

void expect_int4_product(const GroupQuantized& q, std::span<const float> x) {
  SCOPED_TRACE(fmt::format("w [{}, {}] in {} groups of {}", q.rows, q.cols,
                           q.config.symmetric ? "symmetric" : "asymmetric", q.config.group_size));
  const Int4View v{q};
  const auto expected =
      product(q.rows, x, [&](std::int64_t r, std::int64_t i) { return v.weight(r, i, v.group(i)); });
  Tensor<float> y = kit::testing::nan_tensor({q.rows});
  lab04::matvec_w4a16(q, x, y.span());
  float largest = 0.0F;
  for (const kit::Half scale : q.scales) largest = std::max(largest, 15.0F * kit::to_float(scale));
  EXPECT_TRUE(matches(y, expected, {error_bound(x, largest), 0x1p-22}, int4_mistakes(q, x)));
}

void expect_int4_products(bool symmetric, std::initializer_list<int> group_sizes,
                          std::initializer_list<int> cols, std::uint64_t stream) {
  kit::Rng rng = make_rng(stream);
  for (const int group_size : group_sizes) {
    for (const int n : cols) {
      const GroupQuantized q = int4_problem(5 + n % 7, n, group_size, symmetric, rng);
      Tensor<float> x = random_tensor({n}, rng);
      x(n - 1) = 3.0F;
      expect_int4_product(q, x.span());
    }
  }
}

TEST(MatvecW4A16, MatchesDoubleReference) {
  expect_int4_products(true, {32, 64, 128, 256}, {256, 512}, 610);
}

TEST(MatvecW4A16, SubtractsZeroPoints) {
  expect_int4_products(false, {32, 64, 128, 0}, {256, 512}, 611);
}

TEST(MatvecW4A16, LastGroupMayBeShorter) {
  expect_int4_products(true, {32, 64, 128}, {136, 200, 1000}, 612);
  expect_int4_products(false, {32, 64, 128}, {136, 200, 1000}, 613);
}

TEST(MatvecW4A16, OneScaleForARow) {
  expect_int4_products(true, {0, 2000}, {1, 2, 64, 130, 1000}, 614);
}

TEST(MatvecW4A16, OddGroupsEndWithinAByte) {
  expect_int4_products(true, {1, 7, 33}, {28, 100, 330}, 615);
  expect_int4_products(false, {1, 7, 33}, {28, 100, 330}, 616);
}

TEST(MatvecW4A16, OddRowsEndWithinAByte) {
  expect_int4_products(true, {0, 7, 32, 128}, {1, 31, 33, 129, 257, 385}, 617);
  expect_int4_products(false, {0, 7, 32, 128}, {1, 31, 33, 129, 257, 385}, 618);
}

TEST(MatvecW4A16, EachColumnIsItsOwnCode) {
  // x = 1 in one place gives one column, exactly: 4 bits of code times 11 bits of scale.
  kit::Rng rng = make_rng(619);
  for (const bool symmetric : {true, false}) {
    const GroupQuantized q = int4_problem(6, 37, 16, symmetric, rng);
    const Tensor<float> w = lab04_tests::reference_dequantize_groups(q);
    for (std::int64_t i = 0; i < q.cols; ++i) {
      std::vector<float> x(static_cast<std::size_t>(q.cols), 0.0F);
      x[static_cast<std::size_t>(i)] = 1.0F;
      std::vector<float> y(6, kNan);
      lab04::matvec_w4a16(q, x, y);
      for (std::int64_t r = 0; r < q.rows; ++r) {
        ASSERT_EQ(y[static_cast<std::size_t>(r)], w(r, i)) << "row " << r << ", column " << i;
      }
    }
  }
}

TEST(MatvecW4A16, MatchesOnTheTargetsWeights) {
  kit::Rng rng = make_rng(620);
  const auto weights = lab04_tests::target_weights();
  for (const auto* w : {&weights->layers[0].wq, &weights->layers[3].w_down}) {
    for (const bool symmetric : {true, false}) {
      const GroupQuantized q =
          reference_quantize_groups(*w, {.bits = 4, .group_size = 128, .symmetric = symmetric});
      expect_int4_product(q, random_tensor({w->dim(1)}, rng).span());
    }
  }
}

TEST(MatvecW4A16, RejectsOtherBits) {
  kit::Rng rng = make_rng(621);
  const Tensor<float> w = random_tensor({3, 16}, rng);
  std::vector<float> x(16, 1.0F);
  std::vector<float> y(3);
  for (const int bits : {2, 3, 8}) {
    const GroupQuantized q = reference_quantize_groups(w, {.bits = bits, .group_size = 8, .symmetric = true});
    EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(q, x, y); })) << bits << " bits";
  }
}

TEST(MatvecW4A16, RejectsPartsThatDoNotFit) {
  kit::Rng rng = make_rng(622);
  const GroupQuantized good = int4_problem(3, 20, 8, false, rng);
  std::vector<float> x(20, 1.0F);
  std::vector<float> y(3);
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(good, std::span(x).first(19), y); }));
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(good, x, std::span(y).first(2)); }));
  GroupQuantized bad = good;
  bad.codes.pop_back();
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(bad, x, y); })) << "a byte of codes is missing";
  bad = good;
  bad.scales.pop_back();
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(bad, x, y); })) << "a scale is missing";
  bad = good;
  bad.zero_points.pop_back();
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(bad, x, y); })) << "a zero point is missing";
  bad = good;
  bad.config.symmetric = true;
  EXPECT_TRUE(throws_error([&] { lab04::matvec_w4a16(bad, x, y); })) << "symmetric, and zero points";
}

}  // namespace
