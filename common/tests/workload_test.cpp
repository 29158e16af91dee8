#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kit/check.h"
#include "kit/simulated_server.h"
#include "kit/testing.h"

namespace kit::testing {
namespace {

constexpr int kDraws = 100'000;

std::vector<SimulatedRequest> all_of(const WorkloadConfig& config, std::uint64_t stream) {
  const RequestSource source = make_workload(config, make_rng(stream));
  std::vector<SimulatedRequest> requests;
  while (const std::optional<SimulatedRequest> request = source()) requests.push_back(*request);
  return requests;
}

std::vector<double> output_lengths(Lengths lengths, int mean, std::uint64_t stream) {
  std::vector<double> result;
  for (const SimulatedRequest& request :
       all_of({.n_requests = kDraws, .output = lengths, .mean_output_len = mean}, stream))
    result.push_back(request.output_len);
  return result;
}

// The mean of n draws deviates from the expectation by more than 5.5 standard errors once in 26 million
// times.
void expect_mean(const std::vector<double>& values, double mean, double variance) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, mean, 5.5 * std::sqrt(variance / n)) << "expected mean " << mean;
}

// The share of draws with a property of this probability: a binomial, within the same 5.5 standard errors.
void expect_share(std::int64_t count, double probability) {
  EXPECT_NEAR(static_cast<double>(count) / kDraws, probability,
              5.5 * std::sqrt(probability * (1.0 - probability) / kDraws));
}

std::int64_t count_above(const std::vector<double>& values, double limit) {
  return std::ranges::count_if(values, [&](double value) { return value > limit; });
}

TEST(Workload, IsTheSameForTheSameGenerator) {
  const WorkloadConfig config{
      .n_requests = 100, .arrivals = Arrivals::kPoisson, .requests_per_s = 50.0, .mean_output_len = 32};
  const auto a = all_of(config, 1);
  const auto b = all_of(config, 1);
  const auto c = all_of(config, 2);
  int differences = 0;
  ASSERT_EQ(a.size(), 100U);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].id, static_cast<int>(i));
    EXPECT_EQ(a[i].arrival_ms, b[i].arrival_ms);
    EXPECT_EQ(a[i].prompt_len, b[i].prompt_len);
    EXPECT_EQ(a[i].output_len, b[i].output_len);
    differences += a[i].output_len != c[i].output_len ? 1 : 0;
  }
  EXPECT_GT(differences, 50);
}

TEST(Workload, ArrivalsDoNotChangeTheRequests) {
  WorkloadConfig config{
      .n_requests = 100, .requests_per_s = 50.0, .mean_output_len = 32, .mean_prompt_len = 9};
  const auto at_once = all_of(config, 1);
  config.arrivals = Arrivals::kBursty;
  const auto bursty = all_of(config, 1);
  for (std::size_t i = 0; i < at_once.size(); ++i) {
    EXPECT_EQ(at_once[i].prompt_len, bursty[i].prompt_len);
    EXPECT_EQ(at_once[i].output_len, bursty[i].output_len);
  }
}

TEST(Workload, EqualLengthsAreTheMean) {
  for (const double length : output_lengths(Lengths::kEqual, 33, 3)) ASSERT_EQ(length, 33.0);
}

TEST(Workload, UniformLengthsHaveTheirMeanAndRange) {
  for (const int mean : {2, 32, 1000}) {
    const auto lengths = output_lengths(Lengths::kUniform, mean, 4);
    const double n_values = 2.0 * mean - 1.0;
    expect_mean(lengths, mean, (n_values * n_values - 1.0) / 12.0);
    EXPECT_GE(*std::ranges::min_element(lengths), 1.0);
    EXPECT_LE(*std::ranges::max_element(lengths), n_values);
    expect_share(count_above(lengths, mean), (mean - 1.0) / n_values);
  }
}

TEST(Workload, ExponentialLengthsAreGeometric) {
  for (const int mean : {2, 32, 1000}) {
    const auto lengths = output_lengths(Lengths::kExponential, mean, 5);
    expect_mean(lengths, mean, mean * (mean - 1.0));  // (1 - p) / p^2 at p = 1 / mean
    EXPECT_GE(*std::ranges::min_element(lengths), 1.0);
    for (const int n : {1, mean, 3 * mean})
      expect_share(count_above(lengths, n), std::pow(1.0 - 1.0 / mean, n));
  }
}

TEST(Workload, LongTailedLengthsHaveTheirMeanAndTail) {
  for (const int mean : {2, 32, 1000}) {
    const auto lengths = output_lengths(Lengths::kLongTailed, mean, 6);
    const double tail_mean = mean - 1.0;  // of the log-normal part
    // Cutting at c = 50 mean takes E[max(X - c, 0)] = tail_mean N(1 - a) - c N(-a) off the mean, with a = (ln
    // c - mu) / sigma, as in the price of an option: 7e-5 of it. Rounding adds at most 1/4 to the variance.
    const double a = std::log(50.0 * mean / tail_mean) + 0.5;
    const auto normal_cdf = [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); };
    const double cut = tail_mean * normal_cdf(1.0 - a) - 50.0 * mean * normal_cdf(-a);
    expect_mean(lengths, mean - cut, tail_mean * tail_mean * (std::numbers::e - 1.0) + 0.25);
    EXPECT_GE(*std::ranges::min_element(lengths), 1.0);
    EXPECT_LE(*std::ranges::max_element(lengths), 50.0 * mean);
    if (mean ==
        1000) {  // where rounding does not matter: half of all are under exp(mu), 2.3 % over exp(mu + 2)
      const double median = tail_mean * std::exp(-0.5);
      expect_share(count_above(lengths, 1.0 + median), 0.5);
      expect_share(count_above(lengths, 1.0 + median * std::exp(2.0)), normal_cdf(-2.0));
    }
  }
}

TEST(Workload, LengthsOfMeanOneAreOne) {
  for (const Lengths lengths :
       {Lengths::kEqual, Lengths::kUniform, Lengths::kExponential, Lengths::kLongTailed})
    for (const double length : output_lengths(lengths, 1, 7)) ASSERT_EQ(length, 1.0);
}

TEST(Workload, PromptsAreUniform) {
  std::vector<double> lengths;
  for (const SimulatedRequest& request :
       all_of({.n_requests = kDraws, .mean_output_len = 1, .mean_prompt_len = 17}, 8))
    lengths.push_back(request.prompt_len);
  expect_mean(lengths, 17.0, (33.0 * 33.0 - 1.0) / 12.0);
  EXPECT_EQ(*std::ranges::min_element(lengths), 1.0);
  EXPECT_EQ(*std::ranges::max_element(lengths), 33.0);
}

TEST(Workload, AtOnceIsAtZero) {
  for (const SimulatedRequest& request : all_of({.n_requests = 50, .mean_output_len = 4}, 9))
    ASSERT_EQ(request.arrival_ms, 0.0);
}

TEST(Workload, PoissonArrivalsHaveExponentialGaps) {
  const auto requests = all_of(
      {.n_requests = kDraws, .arrivals = Arrivals::kPoisson, .requests_per_s = 40.0, .mean_output_len = 1},
      10);
  std::vector<double> gaps = {requests[0].arrival_ms};
  for (std::size_t i = 1; i < requests.size(); ++i)
    gaps.push_back(requests[i].arrival_ms - requests[i - 1].arrival_ms);
  EXPECT_GE(*std::ranges::min_element(gaps), 0.0);
  expect_mean(gaps, 25.0, 25.0 * 25.0);
  expect_share(count_above(gaps, 25.0), std::exp(-1.0));
  expect_share(count_above(gaps, 75.0), std::exp(-3.0));
}

TEST(Workload, BurstsAreGroupsOfSixteenAtTheSameMeanRate) {
  const auto requests = all_of(
      {.n_requests = kDraws, .arrivals = Arrivals::kBursty, .requests_per_s = 40.0, .mean_output_len = 1},
      11);
  std::vector<double> gaps;
  double last_ms = 0.0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (i % 16 != 0) {
      ASSERT_EQ(requests[i].arrival_ms, last_ms) << "request " << i << " is in the same group";
      continue;
    }
    gaps.push_back(requests[i].arrival_ms - last_ms);
    last_ms = requests[i].arrival_ms;
  }
  expect_mean(gaps, 16 * 25.0, 16 * 25.0 * 16 * 25.0);
}

TEST(Workload, RefusesWhatCannotBe) {
  const auto refused = [](const WorkloadConfig& config, const std::string& needle) {
    return throws_error([&] { make_workload(config, make_rng(12)); }, needle);
  };
  const WorkloadConfig good{
      .n_requests = 1, .arrivals = Arrivals::kPoisson, .requests_per_s = 1.0, .mean_output_len = 1};
  EXPECT_NO_THROW(make_workload(good, make_rng(12)));
  WorkloadConfig bad = good;
  bad.n_requests = -1;
  EXPECT_TRUE(refused(bad, "n_requests is -1"));
  bad = good;
  bad.mean_output_len = 0;
  EXPECT_TRUE(refused(bad, "mean_output_len is 0"));
  bad.mean_output_len = 10'000'001;
  EXPECT_TRUE(refused(bad, "mean_output_len is 10000001"));
  bad = good;
  bad.mean_prompt_len = -3;
  EXPECT_TRUE(refused(bad, "mean_prompt_len is -3"));
  bad = good;
  for (const double rate :
       {0.0, -1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    bad.requests_per_s = rate;
    EXPECT_TRUE(refused(bad, "requests_per_s"));
  }
  bad.arrivals = Arrivals::kAtOnce;
  EXPECT_NO_THROW(make_workload(bad, make_rng(12))) << "no rate is needed";
}

}  // namespace
}  // namespace kit::testing
