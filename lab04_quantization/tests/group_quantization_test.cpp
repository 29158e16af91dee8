#include "lab04/group_quantization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kit/testing.h"
#include "reference_quantizers.h"

namespace {

using kit::Tensor;
using kit::testing::KnownCount;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::matches_count;
using kit::testing::nan_tensor;
using kit::testing::random_tensor;
using kit::testing::throws_error;
using lab04::GroupConfig;
using lab04::GroupQuantized;
using lab04_tests::round_half_even;
using Weights = kit::TensorView<const float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// What a quantized weight says, unpacked.
struct Unpacked {
  Tensor<int> codes;  // [rows, cols]
  std::vector<float> scales;
  std::vector<int> zero_points;

  bool operator==(const Unpacked& other) const {
    return std::equal(codes.span().begin(), codes.span().end(), other.codes.span().begin(),
                      other.codes.span().end()) &&
           scales == other.scales && zero_points == other.zero_points;
  }
};

Unpacked unpacked(const GroupQuantized& q) {
  Unpacked result{.codes = lab04_tests::reference_codes(q), .scales = {}, .zero_points = {}};
  for (const kit::Half scale : q.scales) result.scales.push_back(kit::to_float(scale));
  result.zero_points.assign(q.zero_points.begin(), q.zero_points.end());
  return result;
}

/// Classic mistakes in choosing codes, one at a time.
enum class Mistake {
  kScaleRoundedLate,
  kScaleOfAPowerOfTwo,
  kOneLevelTooMany,
  kTruncated,
  kTiesAwayFromZero,
  kRoundedWithZeroPoint,
  kNoZeroInRange,
  kZeroPointInTheMiddle,
  kScaleOfTheRow,
  kScaleOfTheFirstGroup,
  kRemainderRunsOn,
  kRemainderLeftOut,
};

struct Named {
  Mistake mistake;
  const char* cause;
};
constexpr Named kMistakes[] = {
    {Mistake::kScaleRoundedLate,
     "the codes are chosen with the scale in float, which is rounded to binary16 only afterwards"},
    {Mistake::kScaleOfAPowerOfTwo, "the scale divides by 2^(bits-1) where m = 2^(bits-1) - 1 is asked for"},
    {Mistake::kOneLevelTooMany, "the range divided by 2^bits: between 2^bits levels are 2^bits - 1 steps"},
    {Mistake::kTruncated, "truncated instead of rounded"},
    {Mistake::kTiesAwayFromZero, "ties rounded away from zero, not to even"},
    {Mistake::kRoundedWithZeroPoint,
     "rounded after the zero point was added: an odd one turns ties to even into ties to odd"},
    {Mistake::kNoZeroInRange, "a range that does not include zero, so that 0 is not exact"},
    {Mistake::kZeroPointInTheMiddle,
     "the zero point in the middle of the codes, where a symmetric grid has it"},
    {Mistake::kScaleOfTheRow, "one range for the whole row instead of one for each group"},
    {Mistake::kScaleOfTheFirstGroup, "the range of the row's first group for all of them"},
    {Mistake::kRemainderRunsOn,
     "the last group of a row runs over its end: its range includes weights of the next row"},
    {Mistake::kRemainderLeftOut, "the last group of a row, which is shorter, is left out"},
};

struct Range {
  std::int64_t begin = 0;  // in the flat array
  std::int64_t end = 0;
};

/// The weights that decide on a group's scale.
Range range_of(Weights w, std::int64_t row, Range group, std::int64_t group_size, Mistake mistake) {
  const std::int64_t row_begin = row * w.dim(1);
  if (mistake == Mistake::kScaleOfTheRow) return {row_begin, row_begin + w.dim(1)};
  if (mistake == Mistake::kScaleOfTheFirstGroup)
    return {row_begin, row_begin + std::min(group_size, w.dim(1))};
  if (mistake == Mistake::kRemainderRunsOn)
    return {group.begin, std::min(group.begin + group_size, w.size())};
  return group;
}

float rounded(float x, Mistake mistake) {
  if (mistake == Mistake::kTruncated) return std::trunc(x);
  return mistake == Mistake::kTiesAwayFromZero ? std::round(x) : round_half_even(x);
}

/// The contract with one mistake.
Unpacked quantize_with(Weights w, const GroupConfig& config, Mistake mistake) {
  const std::int64_t cols = w.dim(1);
  const std::int64_t group_size = config.group_size == 0 ? cols : config.group_size;
  const int most = (1 << (config.symmetric ? config.bits - 1 : config.bits)) - 1;
  const int least = config.symmetric ? -most : 0;
  Unpacked result{.codes = Tensor<int>(w.shape()), .scales = {}, .zero_points = {}};
  for (std::int64_t row = 0; row < w.dim(0); ++row) {
    for (std::int64_t j = 0; j < cols; j += group_size) {
      const Range group = {row * cols + j, row * cols + std::min(j + group_size, cols)};
      const Range range = range_of(w, row, group, group_size, mistake);
      const auto [low_at, high_at] = std::minmax_element(w.data() + range.begin, w.data() + range.end);
      const bool zero_in_range = config.symmetric || mistake != Mistake::kNoZeroInRange;
      const float low = zero_in_range ? std::min(0.0F, *low_at) : *low_at;
      const float high = zero_in_range ? std::max(0.0F, *high_at) : *high_at;
      const bool power_of_two = config.symmetric && mistake == Mistake::kScaleOfAPowerOfTwo;
      const bool one_too_many = !config.symmetric && mistake == Mistake::kOneLevelTooMany;
      const float exact = (config.symmetric ? std::max(-low, high) : high - low) /
                          static_cast<float>(power_of_two || one_too_many ? most + 1 : most);
      float stored = kit::to_float(kit::to_half(exact));
      if (stored == 0.0F) stored = 1.0F;
      const float scale = mistake == Mistake::kScaleRoundedLate && exact > 0.0F ? exact : stored;
      int zero_point = 0;
      if (!config.symmetric) {
        const float zero = std::clamp(round_half_even(-low / stored), 0.0F, static_cast<float>(most));
        zero_point = mistake == Mistake::kZeroPointInTheMiddle ? (most + 1) / 2 : static_cast<int>(zero);
        result.zero_points.push_back(zero_point);
      }
      result.scales.push_back(stored);
      if (mistake == Mistake::kRemainderLeftOut && j + group_size > cols) continue;  // codes stay 0
      for (std::int64_t i = group.begin; i < group.end; ++i) {
        const float steps = w.data()[i] / scale;
        const auto zero = static_cast<float>(zero_point);
        const float code = mistake == Mistake::kRoundedWithZeroPoint ? rounded(steps + zero, mistake)
                                                                     : rounded(steps, mistake) + zero;
        result.codes.data()[i] =
            static_cast<int>(std::clamp(code, static_cast<float>(least), static_cast<float>(most)));
      }
    }
  }
  return result;
}

/// q with its codes packed in another way, or numbers without a sign: what a reader who does it wrong sees.
GroupQuantized with_codes(const GroupQuantized& q, const std::function<std::uint8_t(std::uint8_t)>& change) {
  GroupQuantized changed = q;
  for (std::uint8_t& byte : changed.codes) byte = change(byte);
  return changed;
}

std::uint8_t nibbles_swapped(std::uint8_t byte) {
  return static_cast<std::uint8_t>((byte << 4) | (byte >> 4));
}

std::string likely_cause(const GroupQuantized& q, const Unpacked& got, const Unpacked& expected, Weights w) {
  const std::string prefix = "\nLikely cause: ";
  if (q.config.bits == 4 && unpacked(with_codes(q, nibbles_swapped)) == expected)
    return prefix + "the two halves of a byte swapped: the first code is the low half";
  for (const Named& named : kMistakes) {
    const Unpacked wrong = quantize_with(w, q.config, named.mistake);
    if (got == wrong && !(wrong == expected)) return prefix + named.cause;
    // Whatever scale and zero point a group has that is left out.
    if (named.mistake == Mistake::kRemainderLeftOut && !(wrong == expected) &&
        std::equal(got.codes.span().begin(), got.codes.span().end(), wrong.codes.span().begin()))
      return prefix + named.cause;
  }
  return {};
}

/// The first three differences.
std::string differences(const GroupQuantized& q, const Unpacked& got, const Unpacked& expected, Weights w) {
  std::string text;
  int n = 0;
  const auto note = [&](const std::string& line) {
    if (++n <= 3) text += "\n  " + line;
  };
  for (std::size_t g = 0; g < expected.scales.size(); ++g) {
    const std::string where = fmt::format("row {}, group {}", g / static_cast<std::size_t>(q.n_groups()),
                                          g % static_cast<std::size_t>(q.n_groups()));
    if (got.scales[g] != expected.scales[g])
      note(fmt::format("{}: expected scale {}, got {}", where, expected.scales[g], got.scales[g]));
    if (!q.config.symmetric && got.zero_points[g] != expected.zero_points[g])
      note(fmt::format("{}: expected zero point {}, got {}", where, expected.zero_points[g],
                       got.zero_points[g]));
  }
  const std::int64_t group_size = q.config.group_size == 0 ? q.cols : q.config.group_size;
  for (std::int64_t i = 0; i < q.rows; ++i) {
    for (std::int64_t j = 0; j < q.cols; ++j) {
      if (got.codes(i, j) == expected.codes(i, j)) continue;
      const auto group = static_cast<std::size_t>(i * q.n_groups() + j / group_size);
      note(fmt::format("w({}, {}) = {}, scale {}: expected code {}, got {}", i, j, w(i, j),
                       expected.scales[group], expected.codes(i, j), got.codes(i, j)));
    }
  }
  return fmt::format("{} scales, zero points and codes differ{}", n, text);
}

std::string describe(Weights w, const GroupConfig& config) {
  return fmt::format("{} bits, {}, group_size {}, w {}", config.bits,
                     config.symmetric ? "symmetric" : "asymmetric", config.group_size, w.shape().to_string());
}

/// Sizes, which have mistakes of their own.
void expect_sizes(const GroupQuantized& q, Weights w, const GroupConfig& config) {
  const std::int64_t gapless = (w.size() * config.bits + 7) / 8;
  EXPECT_TRUE(matches_count(
      std::ssize(q.codes), q.rows * q.row_bytes(),
      std::vector<KnownCount>{{"rows packed one behind the other: each begins at a byte of its own", gapless},
                              {"a byte for each code", w.size()}}))
      << "bytes of codes";
  if (config.group_size > 0) {
    EXPECT_TRUE(matches_count(
        std::ssize(q.scales), q.rows * q.n_groups(),
        std::vector<KnownCount>{
            {"the last group of a row, which is shorter, is left out", q.rows * (q.cols / config.group_size)},
            {"groups counted through all rows: one never leaves its row",
             (w.size() + config.group_size - 1) / config.group_size}}))
        << "scales";
  }
}

/// Quantizes, and holds every scale, zero point and code against the contract.
GroupQuantized expect_quantized(Weights w, const GroupConfig& config) {
  SCOPED_TRACE(describe(w, config));
  GroupQuantized q = lab04::quantize_groups(w, config);
  EXPECT_EQ(q.rows, w.dim(0));
  EXPECT_EQ(q.cols, w.dim(1));
  EXPECT_TRUE(q.config.bits == config.bits && q.config.group_size == config.group_size &&
              q.config.symmetric == config.symmetric)
      << "the result's config must be the one asked for";
  if (::testing::Test::HasFailure()) return q;
  expect_sizes(q, w, config);
  const std::string problem = lab04_tests::problem_of(q);
  if (!problem.empty()) {
    ADD_FAILURE() << "the result has " << problem;
    return q;
  }
  const Unpacked expected = unpacked(lab04_tests::reference_quantize_groups(w, config));
  const Unpacked got = unpacked(q);
  if (!(got == expected))
    ADD_FAILURE() << differences(q, got, expected, w) << likely_cause(q, got, expected, w);
  return q;
}

Tensor<float> tensor(const kit::Shape& shape, const std::vector<float>& values) {
  Tensor<float> result(shape);
  std::copy(values.begin(), values.end(), result.span().begin());
  return result;
}

std::vector<int> codes_of(const GroupQuantized& q) {
  if (!lab04_tests::problem_of(q).empty()) return {};
  const Tensor<int> codes = lab04_tests::reference_codes(q);
  return {codes.span().begin(), codes.span().end()};
}

/// Other weights in every row, some of which are small, and not centred on zero.
Tensor<float> random_weights(std::int64_t rows, std::int64_t cols, kit::Rng& rng) {
  Tensor<float> w = random_tensor({rows, cols}, rng);
  for (std::int64_t i = 0; i < rows; ++i) {
    const float scale = rng.uniform(0.01F, 2.0F);
    const float shift = rng.uniform(-0.5F, 0.5F);
    for (float& x : w.row(i)) x = scale * (x + shift);
  }
  return w;
}

TEST(GroupQuantization, SymmetricByHand) {
  // INT4, m = 7. The largest weight is 7, so the scale is 1, and in the second group 14 / 7 = 2.
  const Tensor<float> w = tensor({1, 8}, {7, -3.2F, 0.4F, 0, -14, 6.9F, 1.1F, 12});
  const GroupQuantized q = expect_quantized(w, {.bits = 4, .group_size = 4});
  EXPECT_EQ(codes_of(q), (std::vector<int>{7, -3, 0, 0, -7, 3, 1, 6}));
}

TEST(GroupQuantization, AsymmetricByHand) {
  // INT4 from -3 to 12: 15 steps of 1, zero at 3. Then from 0 to 30: steps of 2, zero at 0.
  const Tensor<float> w = tensor({1, 8}, {-3, 12, 0, 4.2F, 30, 0, 14.6F, 7});
  const GroupQuantized q = expect_quantized(w, {.bits = 4, .group_size = 4, .symmetric = false});
  EXPECT_EQ(codes_of(q), (std::vector<int>{0, 15, 3, 7, 15, 0, 7, 4})) << "7 / 2 is a tie: 4, which is even";
  EXPECT_EQ(q.zero_points, (std::vector<std::uint8_t>{3, 0}));
}

TEST(GroupQuantization, EveryWidthAndGroupSize) {
  kit::Rng rng = make_rng(510);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      for (const int group_size : {0, 1, 31, 32, 128}) {
        const std::int64_t cols = std::vector<std::int64_t>{1, 31, 33, 128, 200}[rng.below(5)];
        (void)expect_quantized(random_weights(3, cols, rng), {bits, group_size, symmetric});
      }
    }
  }
}

TEST(GroupQuantization, OneGroupIsTheWholeRow) {
  kit::Rng rng = make_rng(511);
  const Tensor<float> w = random_weights(5, 100, rng);
  for (const bool symmetric : {true, false}) {
    for (const int group_size : {0, 100, 128, std::numeric_limits<int>::max()})
      (void)expect_quantized(w, {.bits = 3, .group_size = group_size, .symmetric = symmetric});
  }
}

TEST(GroupQuantization, ScaleIsRoundedBeforeTheCodesAreChosen) {
  // 7.003 / 7 = 1.00043 is stored as 1: the next binary16 above is 1.00098. With the scale that a reader
  // has, 2.5005 is nearer to 3; with the one that was dropped, nearer to 2.
  const Tensor<float> w = tensor({1, 3}, {7.003F, 2.5005F, -4.5005F});
  const GroupQuantized q = expect_quantized(w, {.bits = 4, .group_size = 0});
  EXPECT_EQ(codes_of(q), (std::vector<int>{7, 3, -5}));
  // From -1 to 14.006 the step is 1.00040, and again stored as 1.
  const Tensor<float> v = tensor({1, 3}, {-1, 14.006F, 2.5005F});
  const GroupQuantized r = expect_quantized(v, {.bits = 4, .group_size = 0, .symmetric = false});
  EXPECT_EQ(codes_of(r), (std::vector<int>{0, 15, 4}));
  // At 8 bits rounding the scale moves a code by up to 0.06: some of 4096 change sides.
  kit::Rng rng = make_rng(512);
  (void)expect_quantized(random_weights(32, 128, rng), {.bits = 8, .group_size = 64});
}

TEST(GroupQuantization, TiesGoToEven) {
  const Tensor<float> w = tensor({1, 9}, {7, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 6.5F, -6.5F});
  const GroupQuantized q = expect_quantized(w, {.bits = 4, .group_size = 0});
  EXPECT_EQ(codes_of(q), (std::vector<int>{7, 0, 2, 2, 0, -2, -2, 6, -6}));
  // Zero at 3. 0.5 is rounded to 0 and 3 added; 3.5 would go to 4.
  const Tensor<float> v = tensor({1, 5}, {-3, 12, 0.5F, 1.5F, -0.5F});
  const GroupQuantized r = expect_quantized(v, {.bits = 4, .group_size = 0, .symmetric = false});
  EXPECT_EQ(codes_of(r), (std::vector<int>{0, 15, 3, 5, 3}));
}

TEST(GroupQuantization, CodesStayWithinTheGrid) {
  // From -2.5 to 12.5 the step is 1, and 2.5 and 12.5 are ties: zero at 2, 12.5 at 12 + 2.
  const Tensor<float> w = tensor({1, 3}, {-2.5F, 12.5F, 1});
  EXPECT_EQ(codes_of(expect_quantized(w, {.bits = 4, .group_size = 0, .symmetric = false})),
            (std::vector<int>{0, 14, 3}));
  // -3.5 is rounded to -4, 11.5 to 12: 16 steps, one more than there are.
  const Tensor<float> v = tensor({1, 3}, {-3.5F, 11.5F, 1});
  EXPECT_EQ(codes_of(expect_quantized(v, {.bits = 4, .group_size = 0, .symmetric = false})),
            (std::vector<int>{0, 15, 5}))
      << "code 16 does not fit into 4 bits: 15";
  // Near the smallest binary16, 2^-24, scales are so coarse that 9.8 / 7 is stored as 1: code 7, not 10.
  const Tensor<float> tiny = tensor({1, 3}, {9.8F * 0x1p-24F, -9.8F * 0x1p-24F, 0x1p-24F});
  EXPECT_EQ(codes_of(expect_quantized(tiny, {.bits = 4, .group_size = 0})), (std::vector<int>{7, -7, 1}))
      << "code 10 does not fit into -7 .. 7";
}

TEST(GroupQuantization, ScaleThatRoundsToZeroIsOne) {
  const float below_half_a_step = 6 * 0x1p-26F;  // / 7 is below 2^-26; binary16 rounds 2^-25 to zero
  for (const bool symmetric : {true, false}) {
    const Tensor<float> zeros({2, 33});
    const GroupQuantized q = expect_quantized(zeros, {.bits = 4, .group_size = 16, .symmetric = symmetric});
    EXPECT_EQ(codes_of(q), std::vector<int>(66, 0));
    const Tensor<float> w = tensor({1, 4}, {below_half_a_step, -below_half_a_step, 0, 1e-38F});
    EXPECT_EQ(codes_of(expect_quantized(w, {.bits = 4, .group_size = 0, .symmetric = symmetric})),
              std::vector<int>(4, 0));
  }
}

TEST(GroupQuantization, ZeroIsExactWhereverTheWeightsAre) {
  // All weights on one side: the range is stretched to zero, and its zero point is an end.
  kit::Rng rng = make_rng(513);
  for (const int bits : {2, 3, 4, 8}) {
    Tensor<float> w({3, 64});
    for (int j = 0; j < 64; ++j) {
      w(0, j) = j % 5 == 0 ? 0.0F : rng.uniform(0.5F, 1.0F);
      w(1, j) = j % 5 == 0 ? 0.0F : rng.uniform(-1.0F, -0.5F);
      w(2, j) = rng.uniform(3.0F, 4.0F);
    }
    const GroupQuantized q = expect_quantized(w, {.bits = bits, .group_size = 32, .symmetric = false});
    if (HasFailure()) return;
    const Tensor<float> decoded = lab04_tests::reference_dequantize_groups(q);
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 64; j += 5) EXPECT_EQ(decoded(i, j), 0.0F) << "w(" << i << ", " << j << ")";
    }
    EXPECT_EQ(q.zero_points[0], 0) << "no weight below zero";
    EXPECT_EQ(q.zero_points[2], (1 << bits) - 1) << "no weight above zero";
  }
}

TEST(GroupQuantization, LastGroupOfARowIsShorter) {
  // 3 groups of 32 and one of 4, which has the smallest weights of its row; the next row's are larger.
  kit::Rng rng = make_rng(514);
  Tensor<float> w = random_tensor({4, 100}, rng);
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < 100; ++j) w(i, j) *= static_cast<float>(1 + 3 * i) * (j >= 96 ? 0.1F : 1.0F);
  }
  for (const bool symmetric : {true, false}) {
    (void)expect_quantized(w, {.bits = 4, .group_size = 32, .symmetric = symmetric});
    (void)expect_quantized(w, {.bits = 3, .group_size = 99, .symmetric = symmetric});
  }
}

TEST(GroupQuantization, RowsBeginAtAByteAndEndWithZeroBits) {
  kit::Rng rng = make_rng(515);
  for (const int bits : {2, 3, 4, 5, 6, 7}) {
    for (const std::int64_t cols : {1, 31, 33}) {
      const GroupQuantized q =
          expect_quantized(random_weights(5, cols, rng), {.bits = bits, .group_size = 16});
      if (HasFailure()) return;
      const auto n_used = static_cast<int>(cols * bits % 8);
      for (std::int64_t row = 0; n_used > 0 && row < 5; ++row) {
        const std::uint8_t last = q.codes[static_cast<std::size_t>((row + 1) * q.row_bytes() - 1)];
        EXPECT_EQ(last >> n_used, 0) << "Likely cause: the unused bits of the last byte are not 0\n"
                                     << fmt::format("row {}, {} codes of {} bits, last byte {:#04x}", row,
                                                    cols, bits, last);
      }
    }
  }
}

TEST(GroupQuantization, LargestScale) {
  // 7 * 65504: the largest scale there is. Half as much again has none.
  const Tensor<float> w = tensor({1, 3}, {7 * 65504.0F, -3 * 65504.0F, 1});
  EXPECT_EQ(codes_of(expect_quantized(w, {.bits = 4, .group_size = 0})), (std::vector<int>{7, -3, 0}));
  for (const bool symmetric : {true, false}) {
    for (const float large : {1.5e6F, -1.5e6F, 3e38F}) {
      const Tensor<float> v = tensor({2, 2}, {1, 1, 1, large});
      const GroupConfig config = {.bits = 4, .group_size = 0, .symmetric = symmetric};
      EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_groups(v, config); }))
          << describe(v, config) << ": " << large << " needs a scale beyond 65504";
    }
  }
}

TEST(GroupQuantization, RejectsWhatCannotBe) {
  const Tensor<float> w({3, 40}, 1.0F);
  for (const int bits : {-4, 0, 1, 9, 16}) {
    EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_groups(w, {.bits = bits}); }, std::to_string(bits)))
        << bits << " bits";
  }
  EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_groups(w, {.group_size = -64}); }, "-64"));
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Tensor<float> v({29, 47}, 1.0F);
    v(23, 37) = bad;
    for (const bool symmetric : {true, false}) {
      const GroupConfig config = {.bits = 4, .group_size = 16, .symmetric = symmetric};
      EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_groups(v, config); }, "23")) << bad << ", the row";
      EXPECT_TRUE(throws_error([&] { (void)lab04::quantize_groups(v, config); }, "37"))
          << bad << ", the column";
    }
  }
}

/// Codes of every kind in every group, scales and zero points that differ from group to group.
GroupQuantized random_quantized(std::int64_t rows, std::int64_t cols, const GroupConfig& config,
                                kit::Rng& rng) {
  GroupQuantized q = lab04_tests::reference_quantize_groups(random_weights(rows, cols, rng), config);
  for (kit::Half& scale : q.scales) scale = kit::to_half(rng.uniform(0.01F, 3.0F));
  for (std::uint8_t& zero_point : q.zero_points)
    zero_point = static_cast<std::uint8_t>(rng.below(1U << config.bits));
  return q;
}

Tensor<float> decoded(const GroupQuantized& q) {
  return lab04_tests::reference_dequantize_groups(q);
}

/// Decoded with the scale and zero point of another group.
template <class GroupOf>
Tensor<float> decoded_with(const GroupQuantized& q, const GroupOf& group_of) {
  const Tensor<int> codes = lab04_tests::reference_codes(q);
  Tensor<float> w(codes.shape());
  for (std::int64_t i = 0; i < q.rows; ++i) {
    for (std::int64_t j = 0; j < q.cols; ++j) {
      const auto group = std::min(static_cast<std::size_t>(group_of(i, j)), q.scales.size() - 1);
      const int zero_point = q.config.symmetric ? 0 : q.zero_points[group];
      w(i, j) = kit::to_float(q.scales[group]) * static_cast<float>(codes(i, j) - zero_point);
    }
  }
  return w;
}

std::vector<kit::KnownMistake> decoding_mistakes(const GroupQuantized& q) {
  std::vector<kit::KnownMistake> mistakes;
  const std::int64_t group_size = q.config.group_size == 0 ? q.cols : q.config.group_size;
  if (q.config.symmetric) {
    // The same bits read without a sign: 2^bits more where the code is negative.
    Tensor<float> unsigned_codes = decoded(q);
    const Tensor<int> codes = lab04_tests::reference_codes(q);
    for (std::int64_t i = 0; i < q.rows; ++i) {
      for (std::int64_t j = 0; j < q.cols; ++j) {
        const float scale =
            kit::to_float(q.scales[static_cast<std::size_t>(i * q.n_groups() + j / group_size)]);
        if (codes(i, j) < 0)
          unsigned_codes(i, j) = scale * static_cast<float>(codes(i, j) + (1 << q.config.bits));
      }
    }
    mistakes.push_back(
        {"codes without their sign: the highest of the bits has to be extended", std::move(unsigned_codes)});
  } else {
    GroupQuantized other = q;
    std::fill(other.zero_points.begin(), other.zero_points.end(), std::uint8_t{0});
    mistakes.push_back({"codes without the zero point taken off", decoded(other)});
    std::fill(other.zero_points.begin(), other.zero_points.end(),
              static_cast<std::uint8_t>(1 << (q.config.bits - 1)));
    mistakes.push_back({"a zero point in the middle of the codes, whatever is stored", decoded(other)});
  }
  if (q.config.bits == 4) {
    mistakes.push_back({"the two halves of a byte swapped: the first code is the low half",
                        decoded(with_codes(q, nibbles_swapped))});
  }
  mistakes.push_back({"the scale of a row's first group for all of it",
                      decoded_with(q, [&](std::int64_t i, std::int64_t) { return i * q.n_groups(); })});
  mistakes.push_back(
      {"groups counted through all rows: each row begins a new one",
       decoded_with(q, [&](std::int64_t i, std::int64_t j) { return (i * q.cols + j) / group_size; })});
  mistakes.push_back({"a row's scales found at cols / group_size a row, where it is rounded up",
                      decoded_with(q, [&](std::int64_t i, std::int64_t j) {
                        return i * (q.cols / group_size) + j / group_size;
                      })});
  return mistakes;
}

// The difference of a code and a zero point has 9 bits at most, a scale 11: their product is exact in float.
constexpr kit::Tolerance kExact{};

void expect_dequantized(const GroupQuantized& q) {
  Tensor<float> got = nan_tensor({q.rows, q.cols});
  lab04::dequantize_groups(q, got);
  EXPECT_TRUE(matches(got, decoded(q), kExact, decoding_mistakes(q))) << describe(got, q.config);
}

TEST(GroupDequantization, ByHand) {
  // -7 .. 7 in two's complement of 4 bits, two a byte, the first below: 9 is -7, 7 is 7.
  GroupQuantized q;
  q.config = {.bits = 4, .group_size = 4};
  q.rows = 1, q.cols = 6;
  q.codes = {0x79, 0xF1, 0x0E};  // -7, 7, 1, -1, -2, 0
  q.scales = {kit::to_half(0.5F), kit::to_half(3.0F)};
  Tensor<float> got = nan_tensor({1, 6});
  lab04::dequantize_groups(q, got);
  EXPECT_TRUE(matches(got, tensor({1, 6}, {-3.5F, 3.5F, 0.5F, -0.5F, -6, 0}), kExact, decoding_mistakes(q)));
  q.config.symmetric = false;
  q.zero_points = {9, 2};
  lab04::dequantize_groups(q, got);  // 0, -2, -8, 6 halves; 12, -2 threes
  EXPECT_TRUE(matches(got, tensor({1, 6}, {0, -1, -4, 3, 36, -6}), kExact, decoding_mistakes(q)));
}

TEST(GroupDequantization, EveryWidthAndGroupSize) {
  kit::Rng rng = make_rng(520);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      for (const int group_size : {0, 1, 31, 32, 128}) {
        const std::int64_t cols = std::vector<std::int64_t>{1, 31, 33, 128, 200}[rng.below(5)];
        expect_dequantized(random_quantized(3, cols, {bits, group_size, symmetric}, rng));
      }
    }
  }
}

TEST(GroupDequantization, NegativeCodesKeepTheirSign) {
  kit::Rng rng = make_rng(521);
  for (int bits = 2; bits <= 8; ++bits) expect_dequantized(random_quantized(2, 64, {bits, 32, true}, rng));
}

TEST(GroupDequantization, LastGroupOfARowIsShorter) {
  kit::Rng rng = make_rng(522);
  for (const bool symmetric : {true, false}) {
    expect_dequantized(random_quantized(4, 100, {4, 32, symmetric}, rng));
    expect_dequantized(random_quantized(4, 100, {3, 99, symmetric}, rng));
  }
}

TEST(GroupDequantization, RejectsPartsThatDoNotFit) {
  kit::Rng rng = make_rng(523);
  const GroupQuantized symmetric = random_quantized(3, 33, {.bits = 3, .group_size = 16}, rng);
  const GroupQuantized asymmetric =
      random_quantized(3, 33, {.bits = 3, .group_size = 16, .symmetric = false}, rng);
  Tensor<float> w = nan_tensor({3, 33});
  const auto refuses = [&](GroupQuantized q, const std::function<void(GroupQuantized&)>& spoil) {
    spoil(q);
    return throws_error([&] { lab04::dequantize_groups(q, w); });
  };
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.codes.pop_back(); })) << "a byte of codes too few";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.codes.push_back(0); })) << "a byte of codes too many";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.scales.pop_back(); })) << "a scale too few";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.scales.push_back({}); })) << "a scale too many";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.zero_points.resize(9); })) << "symmetric, with zero points";
  EXPECT_TRUE(refuses(asymmetric, [](auto& q) { q.zero_points.clear(); })) << "asymmetric, without";
  EXPECT_TRUE(refuses(asymmetric, [](auto& q) { q.zero_points.pop_back(); })) << "a zero point too few";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.config.bits = 4; })) << "codes for 3 bits, not for 4";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.config.bits = 0; })) << "0 bits";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.config.bits = 9; })) << "9 bits";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.config.group_size = 8; })) << "scales for groups of 16";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.config.group_size = -16; })) << "group_size -16";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.rows = 2; })) << "2 rows into a w of 3";
  EXPECT_TRUE(refuses(symmetric, [](auto& q) { q.cols = 32; })) << "32 columns into a w of 33";
  w = nan_tensor({33, 3});
  EXPECT_TRUE(throws_error([&] { lab04::dequantize_groups(symmetric, w); })) << "w transposed";
  w = nan_tensor({99});
  EXPECT_TRUE(throws_error([&] { lab04::dequantize_groups(symmetric, w); })) << "w of rank 1";
}

}  // namespace
