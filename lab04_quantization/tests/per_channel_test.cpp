#include "lab04/per_channel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "int8_reference.h"
#include "kit/testing.h"
#include "target_model.h"

namespace {

using kit::Tensor;
using kit::TensorView;
using kit::testing::matches;
using kit::testing::throws_error;
using lab04::ChannelAxis;
using lab04_tests::as_floats;
using lab04_tests::Int8Codes;
using lab04_tests::matches_exactly;
using lab04_tests::Sharing;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int8_t kNeverWritten = -128;
constexpr ChannelAxis kBothAxes[] = {ChannelAxis::kRows, ChannelAxis::kColumns};

Sharing sharing_of(ChannelAxis axis) {
  return axis == ChannelAxis::kRows ? Sharing::kRows : Sharing::kColumns;
}

const char* name_of(ChannelAxis axis) {
  return axis == ChannelAxis::kRows ? "kRows" : "kColumns";
}

std::int64_t n_channels(const kit::Shape& w, ChannelAxis axis) {
  return axis == ChannelAxis::kRows ? w[0] : w[1];
}

Int8Codes quantize(TensorView<const float> w, ChannelAxis axis) {
  Tensor<std::int8_t> codes(w.shape(), kNeverWritten);
  Tensor<float> scales = kit::testing::nan_tensor({n_channels(w.shape(), axis)});
  lab04::quantize_per_channel(w, axis, codes, scales.span());
  return {as_floats<std::int8_t>(codes.span(), w.shape()), std::move(scales)};
}

/// Scales and codes exactly: the contract fixes every operation, and each is rounded once on every machine.
void expect_quantized(TensorView<const float> w, ChannelAxis axis) {
  const Sharing sharing = sharing_of(axis);
  const Int8Codes expected = lab04_tests::int8_codes(w, sharing);
  const Int8Codes got = quantize(w, axis);
  EXPECT_TRUE(matches_exactly(got.scales, expected.scales,
                              [&] { return lab04_tests::int8_scale_mistakes(w, sharing); }))
      << "scales by " << name_of(axis) << " of " << w.shape().to_string();
  EXPECT_TRUE(
      matches_exactly(got.codes, expected.codes, [&] { return lab04_tests::int8_code_mistakes(w, sharing); }))
      << "codes by " << name_of(axis) << " of " << w.shape().to_string() << " (" << int{kNeverWritten}
      << " is no code: never written)";
}

/// Rows and columns whose sizes differ by up to a thousand, so that no scale fits another channel.
Tensor<float> uneven(const kit::Shape& shape, kit::Rng& rng) {
  Tensor<float> w = kit::testing::random_tensor(shape, rng);
  std::vector<float> row_size(static_cast<std::size_t>(shape[0]));
  std::vector<float> column_size(static_cast<std::size_t>(shape[1]));
  for (float& size : row_size) size = std::pow(10.0F, rng.uniform(-1.5F, 1.5F));
  for (float& size : column_size) size = std::pow(10.0F, rng.uniform(-1.5F, 1.5F));
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    for (std::int64_t j = 0; j < shape[1]; ++j)
      w(i, j) *= row_size[static_cast<std::size_t>(i)] * column_size[static_cast<std::size_t>(j)];
  }
  return w;
}

//   w       by rows: scale  codes          by columns: scales  1, 2, 0.5
//   127  -64   0.5     1    127 -64   0                     127  -32    1
//    -2  254  63.5     2     -1 127  32                      -2  127  127
// 0.5 is a tie that goes to 0, and 63.5 / 2 = 31.75.
TEST(PerChannelInt8, ByHand) {
  const std::vector<float> values = {127, -64, 0.5F, -2, 254, 63.5F};
  const TensorView<const float> w(values, {2, 3});
  const auto expect = [&](ChannelAxis axis, const std::vector<float>& scales,
                          const std::vector<float>& codes) {
    const Int8Codes got = quantize(w, axis);
    const kit::Shape shape = {static_cast<std::int64_t>(scales.size())};
    EXPECT_TRUE(matches(got.scales, TensorView<const float>(scales, shape), {})) << name_of(axis);
    EXPECT_TRUE(matches(got.codes, TensorView<const float>(codes, {2, 3}), {},
                        lab04_tests::int8_code_mistakes(w, sharing_of(axis))))
        << name_of(axis);
  };
  expect(ChannelAxis::kRows, {1, 2}, {127, -64, 0, -1, 127, 32});
  expect(ChannelAxis::kColumns, {1, 2, 0.5F}, {127, -32, 1, -2, 127, 127});
}

// In a square matrix both axes have as many channels, and nothing but the numbers tells them apart.
TEST(PerChannelInt8, AxesAreNotExchanged) {
  kit::Rng rng = kit::testing::make_rng(120);
  for (const int n : {2, 33}) {
    const Tensor<float> w = uneven({n, n}, rng);
    for (const ChannelAxis axis : kBothAxes) expect_quantized(w, axis);
    if (HasFailure()) return;
  }
}

TEST(PerChannelInt8, MatchesTheDefinitionOnOddSizes) {
  kit::Rng rng = kit::testing::make_rng(121);
  for (const kit::Shape& shape :
       {kit::Shape{1, 1}, {1, 31}, {31, 1}, {33, 31}, {31, 33}, {7, 1000}, {1000, 3}}) {
    const Tensor<float> w = uneven(shape, rng);
    for (const ChannelAxis axis : kBothAxes) expect_quantized(w, axis);
    if (HasFailure()) return;
  }
}

TEST(PerChannelInt8, TiesGoToTheEvenCode) {
  Tensor<float> w({4, 256});
  const std::vector<float> max = {127.0F, 381.0F, 100.0F, 0.7F};
  for (std::int64_t i = 0; i < 4; ++i) {
    const float scale = max[static_cast<std::size_t>(i)] / 127.0F;
    w(i, 0) = -max[static_cast<std::size_t>(i)];
    w(i, 1) = max[static_cast<std::size_t>(i)];
    for (int code = -127; code < 127; ++code) w(i, code + 129) = scale * (static_cast<float>(code) + 0.5F);
  }
  expect_quantized(w, ChannelAxis::kRows);
  Tensor<float> transposed({256, 4});
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < 256; ++j) transposed(j, i) = w(i, j);
  }
  expect_quantized(transposed, ChannelAxis::kColumns);
}

TEST(PerChannelInt8, ChannelsDoNotSeeEachOther) {
  kit::Rng rng = kit::testing::make_rng(122);
  const Tensor<float> w = kit::testing::random_tensor({31, 33}, rng);
  Tensor<float> with_outlier = w;
  with_outlier(17, 29) = -500.0F;
  for (const ChannelAxis axis : kBothAxes) {
    const bool by_rows = axis == ChannelAxis::kRows;
    const Int8Codes before = quantize(w, axis);
    const Int8Codes after = quantize(with_outlier, axis);
    const std::int64_t hit = by_rows ? 17 : 29;
    for (std::int64_t c = 0; c < n_channels(w.shape(), axis); ++c) {
      if (c == hit) {
        EXPECT_NEAR(after.scales(c), 500.0 / 127, 1e-5) << name_of(axis) << ", the outlier's own channel";
      } else {
        EXPECT_EQ(after.scales(c), before.scales(c)) << name_of(axis) << ", channel " << c;
      }
    }
    for (std::int64_t i = 0; i < 31; ++i) {
      for (std::int64_t j = 0; j < 33; ++j) {
        if ((by_rows ? i : j) == hit) continue;
        ASSERT_EQ(after.codes(i, j), before.codes(i, j))
            << name_of(axis) << ", (" << i << ", " << j << "), an outlier is at (17, 29)";
      }
    }
  }
}

TEST(PerChannelInt8, ChannelsOfZerosAndOfTinyNumbersHaveTheScaleOne) {
  kit::Rng rng = kit::testing::make_rng(123);
  Tensor<float> w = kit::testing::random_tensor({31, 33}, rng);
  for (std::int64_t j = 0; j < 33; ++j) {
    w(0, j) = 0.0F;
    w(30, j) = 1e-38F;  // / 127 is less than 2^-126
  }
  for (std::int64_t i = 0; i < 31; ++i) w(i, 7) = -0.0F;
  for (const ChannelAxis axis : kBothAxes) expect_quantized(w, axis);
  EXPECT_EQ(quantize(w, ChannelAxis::kRows).scales(0), 1.0F);
  EXPECT_EQ(quantize(w, ChannelAxis::kRows).scales(30), 1.0F);
  EXPECT_EQ(quantize(w, ChannelAxis::kColumns).scales(7), 1.0F);
  // Rows without elements: nothing is not finite, and nothing is too large.
  EXPECT_EQ(quantize(Tensor<float>({3, 0}), ChannelAxis::kRows).scales(2), 1.0F);
}

TEST(PerChannelInt8, NamesRowAndColumnOfWhatIsNotFinite) {
  for (const ChannelAxis axis : kBothAxes) {
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      Tensor<float> w({419, 353}, 0.5F);
      w(283, 307) = bad;
      EXPECT_TRUE(throws_error([&] { (void)quantize(w, axis); }, "283")) << bad << " in row 283";
      EXPECT_TRUE(throws_error([&] { (void)quantize(w, axis); }, "307")) << bad << " in column 307";
    }
  }
}

TEST(PerChannelInt8, RejectsShapesThatDisagree) {
  std::vector<float> scales(400, 1.0F);
  const auto quantize_as = [&](const kit::Shape& w, const kit::Shape& q, std::size_t n_scales,
                               ChannelAxis axis) {
    return [&scales, w, q, n_scales, axis] {
      const Tensor<float> input(w, 1.0F);
      Tensor<std::int8_t> codes(q);
      lab04::quantize_per_channel(input, axis, codes, std::span(scales).first(n_scales));
    };
  };
  EXPECT_TRUE(throws_error(quantize_as({31, 33}, {33, 31}, 31, ChannelAxis::kRows))) << "q is transposed";
  EXPECT_TRUE(throws_error(quantize_as({31, 33}, {1023}, 31, ChannelAxis::kRows))) << "q is a vector";
  EXPECT_TRUE(throws_error(quantize_as({1023}, {1023}, 1, ChannelAxis::kRows))) << "both are vectors";
  EXPECT_TRUE(throws_error(quantize_as({31, 3, 11}, {31, 3, 11}, 31, ChannelAxis::kRows))) << "rank 3";
  EXPECT_TRUE(throws_error(quantize_as({31, 33}, {31, 33}, 33, ChannelAxis::kRows), "33"))
      << "a scale for each column";
  EXPECT_TRUE(throws_error(quantize_as({31, 33}, {31, 33}, 31, ChannelAxis::kColumns), "31"))
      << "a scale for each row";
  EXPECT_TRUE(throws_error(quantize_as({31, 33}, {31, 33}, 0, ChannelAxis::kRows))) << "no scales";
}

TEST(DequantizePerChannel, EachCodeTimesItsChannelsScale) {
  kit::Rng rng = kit::testing::make_rng(124);
  for (const kit::Shape& shape : {kit::Shape{33, 33}, {7, 31}, {1, 1}, {1000, 3}}) {
    Tensor<std::int8_t> codes(shape);
    for (std::int8_t& code : codes.span())
      code = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
    for (const ChannelAxis axis : kBothAxes) {
      const bool by_rows = axis == ChannelAxis::kRows;
      Tensor<float> scales({n_channels(shape, axis)});
      rng.fill_uniform(scales.span(), 0.01F, 5.0F);
      const Tensor<float> floats = as_floats<std::int8_t>(codes.span(), shape);
      const Int8Codes q = {floats, scales};
      std::vector<kit::KnownMistake> mistakes = {
          {"the first scale for every channel",
           lab04_tests::decode_int8({floats, Tensor<float>({1}, scales(0))}, Sharing::kTensor)}};
      if (shape[0] == shape[1]) {
        mistakes.push_back({"scales of the other axis",
                            lab04_tests::decode_int8(q, by_rows ? Sharing::kColumns : Sharing::kRows)});
      }
      Tensor<float> got = kit::testing::nan_tensor(shape);
      lab04::dequantize_per_channel(codes, scales.span(), axis, got);
      // One product of two floats: 1 ulp would do.
      EXPECT_TRUE(matches(got, lab04_tests::decode_int8(q, sharing_of(axis)), {.relative = 2e-7}, mistakes))
          << name_of(axis) << " of " << shape.to_string();
    }
  }
}

TEST(DequantizePerChannel, RejectsWhatCannotBe) {
  const Tensor<std::int8_t> codes({31, 33}, 1);
  Tensor<float> w({31, 33});
  Tensor<float> transposed({33, 31});
  for (const ChannelAxis axis : kBothAxes) {
    const auto n = static_cast<std::size_t>(n_channels(codes.shape(), axis));
    const auto dequantize = [&](const std::vector<float>& scales, TensorView<float> out) {
      return [&, scales, out] { lab04::dequantize_per_channel(codes, scales, axis, out); };
    };
    const std::vector<float> good(n, 0.5F);
    EXPECT_TRUE(throws_error(dequantize(good, transposed))) << name_of(axis) << ", w is transposed";
    EXPECT_TRUE(throws_error(dequantize(std::vector<float>(64 - n, 0.5F), w)))
        << name_of(axis) << ", scales of the other axis";
    for (const float bad : {0.0F, -0.5F, kNan, kInfinity}) {
      std::vector<float> scales = good;
      scales.back() = bad;
      EXPECT_TRUE(throws_error(dequantize(scales, w), fmt::format("{}", bad)))
          << name_of(axis) << ", the last scale is " << bad;
    }
  }
}

TEST(PerChannelInt8, WeightsOfTheTarget) {
  const std::vector<kit::LinearId> ids = kit::linears_of(lab04_tests::target_config());
  for (std::size_t i = 2; i < ids.size(); i += 5) {  // five is prime to seven: every kind of linear
    const Tensor<float>& w = kit::weight_of(*lab04_tests::target_weights(), ids[i]);
    SCOPED_TRACE(ids[i].to_string());
    for (const ChannelAxis axis : kBothAxes) expect_quantized(w, axis);
    if (HasFailure()) return;
  }
}

/// SNR of all rows but one.
double snr_without_row(const Tensor<float>& w, const Tensor<float>& decoded, std::int64_t row) {
  std::vector<float> reference;
  std::vector<float> approximation;
  for (std::int64_t i = 0; i < w.dim(0); ++i) {
    if (i == row) continue;
    reference.insert(reference.end(), w.row(i).begin(), w.row(i).end());
    approximation.insert(approximation.end(), decoded.row(i).begin(), decoded.row(i).end());
  }
  return lab04_tests::reference_metrics(reference, approximation).snr_db;
}

// One weight of a real layer grows. With one scale for the tensor every other weight pays: the steps become
// as wide as the outlier is tall. With a scale for each row only its own row does.
TEST(PerChannelInt8, OneOutlierCostsItsOwnRowAlone) {
  const kit::LinearId id = {.layer = 2, .kind = kit::LinearKind::kDown};
  Tensor<float> w = kit::weight_of(*lab04_tests::target_weights(), id);
  float max = 0.0F;
  for (const float x : w.span()) max = std::max(max, std::abs(x));
  constexpr std::int64_t kRow = 100;
  std::vector<double> factors;
  std::vector<double> per_tensor;
  std::vector<double> per_row;
  for (const float factor : {1.0F, 2.0F, 5.0F, 10.0F, 20.0F, 50.0F, 100.0F}) {
    w(kRow, 30) = factor * max;
    const Tensor<float> decoded = lab04_tests::decode_int8(quantize(w, ChannelAxis::kRows), Sharing::kRows);
    factors.push_back(factor);
    per_row.push_back(snr_without_row(w, decoded, kRow));
    per_tensor.push_back(snr_without_row(w, lab04_tests::reference_int8_per_tensor(w), kRow));
  }
  kit::testing::record_series("outlier", factors);
  kit::testing::record_series("snr_per_tensor_db", per_tensor);
  kit::testing::record_series("snr_per_row_db", per_row);
  // The other rows' codes do not change at all.
  for (std::size_t i = 1; i < factors.size(); ++i) {
    EXPECT_EQ(per_row[i], per_row[0])
        << "dB, with an outlier of " << factors[i] << " times the largest weight"
        << (per_row[i] <= per_tensor[i] + 0.01 ? "\nLikely cause: one scale for the whole tensor" : "");
  }
  // With factor 1 per row is better already; with 100 most weights of the tensor's grid are 0.
  EXPECT_GT(per_row[0], per_tensor[0] + 1.0) << "dB";
  EXPECT_GT(per_row.back(), per_tensor.back() + 30.0) << "dB";
}

}  // namespace
