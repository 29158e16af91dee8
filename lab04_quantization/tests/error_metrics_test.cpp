#include "lab04/error_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "int8_reference.h"
#include "kit/testing.h"
#include "target_model.h"

namespace {

using kit::Tensor;
using kit::testing::KnownValue;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab04::ErrorMetrics;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Sums in double of up to 200,000 terms, all positive: 200,000 * 2^-53 = 2e-11 in the worst order.
constexpr double kTolerance = 1e-10;
/// SNR in dB is near zero where error and signal are of one size, so its tolerance is absolute: of the
/// quotient's relative error 4.34 times as many dB.
constexpr double kToleranceDb = 1e-9;

/// What else is computed for these numbers, of the same e and r.
struct Wrong {
  std::vector<KnownValue> mse, noise_power, snr_db, relative_norm, max_abs;
};

Wrong mistakes(std::span<const float> reference, std::span<const float> approximation) {
  const ErrorMetrics right = lab04_tests::reference_metrics(reference, approximation);
  const auto n = static_cast<double>(reference.size());
  double power = 0.0;
  double error_mean = 0.0;
  double max_signed = -1e300;
  double mean_abs = 0.0;
  float float_mse = 0.0F;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double e = double{approximation[i]} - reference[i];
    power += double{reference[i]} * reference[i] / n;
    error_mean += e / n;
    mean_abs += std::abs(e) / n;
    max_signed = std::max(max_signed, e);
    float_mse += (approximation[i] - reference[i]) * (approximation[i] - reference[i]);
  }
  const double variance = right.mse / right.noise_power;
  const double amplitude = right.relative_norm;
  return {
      .mse = {{"a sum of squares, not their mean", right.mse * n},
              {"the root of the mean square, an amplitude", std::sqrt(right.mse)},
              {"the mean of |e|", mean_abs},
              {"a sum in float: it stops growing when it is large", float_mse / n},
              {"the error's variance: its mean counts as error, too", right.mse - error_mean * error_mean}},
      .noise_power = {{"mse / mean(r^2): the variance is of what differs from the mean", right.mse / power},
                      {"an amplitude, the root of the power", std::sqrt(right.noise_power)},
                      {"a variance over n - 1", right.noise_power * (n - 1) / n},
                      {"mse / the standard deviation, which is not squared", right.mse / std::sqrt(variance)},
                      {"percent", 100 * right.noise_power}},
      .snr_db = {{"20 log10, which is for amplitudes: this is a quotient of powers", 2 * right.snr_db},
                 {"5 log10, or 10 log10 of amplitudes", right.snr_db / 2},
                 {"10 log10(mse / power): upside down", -right.snr_db},
                 {"the natural logarithm", right.snr_db * std::log(10.0)},
                 {"log10 without the 10: bels", right.snr_db / 10},
                 {"10 log10(variance / mse): the signal's power includes its mean",
                  -10 * std::log10(right.noise_power)}},
      .relative_norm = {{"a quotient of powers: ||e||^2 / ||r||^2 without the root", amplitude * amplitude},
                        {"the root of the noise power: ||r|| includes the mean",
                         std::sqrt(right.noise_power)},
                        {"percent", 100 * amplitude}},
      .max_abs = {{"max e: errors downward are errors, too", max_signed},
                  {"the mean of |e|, not the largest", mean_abs}}};
}

void expect_metrics(std::span<const float> reference, std::span<const float> approximation) {
  const ErrorMetrics expected = lab04_tests::reference_metrics(reference, approximation);
  const ErrorMetrics got = lab04::error_metrics(reference, approximation);
  const Wrong wrong = mistakes(reference, approximation);
  EXPECT_TRUE(matches_value(got.mse, expected.mse, kTolerance, wrong.mse)) << "mse";
  EXPECT_TRUE(matches_value(got.noise_power, expected.noise_power, kTolerance, wrong.noise_power))
      << "noise_power";
  const double relative_db = kToleranceDb / std::abs(expected.snr_db);
  EXPECT_TRUE(matches_value(got.snr_db, expected.snr_db, relative_db, wrong.snr_db)) << "snr_db";
  EXPECT_TRUE(matches_value(got.relative_norm, expected.relative_norm, kTolerance, wrong.relative_norm))
      << "relative_norm";
  EXPECT_TRUE(matches_value(got.max_abs, expected.max_abs, kTolerance, wrong.max_abs)) << "max_abs";
}

/// `reference` and errors of `size`.
Tensor<float> with_errors(const Tensor<float>& reference, float size, kit::Rng& rng) {
  Tensor<float> approximation = reference;
  for (float& x : approximation.span()) x += size * static_cast<float>(rng.normal());
  return approximation;
}

// r = 1 2 3 4, e = 0.5 0 0 -1:  mse = 1.25 / 4 = 0.3125.  The mean of r is 2.5, its variance 1.25, mean(r^2)
// 7.5: noise power 0.25, SNR 10 log10(24) = 13.80 dB, ||e|| / ||r|| = sqrt(1.25 / 30) = 0.2041.
TEST(ErrorMetrics, ByHand) {
  const std::vector<float> reference = {1, 2, 3, 4};
  const std::vector<float> approximation = {1.5F, 2, 3, 3};
  expect_metrics(reference, approximation);
  const ErrorMetrics got = lab04::error_metrics(reference, approximation);
  EXPECT_NEAR(got.mse, 0.3125, 1e-12);
  EXPECT_NEAR(got.noise_power, 0.25, 1e-12);
  EXPECT_NEAR(got.snr_db, 13.802112417, 1e-8);
  EXPECT_NEAR(got.relative_norm, 0.204124145, 1e-8);
  EXPECT_NEAR(got.max_abs, 1.0, 1e-12);
}

TEST(ErrorMetrics, MatchesTheDefinitionsOnOddSizes) {
  kit::Rng rng = kit::testing::make_rng(130);
  for (const int n : {2, 3, 31, 33, 1000}) {
    for (const float error : {1e-3F, 0.1F, 3.0F}) {  // 3: more error than signal, a negative SNR
      Tensor<float> reference = kit::testing::random_tensor({n}, rng, 0.5F);
      for (float& x : reference.span()) x += 0.3F;
      SCOPED_TRACE(fmt::format("{} numbers with errors of {}", n, error));
      expect_metrics(reference.span(), with_errors(reference, error, rng).span());
    }
  }
}

// Weights have no mean to speak of, activations have. What all numbers have in common is no signal for the
// noise power, and is for the SNR.
TEST(ErrorMetrics, NoisePowerIsRelativeToTheVariance) {
  kit::Rng rng = kit::testing::make_rng(131);
  for (const float mean : {20.0F, -3.0F}) {
    Tensor<float> reference = kit::testing::random_tensor({1000}, rng);
    for (float& x : reference.span()) x += mean;
    SCOPED_TRACE(fmt::format("numbers around {}", mean));
    expect_metrics(reference.span(), with_errors(reference, 0.05F, rng).span());
  }
}

TEST(ErrorMetrics, VarianceDoesNotCancel) {
  // Around 2^18 floats are 1/32 apart, which is fine: the reference is what it is. But mean(r^2) is 6.9e10
  // with 16 digits, and the variance about 1.
  kit::Rng rng = kit::testing::make_rng(132);
  Tensor<float> reference = kit::testing::random_tensor({1001}, rng);
  for (float& x : reference.span()) x += 262144.0F;
  const Tensor<float> approximation = with_errors(reference, 1.0F, rng);
  const ErrorMetrics expected = lab04_tests::reference_metrics(reference.span(), approximation.span());
  const ErrorMetrics got = lab04::error_metrics(reference.span(), approximation.span());
  // A running mean is off by 1e-10 at times, which is fine. The one-pass variance is off by 1e-5.
  EXPECT_TRUE(matches_value(got.noise_power, expected.noise_power, 1e-8))
      << (std::abs(got.noise_power / expected.noise_power - 1) < 0.1
              ? "Likely cause: the variance as mean(r^2) - mean(r)^2, two large numbers that cancel"
              : "");
}

TEST(ErrorMetrics, SumsAreInDouble) {
  kit::Rng rng = kit::testing::make_rng(133);
  const Tensor<float> reference = kit::testing::random_tensor({200'000}, rng);
  expect_metrics(reference.span(), with_errors(reference, 0.01F, rng).span());
  // Squares of these do not fit a float, and neither do squares of their errors.
  expect_metrics(std::vector<float>{1e30F, -2e30F, 3e30F}, std::vector<float>{1.5e30F, -2e30F, 2e30F});
  expect_metrics(std::vector<float>{1e-30F, -2e-30F, 3e-30F}, std::vector<float>{1.5e-30F, -2e-30F, 2e-30F});
  // The difference of the largest floats does not either.
  expect_metrics(std::vector<float>{3e38F, -1.0F}, std::vector<float>{-3e38F, 1.0F});
}

TEST(ErrorMetrics, DecibelsAmplitudeAndPowerAgree) {
  // An amplitude of 1 % is a power of 0.01 % and 40 dB: half of the numbers of an article about quantization
  // mean the one, half the other.
  kit::Rng rng = kit::testing::make_rng(134);
  std::vector<float> reference(1000);
  std::vector<float> approximation(1000);
  for (std::size_t i = 0; i < reference.size(); ++i) {
    reference[i] = i % 2 == 0 ? 100.0F : -100.0F;  // no mean
    approximation[i] = reference[i] + (rng.below(2) == 0 ? 1.0F : -1.0F);
  }
  const ErrorMetrics got = lab04::error_metrics(reference, approximation);
  EXPECT_TRUE(matches_value(got.relative_norm, 0.01, kTolerance,
                            std::vector<KnownValue>{{"the power, not the amplitude", 0.0001}}));
  EXPECT_TRUE(matches_value(got.noise_power, 0.0001, kTolerance,
                            std::vector<KnownValue>{{"the amplitude, not the power", 0.01}}));
  EXPECT_TRUE(
      matches_value(got.snr_db, 40.0, kTolerance,
                    std::vector<KnownValue>{{"20 log10 of a quotient of powers: 20 is for amplitudes", 80.0},
                                            {"10 log10 of amplitudes", 20.0}}));
}

TEST(ErrorMetrics, NoErrorAtAll) {
  kit::Rng rng = kit::testing::make_rng(135);
  for (const Tensor<float>& x :
       {kit::testing::random_tensor({33}, rng), Tensor<float>({31}, 5.0F), Tensor<float>({31}, 0.0F)}) {
    const ErrorMetrics got = lab04::error_metrics(x.span(), x.span());
    EXPECT_EQ(got.mse, 0.0);
    EXPECT_EQ(got.noise_power, 0.0) << "0 / 0 is 0 here: there is no error";
    EXPECT_EQ(got.snr_db, kInfinity) << "no error is infinitely far below any signal";
    EXPECT_EQ(got.relative_norm, 0.0);
    EXPECT_EQ(got.max_abs, 0.0);
  }
}

TEST(ErrorMetrics, ReferenceWithoutASignal) {
  // A constant has no variance, but a power: mse = 0.25, mean(r^2) = 25, 20 dB.
  const ErrorMetrics constant =
      lab04::error_metrics(std::vector<float>(31, 5.0F), std::vector<float>(31, 5.5F));
  EXPECT_EQ(constant.noise_power, kInfinity);
  EXPECT_NEAR(constant.snr_db, 20.0, 1e-9);
  EXPECT_NEAR(constant.relative_norm, 0.1, 1e-12);
  // Zeros have neither.
  const ErrorMetrics zeros =
      lab04::error_metrics(std::vector<float>(33, 0.0F), std::vector<float>(33, -0.5F));
  EXPECT_EQ(zeros.mse, 0.25);
  EXPECT_EQ(zeros.noise_power, kInfinity);
  EXPECT_EQ(zeros.snr_db, -kInfinity);
  EXPECT_EQ(zeros.relative_norm, kInfinity);
  EXPECT_EQ(zeros.max_abs, 0.5);
  // A single number has no variance either.
  EXPECT_EQ(lab04::error_metrics(std::vector<float>{2.0F}, std::vector<float>{1.0F}).noise_power, kInfinity);
}

TEST(ErrorMetrics, OfTheTargetInInt8) {
  const std::vector<kit::LinearId> ids = kit::linears_of(lab04_tests::target_config());
  for (std::size_t i = 0; i < ids.size(); i += 8) {
    const Tensor<float>& w = kit::weight_of(*lab04_tests::target_weights(), ids[i]);
    SCOPED_TRACE(ids[i].to_string());
    expect_metrics(w.span(), lab04_tests::reference_int8_per_tensor(w).span());
  }
}

TEST(ErrorMetrics, RejectsWhatHasNoAnswer) {
  const std::vector<float> good(33, 1.0F);
  EXPECT_TRUE(throws_error([] { (void)lab04::error_metrics({}, {}); })) << "no elements";
  EXPECT_TRUE(throws_error([&] { (void)lab04::error_metrics(good, std::vector<float>(32, 1.0F)); }, "32"));
  EXPECT_TRUE(throws_error([&] { (void)lab04::error_metrics(std::vector<float>(34, 1.0F), good); }, "34"));
  for (const float value : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> bad = good;
    bad[20] = value;
    EXPECT_TRUE(throws_error([&] { (void)lab04::error_metrics(good, bad); }))
        << value << " in the approximation";
    EXPECT_TRUE(throws_error([&] { (void)lab04::error_metrics(bad, good); })) << value << " in the reference";
    EXPECT_TRUE(throws_error([&] { (void)lab04::error_metrics(bad, bad); })) << value << " in both";
  }
}

}  // namespace
