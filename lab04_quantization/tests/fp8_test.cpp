#include "lab04/fp8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kit/testing.h"
#include "reference_formats.h"

namespace {

using kit::Tensor;
using kit::testing::matches;
using kit::testing::throws_error;
using lab04::Fp8Format;
using lab04_tests::definition_of;
using lab04_tests::Fp8Definition;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Fp8Format kFormats[] = {Fp8Format::kE4M3, Fp8Format::kE5M2};
constexpr std::uint8_t kMarker = 0xA5;  // what an output holds before it is written

std::string name_of(Fp8Format format) {
  return format == Fp8Format::kE4M3 ? "E4M3" : "E5M2";
}

double largest_of(const Fp8Definition& format) {
  return lab04_tests::fp8_numbers(format).back();
}

/// Another format than the one that was asked for.
struct KnownFormat {
  std::string cause;
  Fp8Definition definition;
};

std::vector<KnownFormat> known_formats(Fp8Format format) {
  const Fp8Definition right = definition_of(format);
  std::vector<KnownFormat> all;
  const auto add = [&](const std::string& cause, const auto& change) {
    all.push_back({cause, right});
    change(all.back().definition);
  };
  add("a format without subnormals, which flushes them to zero", [](auto& f) { f.subnormals = false; });
  add("subnormals with half the step: their exponent is 1 - bias, as that of the smallest normal numbers",
      [](auto& f) { f.subnormal_step_halved = true; });
  for (const int bias : {right.bias - 1, right.bias + 1, 7, 15}) {
    if (bias != right.bias)
      add(fmt::format("an exponent with bias {} instead of {}", bias, right.bias),
          [&](auto& f) { f.bias = bias; });
  }
  if (right.ieee_specials) {
    add("E5M2 without infinities; it is binary16 with a shorter mantissa and has them",
        [](auto& f) { f.ieee_specials = false; });
  } else {
    add("E4M3 with the infinities and NaNs of IEEE 754, largest 240; OCP's has no infinities, largest 448",
        [](auto& f) { f.ieee_specials = true; });
  }
  add("the other one of the two formats",
      [&](auto& f) { f = definition_of(format == Fp8Format::kE4M3 ? Fp8Format::kE5M2 : Fp8Format::kE4M3); });
  return all;
}

/// A way to encode: the right one, or with one of these mistakes.
struct Encoder {
  enum class Ties { kEven, kAway, kTruncated };
  enum class Overflow { kSaturates, kFromHalfAStep, kAtOnce };  // the last two: an infinity or a NaN

  Fp8Definition format;
  Ties ties = Ties::kEven;
  Overflow overflow = Overflow::kSaturates;
  bool flushes_small_inputs = false;   // inputs under the smallest normal number
  bool flushes_small_results = false;  // results under it
  bool carry_lost = false;             // a mantissa that rounds up to 2 leaves the exponent as it was
  bool zero_sign_lost = false;         // of a zero
  bool result_sign_lost = false;       // of what rounds to zero, too
  bool nan_is_largest = false;
  bool nan_sign_lost = false;
  std::vector<double> numbers = {};  // the positive finite ones; encoder() fills it

  std::uint8_t encode(float x) const {
    const int sign = std::signbit(x) ? 0x80 : 0;
    const int largest = static_cast<int>(numbers.size()) - 1;
    if (std::isnan(x)) {
      if (nan_is_largest) return static_cast<std::uint8_t>(sign | largest);
      return static_cast<std::uint8_t>((nan_sign_lost ? 0 : sign) | 0x7F);
    }
    const int code = magnitude(std::abs(double{x}), largest);
    const bool loses_sign = (zero_sign_lost && x == 0.0F) || (result_sign_lost && code == 0);
    return static_cast<std::uint8_t>((loses_sign ? 0 : sign) | code);
  }

 private:
  int magnitude(double x, int largest) const {
    const int mantissas = 1 << format.mantissa_bits;
    if (x >= numbers.back()) return beyond(x, largest);
    const int below = static_cast<int>(std::ranges::upper_bound(numbers, x) - numbers.begin()) - 1;
    // Exact where it matters: a float and a number of the format that are of the same order.
    const double to_below = x - numbers[below];
    const double to_above = numbers[below + 1] - x;
    bool up = to_above < to_below;
    if (to_above == to_below) up = ties == Ties::kAway || below % 2 == 1;
    if (ties == Ties::kTruncated) up = false;
    int code = up ? below + 1 : below;
    if (carry_lost && up && code % mantissas == 0 && code > mantissas) code -= mantissas;
    if (flushes_small_inputs && x < numbers[mantissas]) code = 0;
    if (flushes_small_results && code < mantissas) code = 0;
    return code;
  }

  int beyond(double x, int largest) const {
    const double middle = numbers.back() + (numbers.back() - numbers[largest - 1]) / 2.0;
    const bool rounds_up = x > middle || (x == middle && largest % 2 == 1);
    const bool special = (overflow == Overflow::kFromHalfAStep && rounds_up) ||
                         (overflow == Overflow::kAtOnce && x > numbers.back());
    return special ? largest + 1 : largest;
  }
};

Encoder encoder(const Fp8Definition& format) {
  return {.format = format, .numbers = lab04_tests::fp8_numbers(format)};
}

struct KnownEncoder {
  std::string cause;
  Encoder encoder;
};

std::vector<KnownEncoder> known_encoders(Fp8Format format) {
  std::vector<KnownEncoder> all;
  const auto add = [&](const std::string& cause, const auto& change) {
    all.push_back({cause, encoder(definition_of(format))});
    change(all.back().encoder);
  };
  const std::string special = format == Fp8Format::kE4M3 ? "NaN" : "infinity";
  add("ties rounded away from zero instead of to the even mantissa",
      [](auto& e) { e.ties = Encoder::Ties::kAway; });
  add("truncation instead of rounding to the nearest", [](auto& e) { e.ties = Encoder::Ties::kTruncated; });
  add("overflow to " + special + " instead of saturation: the largest finite number must come",
      [](auto& e) { e.overflow = Encoder::Overflow::kFromHalfAStep; });
  add("overflow to " + special + " of all that is larger than the largest number, which must come instead",
      [](auto& e) { e.overflow = Encoder::Overflow::kAtOnce; });
  add("subnormals flushed to zero", [](auto& e) { e.flushes_small_inputs = true; });
  add("subnormals flushed to zero after rounding", [](auto& e) { e.flushes_small_results = true; });
  add("a rounding whose carry is lost: a mantissa that rounds up to 2 makes the exponent one larger",
      [](auto& e) { e.carry_lost = true; });
  add("a zero without its sign: -0 is 0x80", [](auto& e) { e.zero_sign_lost = true; });
  add("zeros without their sign, also of what rounds to zero", [](auto& e) { e.result_sign_lost = true; });
  add("NaN encoded as the largest number", [](auto& e) { e.nan_is_largest = true; });
  add("NaN without its sign", [](auto& e) { e.nan_sign_lost = true; });
  for (const KnownFormat& known : known_formats(format)) {
    if (!known.definition.subnormals) continue;  // many codes of one number; flushing is above
    all.push_back({known.cause, encoder(known.definition)});
    all.push_back({known.cause, encoder(known.definition)});
    all.back().encoder.overflow = Encoder::Overflow::kFromHalfAStep;
  }
  return all;
}

/// Encodes x in one call, and holds every code against the nearest number, found by search.
::testing::AssertionResult encodes(const std::vector<float>& x, Fp8Format format) {
  std::vector<std::uint8_t> codes(x.size(), kMarker);
  lab04::encode_fp8(x, format, codes);
  const Encoder right = encoder(definition_of(format));
  std::string wrong;
  int n_wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::uint8_t expected = right.encode(x[i]);
    if (codes[i] == expected || ++n_wrong > 5) continue;
    const Fp8Definition definition = definition_of(format);
    wrong += fmt::format("\n  {:.9g} ({:a}) becomes {:#04x}, which is {}; expected {:#04x}, {}", x[i], x[i],
                         codes[i], lab04_tests::fp8_value(codes[i], definition), expected,
                         lab04_tests::fp8_value(expected, definition));
  }
  if (n_wrong == 0) return ::testing::AssertionSuccess();
  const auto matches_all = [&](const Encoder& known) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (codes[i] != known.encode(x[i])) return false;
    }
    return true;
  };
  for (const KnownEncoder& known : known_encoders(format)) {
    if (!matches_all(known.encoder)) continue;
    wrong += "\nLikely cause: the codes match " + known.cause + ".";
    break;
  }
  return ::testing::AssertionFailure()
         << name_of(format) << ": " << n_wrong << " of " << x.size() << " numbers get a wrong code" << wrong;
}

void with_both_signs(std::vector<float>& x) {
  const std::size_t n = x.size();
  for (std::size_t i = 0; i < n; ++i) x.push_back(-x[i]);
}

bool same(float a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

/// Decodes codes in one call, and holds every number against the definition.
::testing::AssertionResult decodes(const std::vector<std::uint8_t>& codes, Fp8Format format) {
  std::vector<float> x(codes.size(), 12345.0F);  // no number of either format
  lab04::decode_fp8(codes, format, x);
  const auto matches_all = [&](const Fp8Definition& definition) {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      if (!same(x[i], lab04_tests::fp8_value(codes[i], definition))) return false;
    }
    return true;
  };
  const Fp8Definition right = definition_of(format);
  if (matches_all(right)) return ::testing::AssertionSuccess();
  std::string wrong;
  int n_wrong = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const double expected = lab04_tests::fp8_value(codes[i], right);
    if (same(x[i], expected) || ++n_wrong > 5) continue;
    wrong += fmt::format("\n  {:#04x} becomes {}, expected {}", codes[i], x[i], expected);
  }
  for (const KnownFormat& known : known_formats(format)) {
    if (!matches_all(known.definition)) continue;
    wrong += "\nLikely cause: the numbers match " + known.cause + ".";
    break;
  }
  return ::testing::AssertionFailure()
         << name_of(format) << ": " << n_wrong << " of " << codes.size() << " codes are wrong" << wrong;
}

TEST(Fp8, DecodesEveryCode) {
  std::vector<std::uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), std::uint8_t{0});
  for (const Fp8Format format : kFormats) EXPECT_TRUE(decodes(codes, format));
}

// Signalling NaNs would stop a program that traps them.
TEST(Fp8, DecodedNansAreQuiet) {
  const std::vector<std::uint8_t> nans[] = {{0x7F, 0xFF}, {0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}};
  for (const Fp8Format format : kFormats) {
    const std::vector<std::uint8_t>& codes = nans[format == Fp8Format::kE4M3 ? 0 : 1];
    std::vector<float> x(codes.size(), 0.0F);
    lab04::decode_fp8(codes, format, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(x[i]) & 0x7FC00000U, 0x7FC00000U) << fmt::format(
          "{}: {:#04x} must become a quiet NaN, it becomes {}", name_of(format), codes[i], x[i]);
    }
  }
}

TEST(Fp8, NumbersOfTheFormatKeepTheirCode) {
  for (const Fp8Format format : kFormats) {
    std::vector<float> x;
    for (const double number : lab04_tests::fp8_numbers(definition_of(format)))
      x.push_back(static_cast<float>(number));
    with_both_signs(x);
    EXPECT_TRUE(encodes(x, format));
  }
}

TEST(Fp8, RoundsToTheNearestAndTiesToEven) {
  for (const Fp8Format format : kFormats) {
    const std::vector<double> numbers = lab04_tests::fp8_numbers(definition_of(format));
    std::vector<float> x;
    for (std::size_t code = 0; code + 1 < numbers.size(); ++code) {
      // Exact: a number of the format has at most 4 significant bits.
      const auto middle = static_cast<float>((numbers[code] + numbers[code + 1]) / 2.0);
      x.insert(x.end(), {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, kInfinity)});
    }
    with_both_signs(x);
    EXPECT_TRUE(encodes(x, format));
  }
}

TEST(Fp8, KeepsSubnormals) {
  for (const Fp8Format format : kFormats) {
    const std::vector<double> numbers = lab04_tests::fp8_numbers(definition_of(format));
    const auto step = static_cast<float>(numbers[1]);
    const int n_subnormals = format == Fp8Format::kE4M3 ? 7 : 3;
    std::vector<float> x;
    for (int i = 1; i <= n_subnormals + 1; ++i) {  // the last one is the smallest normal number
      for (const float share : {-0.5F, -0.25F, 0.0F, 0.25F})
        x.push_back((static_cast<float>(i) + share) * step);
    }
    with_both_signs(x);
    EXPECT_TRUE(encodes(x, format));
  }
}

TEST(Fp8, ZerosKeepTheirSign) {
  for (const Fp8Format format : kFormats) {
    const auto half_step =
        static_cast<float>(lab04_tests::fp8_numbers(definition_of(format))[1] / 2.0);  // a tie: to even, zero
    std::vector<float> x{0.0F, half_step, std::nextafter(half_step, 0.0F), half_step / 3.0F, 1e-30F};
    for (const std::uint32_t bits :
         {0x00000001U, 0x00400000U, 0x007FFFFFU, 0x00800000U})  // float's subnormals
      x.push_back(std::bit_cast<float>(bits));
    with_both_signs(x);
    EXPECT_TRUE(encodes(x, format));
  }
}

TEST(Fp8, SaturatesBeyondTheLargest) {
  for (const Fp8Format format : kFormats) {
    const Fp8Definition definition = definition_of(format);
    const auto largest = static_cast<float>(largest_of(definition));
    const float step = format == Fp8Format::kE4M3 ? 32.0F : 8192.0F;
    std::vector<float> x{largest, std::nextafter(largest, kInfinity)};
    for (const float share : {0.25F, 0.5F, 0.75F, 1.0F, 1.5F}) x.push_back(largest + share * step);
    x.push_back(std::nextafter(largest + step / 2.0F, 0.0F));
    x.push_back(std::nextafter(largest + step / 2.0F, kInfinity));
    x.insert(x.end(), {2.0F * largest, 1e10F, std::numeric_limits<float>::max(), kInfinity});
    with_both_signs(x);
    EXPECT_TRUE(encodes(x, format));
  }
}

TEST(Fp8, NansKeepTheirSign) {
  std::vector<float> x;
  for (const std::uint32_t bits : {0x7FC00000U, 0x7FFFFFFFU, 0x7F800001U, 0x7FABCDEFU, 0x7FD00100U}) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(std::bit_cast<float>(bits | 0x80000000U));
  }
  for (const Fp8Format format : kFormats) EXPECT_TRUE(encodes(x, format));
}

// Half of them any float, which is mostly far outside of the formats; half of the order of their numbers.
TEST(Fp8, EncodesRandomFloats) {
  constexpr int kNumbers = 100'000;
  kit::Rng rng = kit::testing::make_rng(4600);
  for (const Fp8Format format : kFormats) {
    std::vector<float> x;
    for (int i = 0; i < kNumbers; ++i) {
      std::uint32_t bits = rng.next_u32();
      if (i % 2 == 1) bits = (bits & 0x807FFFFFU) | ((127U - 20U + rng.below(40)) << 23);  // 2^-20 .. 2^19
      x.push_back(std::bit_cast<float>(bits));
    }
    EXPECT_TRUE(encodes(x, format));
  }
}

TEST(Fp8, RejectsLengthsThatDisagree) {
  std::vector<float> three(3, 1.0F);
  std::vector<std::uint8_t> two(2, kMarker);
  for (const Fp8Format format : kFormats) {
    EXPECT_TRUE(throws_error([&] { lab04::encode_fp8(three, format, two); })) << "3 numbers, 2 codes";
    EXPECT_TRUE(throws_error([&] { lab04::decode_fp8(two, format, three); })) << "2 codes, 3 numbers";
    EXPECT_NO_THROW(lab04::encode_fp8({}, format, {}));
    EXPECT_NO_THROW(lab04::decode_fp8({}, format, {}));
  }
}

/// A scale for each row, and the codes.
struct Quantized {
  Tensor<std::uint8_t> codes;  // [rows, cols]
  Tensor<float> scales;        // [rows]
};

std::vector<float> max_abs_of_rows(const Tensor<float>& w) {
  std::vector<float> result;
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    float max_abs = 0.0F;
    for (const float x : w.row(i)) max_abs = std::max(max_abs, std::abs(x));
    result.push_back(max_abs);
  }
  return result;
}

Tensor<float> scales_of(const std::vector<float>& max_abs, double divisor) {
  Tensor<float> scales({static_cast<std::int64_t>(max_abs.size())});
  for (std::size_t i = 0; i < max_abs.size(); ++i)
    scales(i) = lab04_tests::usable(max_abs[i] / static_cast<float>(divisor));
  return scales;
}

Quantized reference_quantized(const Tensor<float>& w, Fp8Format format) {
  const Encoder right = encoder(definition_of(format));
  Quantized result{Tensor<std::uint8_t>(w.shape()),
                   scales_of(max_abs_of_rows(w), largest_of(definition_of(format)))};
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) result.codes(i, j) = right.encode(w(i, j) / result.scales(i));
  }
  return result;
}

Quantized quantize(const Tensor<float>& w, Fp8Format format) {
  Quantized result{Tensor<std::uint8_t>(w.shape(), kMarker), kit::testing::nan_tensor({w.dim(0)})};
  lab04::quantize_fp8(w, format, result.codes, result.scales.span());
  return result;
}

std::vector<kit::KnownMistake> known_scales(const Tensor<float>& w, Fp8Format format) {
  const std::vector<float> max_abs = max_abs_of_rows(w);
  const double largest = largest_of(definition_of(format));
  std::vector<kit::KnownMistake> all;
  all.push_back({"one scale for all rows",
                 scales_of(std::vector<float>(max_abs.size(), std::ranges::max(max_abs)), largest)});
  all.push_back({"scales for E4M3 with IEEE's largest number, 240", scales_of(max_abs, 240.0)});
  all.push_back({"scales for the next power of two, 512", scales_of(max_abs, 512.0)});
  all.push_back({"scales for the other format's largest number",
                 scales_of(max_abs, format == Fp8Format::kE4M3 ? 57344.0 : 448.0)});
  all.push_back({"scales that make the largest number 1", scales_of(max_abs, 1.0)});
  std::vector<float> largest_positive;
  for (std::int64_t i = 0; i < w.dim(0); ++i) largest_positive.push_back(std::ranges::max(w.row(i)));
  all.push_back(
      {"the largest number of a row without its absolute value", scales_of(largest_positive, largest)});
  return all;
}

void expect_quantizes(const Tensor<float>& w, Fp8Format format) {
  SCOPED_TRACE(name_of(format));
  const Quantized expected = reference_quantized(w, format);
  const Quantized got = quantize(w, format);
  // One division of floats: nothing to be tolerant about.
  ASSERT_TRUE(matches(got.scales, expected.scales, {}, known_scales(w, format))) << "these are the scales";
  int n_wrong = 0;
  std::string wrong;
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    for (std::int64_t j = 0; j < w.dim(1); ++j) {
      if (got.codes(i, j) == expected.codes(i, j) || ++n_wrong > 5) continue;
      wrong += fmt::format("\n  row {}, column {}: {} / {} becomes {:#04x}, expected {:#04x}", i, j, w(i, j),
                           expected.scales(i), got.codes(i, j), expected.codes(i, j));
    }
  }
  EXPECT_EQ(n_wrong, 0) << "codes are wrong:" << wrong;
}

TEST(Fp8, ScalesEachRow) {
  kit::Rng rng = kit::testing::make_rng(4601);
  for (const Fp8Format format : kFormats) {
    for (const kit::Shape& shape : {kit::Shape{33, 31}, kit::Shape{1, 1000}, kit::Shape{17, 1}}) {
      Tensor<float> w = kit::testing::random_tensor(shape, rng);
      for (std::int64_t i = 0; i < w.dim(0); ++i) {  // rows of very different size, the largest one negative
        const float size = std::exp2(static_cast<float>(i * 37 % 60 - 30));
        for (float& x : w.row(i)) x *= size;
        w(i, i * 7 % w.dim(1)) = -4.0F * size;
      }
      expect_quantizes(w, format);
    }
  }
}

// Where the scale would be subnormal it is 1, and the row becomes zeros of their signs.
TEST(Fp8, RowsOfAlmostNothing) {
  for (const Fp8Format format : kFormats) {
    const auto largest = static_cast<float>(largest_of(definition_of(format)));
    const float least = largest * std::numeric_limits<float>::min();  // the scale is just normal
    Tensor<float> w({4, 3});
    const float rows[4][3] = {{0.0F, -0.0F, 0.0F},
                              {least, -least / 3.0F, least / 50.0F},
                              {std::nextafter(least, 0.0F) * 0.5F, -least / 3.0F, 0.0F},
                              {1e-45F, -1e-45F, 0.0F}};
    for (int i = 0; i < 4; ++i) std::ranges::copy(rows[i], w.row(i).begin());
    expect_quantizes(w, format);
  }
}

TEST(Fp8, DequantizesRows) {
  kit::Rng rng = kit::testing::make_rng(4602);
  for (const Fp8Format format : kFormats) {
    SCOPED_TRACE(name_of(format));
    const Fp8Definition definition = definition_of(format);
    Tensor<std::uint8_t> codes({33, 31});
    std::vector<float> scales;
    Tensor<float> expected(codes.shape());
    Tensor<float> first_scale(codes.shape());
    Tensor<float> without_scale(codes.shape());
    for (std::int64_t i = 0; i < codes.dim(0); ++i) {
      scales.push_back(rng.uniform(0.001F, 2.0F));
      for (std::int64_t j = 0; j < codes.dim(1); ++j) {
        double value = std::numeric_limits<double>::infinity();
        while (!std::isfinite(value)) {
          codes(i, j) = static_cast<std::uint8_t>(rng.below(256));
          value = lab04_tests::fp8_value(codes(i, j), definition);
        }
        expected(i, j) = scales.back() * static_cast<float>(value);
        first_scale(i, j) = scales.front() * static_cast<float>(value);
        without_scale(i, j) = static_cast<float>(value);
      }
    }
    Tensor<float> w = kit::testing::nan_tensor(codes.shape());
    lab04::dequantize_fp8(codes, format, scales, w);
    std::vector<kit::KnownMistake> mistakes;
    mistakes.push_back({"the first row's scale for all rows", std::move(first_scale)});
    mistakes.push_back({"numbers without their scale", std::move(without_scale)});
    EXPECT_TRUE(matches(w, expected, {}, mistakes));  // one product of floats
  }
}

TEST(Fp8, NamesNanAndInfinity) {
  constexpr std::int64_t kAt = 1187;  // a number that appears in no message by chance
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const bool in_row : {true, false}) {
      Tensor<float> w(in_row ? kit::Shape{1201, 3} : kit::Shape{3, 1201}, 0.5F);
      (in_row ? w(kAt, 1) : w(1, kAt)) = bad;
      EXPECT_TRUE(throws_error([&] { (void)quantize(w, Fp8Format::kE4M3); }, "1187"))
          << fmt::format("{} in {} {}", bad, in_row ? "row" : "column", kAt);
    }
  }
}

TEST(Fp8, RejectsShapesThatDisagree) {
  const auto quantizes = [](const kit::Shape& w, const kit::Shape& codes, int n_scales) {
    Tensor<std::uint8_t> output(codes, kMarker);
    std::vector<float> scales(static_cast<std::size_t>(n_scales));
    lab04::quantize_fp8(Tensor<float>(w), Fp8Format::kE4M3, output, scales);
  };
  const auto dequantizes = [](const kit::Shape& w, const kit::Shape& codes, int n_scales) {
    Tensor<float> output(w);
    const std::vector<float> scales(static_cast<std::size_t>(n_scales), 1.0F);
    lab04::dequantize_fp8(Tensor<std::uint8_t>(codes), Fp8Format::kE5M2, scales, output);
  };
  struct Case {
    kit::Shape w;
    kit::Shape codes;
    int n_scales;
  };
  for (const Case& one :
       {Case{{3, 4}, {3, 5}, 3}, Case{{3, 4}, {4, 3}, 3}, Case{{3, 4}, {12}, 3}, Case{{3, 4}, {3, 4}, 4},
        Case{{3, 4}, {3, 4}, 1}, Case{{12}, {12}, 12}, Case{{2, 3, 4}, {2, 3, 4}, 2}}) {
    SCOPED_TRACE(
        fmt::format("w {}, codes {}, {} scales", one.w.to_string(), one.codes.to_string(), one.n_scales));
    EXPECT_TRUE(throws_error([&] { quantizes(one.w, one.codes, one.n_scales); })) << "quantize_fp8";
    EXPECT_TRUE(throws_error([&] { dequantizes(one.w, one.codes, one.n_scales); })) << "dequantize_fp8";
  }
}

}  // namespace
