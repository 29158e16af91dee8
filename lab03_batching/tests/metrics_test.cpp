#include "lab03/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kit/testing.h"

namespace {

using kit::RequestTimes;
using kit::testing::KnownValue;
using kit::testing::matches_value;
using kit::testing::throws_error;

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A request that arrives after at least 1 ms, waits, runs its prompt, and writes; all four times differ.
RequestTimes random_request(kit::Rng& rng, int id) {
  RequestTimes times;
  times.id = id;
  times.arrival_ms = 1 + 500 * rng.uniform();
  times.scheduled_ms = times.arrival_ms + 1 + 90 * rng.uniform();
  times.first_token_ms = times.scheduled_ms + 1 + 40 * rng.uniform();
  times.output_len = 2 + static_cast<int>(rng.below(200));
  times.finished_ms = times.first_token_ms + (times.output_len - 1) * (1 + 30 * rng.uniform());
  times.prompt_len = 1 + static_cast<int>(rng.below(1000));
  return times;
}

/// The definition, as plainly as possible: the first sorted value at which p percent are reached.
double nearest_rank(std::vector<double> values, int p) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<std::int64_t>(values.size());
  for (std::int64_t rank = 1; rank <= n; ++rank) {
    if (100 * rank >= p * n) return values[static_cast<std::size_t>(rank - 1)];
  }
  return kNan;
}

/// Wrong percentiles of sorted values.
std::vector<KnownValue> percentile_mistakes(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  const auto at = [&](double index) {
    return values[static_cast<std::size_t>(std::clamp(index, 0.0, n - 1))];
  };
  const double place = p / 100 * (n - 1);
  const double interpolated = at(std::floor(place)) + (place - std::floor(place)) *
                                                          (at(std::floor(place) + 1) - at(std::floor(place)));
  return {
      {"ceil(p / 100 * n): the quotient is not exact, and 7 / 100 * 100 is 7.000000000000001",
       at(std::ceil(p / 100 * n) - 1)},
      {"the value behind the nearest rank: ranks count from 1, indices from 0", at(std::ceil(p * n / 100))},
      {"the index floor(p * n / 100): off by one where p * n / 100 is whole", at(std::floor(p * n / 100))},
      {"interpolation between two values; the nearest rank is always one of them", interpolated}};
}

void expect_percentile(const std::vector<double>& values, int p) {
  const std::vector<KnownValue> mistakes = percentile_mistakes(values, p);
  EXPECT_TRUE(matches_value(lab03::percentile(values, p), nearest_rank(values, p), 0.0, mistakes))
      << "p = " << p << " of " << values.size() << " values";
}

// A request that arrives at 100 ms, runs from 120 ms on, has its first token at 170 ms and its tenth and last
// at 530 ms: it waited 20 ms, its user 70 ms for the first token and 430 ms in all, and the other NINE tokens
// took 530 - 170 = 360 ms, 40 ms each.
TEST(RequestMetrics, ByHand) {
  const lab03::RequestMetrics got = lab03::request_metrics({.id = 3,
                                                            .arrival_ms = 100,
                                                            .scheduled_ms = 120,
                                                            .first_token_ms = 170,
                                                            .finished_ms = 530,
                                                            .prompt_len = 64,
                                                            .output_len = 10});
  EXPECT_TRUE(matches_value(got.queue_ms, 20, kExact,
                            std::vector<KnownValue>{{"the time to the first token, prefill included", 70}}));
  EXPECT_TRUE(matches_value(
      got.time_to_first_token_ms, 70, kExact,
      std::vector<KnownValue>{
          {"first token - scheduled: the queue is missing, but the user waits there too", 50}}));
  EXPECT_TRUE(matches_value(
      got.time_per_output_token_ms, 40, kExact,
      std::vector<KnownValue>{
          {"division by output_len: the first token's time is in the TTFT, output_len - 1 are left", 36},
          {"(finished - arrival) / output_len: queue and prefill are not the pace of the text", 43},
          {"(finished - scheduled) / output_len: the prefill is not the pace of the text", 41}}));
  EXPECT_TRUE(matches_value(got.end_to_end_ms, 430, kExact,
                            std::vector<KnownValue>{{"finished - scheduled: the queue is missing", 410}}));
}

TEST(RequestMetrics, PartsAddUp) {
  kit::Rng rng = kit::testing::make_rng(30);
  for (int i = 0; i < 50; ++i) {
    const RequestTimes times = random_request(rng, i);
    const lab03::RequestMetrics got = lab03::request_metrics(times);
    EXPECT_TRUE(matches_value(got.queue_ms, times.scheduled_ms - times.arrival_ms, kExact));
    EXPECT_TRUE(matches_value(got.time_to_first_token_ms, times.first_token_ms - times.arrival_ms, kExact));
    // What a reader lives through: the first token, then n - 1 more. The sum of up to 200 terms of the size
    // of the result; 1e-12 holds.
    const double read = got.time_to_first_token_ms + (times.output_len - 1) * got.time_per_output_token_ms;
    const double wrong_pace = (times.finished_ms - times.first_token_ms) / times.output_len;
    EXPECT_TRUE(matches_value(
        read, times.finished_ms - times.arrival_ms, kExact,
        std::vector<KnownValue>{{"a time per token that was divided by output_len, not output_len - 1",
                                 got.time_to_first_token_ms + (times.output_len - 1) * wrong_pace}}))
        << "TTFT + (n - 1) * TPOT is the whole time";
    EXPECT_TRUE(matches_value(got.end_to_end_ms, times.finished_ms - times.arrival_ms, kExact));
  }
}

TEST(RequestMetrics, SingleTokenHasNoPace) {
  const lab03::RequestMetrics got = lab03::request_metrics({.id = 1,
                                                            .arrival_ms = 5,
                                                            .scheduled_ms = 5,
                                                            .first_token_ms = 25,
                                                            .finished_ms = 25,
                                                            .prompt_len = 9,
                                                            .output_len = 1});
  EXPECT_EQ(got.queue_ms, 0.0);
  EXPECT_EQ(got.time_to_first_token_ms, 20.0);
  EXPECT_EQ(got.time_per_output_token_ms, 0.0) << "0 / 0 is no pace";
  EXPECT_EQ(got.end_to_end_ms, 20.0);
}

TEST(RequestMetrics, RejectsWhatCannotBe) {
  const RequestTimes good{.id = 0,
                          .arrival_ms = 1,
                          .scheduled_ms = 2,
                          .first_token_ms = 3,
                          .finished_ms = 4,
                          .prompt_len = 1,
                          .output_len = 2};
  const auto broken = [&](double RequestTimes::*member, double value) {
    RequestTimes times = good;
    times.*member = value;
    return [times] { (void)lab03::request_metrics(times); };
  };
  EXPECT_TRUE(throws_error(broken(&RequestTimes::arrival_ms, 2.5), "2.5")) << "arrival after scheduled";
  EXPECT_TRUE(throws_error(broken(&RequestTimes::scheduled_ms, 3.5), "3.5")) << "scheduled after first token";
  EXPECT_TRUE(throws_error(broken(&RequestTimes::first_token_ms, 4.5), "4.5")) << "first token after the end";
  EXPECT_TRUE(throws_error(broken(&RequestTimes::finished_ms, 2.75), "2.75")) << "end before first token";
  for (double RequestTimes::*member : {&RequestTimes::arrival_ms, &RequestTimes::scheduled_ms,
                                       &RequestTimes::first_token_ms, &RequestTimes::finished_ms}) {
    EXPECT_TRUE(throws_error(broken(member, kNan), "nan")) << "a NaN is not in order";
  }
  EXPECT_TRUE(throws_error(broken(&RequestTimes::arrival_ms, -kInfinity), "inf")) << "arrived never";
  EXPECT_TRUE(throws_error(broken(&RequestTimes::finished_ms, kInfinity), "inf")) << "ends never";
  for (const int output_len : {0, -3}) {
    RequestTimes times = good;
    times.output_len = output_len;
    EXPECT_TRUE(throws_error([&] { (void)lab03::request_metrics(times); }, std::to_string(output_len)))
        << output_len << " tokens";
  }
}

// Sorted: 10 20 30 40 50. Each value is a fifth, 20 %.
//   p = 20: rank ceil(20 * 5 / 100) = 1 -> 10      p = 21: ceil(1.05) = 2 -> 20
//   p = 50: ceil(2.5) = 3 -> 30                    p = 90: ceil(4.5) = 5 -> 50
TEST(Percentile, ByHand) {
  const std::vector<double> values = {30, 10, 50, 20, 40};
  const auto expect = [&](double p, double expected) {
    EXPECT_TRUE(matches_value(lab03::percentile(values, p), expected, 0.0, percentile_mistakes(values, p)))
        << "p = " << p << " of 10 20 30 40 50";
  };
  expect(20, 10);
  expect(21, 20);
  expect(50, 30);
  expect(60, 30);
  expect(80, 40);
  expect(90, 50);
  expect(12.5, 10);  // 0.625 -> 1
  expect(62.5, 40);  // 3.125 -> 4
}

TEST(Percentile, MiddleOfAnEvenCountIsTheLowerOne) {
  // ceil(50 * 4 / 100) = 2: two of four values are <= 2, and that is half.
  EXPECT_TRUE(matches_value(lab03::percentile(std::vector<double>{4, 2, 1, 3}, 50), 2, 0.0,
                            std::vector<KnownValue>{{"the mean of both middle values, the usual median", 2.5},
                                                    {"the upper of both middle values", 3}}));
  for (const int n : {2, 6, 32, 1000}) {
    std::vector<double> values(static_cast<std::size_t>(n));
    std::iota(values.begin(), values.end(), 1.0);
    expect_percentile(values, 50);
  }
}

TEST(Percentile, EndsAreSmallestAndLargest) {
  kit::Rng rng = kit::testing::make_rng(31);
  for (const int n : {1, 2, 31, 33, 1000}) {
    std::vector<double> values(static_cast<std::size_t>(n));
    for (double& value : values) value = rng.normal();
    EXPECT_EQ(lab03::percentile(values, 0), *std::min_element(values.begin(), values.end()))
        << "p 0 of " << n;
    EXPECT_EQ(lab03::percentile(values, 100), *std::max_element(values.begin(), values.end()))
        << "p 100 of " << n;
  }
}

TEST(Percentile, OfOneValueIsThatValue) {
  for (const double p : {0.0, 1.0, 50.0, 99.0, 100.0}) {
    EXPECT_EQ(lab03::percentile(std::vector<double>{7.5}, p), 7.5) << "p = " << p;
  }
}

// With 1, 2, ..., 100 the p-th percentile is p for every whole p. p * 100 / 100 is exact; p / 100 * 100 is
// not for p = 7, 14, 28, 55 and 56, and ceil() of a hair more than 7 is 8.
TEST(Percentile, ProductsAreExact) {
  for (const int n : {100, 200, 1000}) {
    std::vector<double> values(static_cast<std::size_t>(n));
    std::iota(values.rbegin(), values.rend(), 1.0);
    for (int p = 0; p <= 100; ++p) expect_percentile(values, p);
  }
}

TEST(Percentile, AnyCountAndAnyOrder) {
  kit::Rng rng = kit::testing::make_rng(32);
  for (const int n : {3, 7, 31, 33, 99, 101, 250}) {
    std::vector<double> values(static_cast<std::size_t>(n));
    for (double& value : values) value = std::floor(1000 * rng.uniform());  // with ties
    for (const int p : {1, 5, 25, 50, 75, 90, 95, 99}) expect_percentile(values, p);
  }
}

TEST(Percentile, LeavesItsInputUnchanged) {
  const std::vector<double> before = {5, -1, 3, 3, 9, 0};
  std::vector<double> values = before;
  (void)lab03::percentile(values, 50);
  EXPECT_EQ(values, before);
}

TEST(Percentile, RejectsWhatCannotBe) {
  const std::vector<double> values = {1, 2, 3};
  EXPECT_TRUE(throws_error([] { (void)lab03::percentile({}, 50); })) << "no values";
  EXPECT_TRUE(throws_error([] { (void)lab03::percentile(std::vector<double>{1, kNan, 3}, 50); })) << "a NaN";
  EXPECT_TRUE(throws_error([&] { (void)lab03::percentile(values, -1); }, "-1")) << "p = -1";
  EXPECT_TRUE(throws_error([&] { (void)lab03::percentile(values, 100.5); }, "100.5")) << "p = 100.5";
  EXPECT_TRUE(throws_error([&] { (void)lab03::percentile(values, kNan); }, "nan")) << "p is NaN";
  EXPECT_EQ(lab03::percentile(std::vector<double>{kInfinity, 1}, 50), 1) << "infinity is a value";
}

// Three requests, in ms:
//   id   arrival  scheduled  first token  finished   prompt  output
//    0     1000       1000         1100      1500      500       5     queue  0  TTFT 100  TPOT 400/4 = 100
//    1     1050       1100         1300      3000      300      11     queue 50  TTFT 250  TPOT 1700/10 = 170
//    2     1200       1300         1400      1400      200       1     queue 100 TTFT 200  none
// Duration 3000 - 1000 = 2000 ms: 3 / 2 s = 1.5 requests/s, (5 + 11 + 1) / 2 s = 8.5 tokens/s.
std::vector<RequestTimes> three_requests() {
  return {{.id = 0,
           .arrival_ms = 1000,
           .scheduled_ms = 1000,
           .first_token_ms = 1100,
           .finished_ms = 1500,
           .prompt_len = 500,
           .output_len = 5},
          {.id = 1,
           .arrival_ms = 1050,
           .scheduled_ms = 1100,
           .first_token_ms = 1300,
           .finished_ms = 3000,
           .prompt_len = 300,
           .output_len = 11},
          {.id = 2,
           .arrival_ms = 1200,
           .scheduled_ms = 1300,
           .first_token_ms = 1400,
           .finished_ms = 1400,
           .prompt_len = 200,
           .output_len = 1}};
}

void expect_three(const lab03::ServingSummary& got) {
  EXPECT_EQ(got.n_requests, 3);
  EXPECT_TRUE(matches_value(got.duration_ms, 2000, kExact,
                            std::vector<KnownValue>{{"time since 0, not since the first arrival", 3000},
                                                    {"last arrival to last end", 1800},
                                                    {"the end of the last request in the list", 400}}));
  EXPECT_TRUE(matches_value(
      got.requests_per_s, 1.5, kExact,
      std::vector<KnownValue>{{"requests per millisecond", 0.0015}, {"a duration that begins at 0", 1.0}}));
  EXPECT_TRUE(matches_value(
      got.output_tokens_per_s, 8.5, kExact,
      std::vector<KnownValue>{
          {"throughput that counts prompt tokens: (17 + 1000) / 2 s, which nobody reads", 508.5},
          {"tokens without each request's first one", 7.0},
          {"a duration that begins at 0", 17.0 / 3},
          {"tokens per millisecond", 0.0085}}));
  EXPECT_TRUE(matches_value(got.mean_queue_ms, 50, kExact));
  EXPECT_EQ(got.p50_time_to_first_token_ms, 200) << "of 100, 200, 250";
  EXPECT_EQ(got.p99_time_to_first_token_ms, 250);
  EXPECT_TRUE(
      matches_value(got.p50_time_per_output_token_ms, 100, kExact,
                    std::vector<KnownValue>{{"the upper of two middle values", 170}, {"their mean", 135}}))
      << "of 100 and 170; the single token has no pace";
  EXPECT_TRUE(matches_value(got.p99_time_per_output_token_ms, 170, kExact));
  EXPECT_EQ(got.p99_end_to_end_ms, 1950) << "of 500, 1950, 200";
}

TEST(Summarize, ByHand) {
  expect_three(lab03::summarize(three_requests()));
}

TEST(Summarize, OrderOfRequestsDoesNotMatter) {
  std::vector<RequestTimes> requests = three_requests();
  std::rotate(requests.begin(), requests.begin() + 1, requests.end());
  expect_three(lab03::summarize(requests));
  std::reverse(requests.begin(), requests.end());
  expect_three(lab03::summarize(requests));
}

TEST(Summarize, SingleTokensHaveNoPace) {
  // One request with a pace of 10 ms among ninety-nine with a single token: with zeros for them the median
  // would be 0.
  std::vector<RequestTimes> requests;
  for (int i = 0; i < 99; ++i) {
    const double arrival = 10.0 * i;
    requests.push_back({.id = i,
                        .arrival_ms = arrival,
                        .scheduled_ms = arrival,
                        .first_token_ms = arrival + 5,
                        .finished_ms = arrival + 5,
                        .prompt_len = 3,
                        .output_len = 1});
  }
  const lab03::ServingSummary none = lab03::summarize(requests);
  EXPECT_EQ(none.p50_time_per_output_token_ms, 0.0) << "nobody has a pace";
  EXPECT_EQ(none.p99_time_per_output_token_ms, 0.0) << "nobody has a pace";
  requests.push_back({.id = 99,
                      .arrival_ms = 40,
                      .scheduled_ms = 41,
                      .first_token_ms = 50,
                      .finished_ms = 90,
                      .prompt_len = 3,
                      .output_len = 5});
  const lab03::ServingSummary one = lab03::summarize(requests);
  EXPECT_TRUE(matches_value(one.p50_time_per_output_token_ms, 10, kExact,
                            std::vector<KnownValue>{{"a median in which single tokens count as 0 ms", 0}}));
  EXPECT_TRUE(
      matches_value(one.p99_time_per_output_token_ms, 10, kExact,
                    std::vector<KnownValue>{{"a percentile in which single tokens count as 0 ms", 0}}));
}

TEST(Summarize, ManyRequests) {
  kit::Rng rng = kit::testing::make_rng(33);
  for (const int n : {1, 31, 100, 1000}) {
    std::vector<RequestTimes> requests;
    std::vector<double> first, pace, whole;
    double queue = 0, tokens = 0, prompt_tokens = 0, begin = kInfinity, end = -kInfinity;
    for (int i = 0; i < n; ++i) {
      const RequestTimes r = random_request(rng, i);
      requests.push_back(r);
      first.push_back(r.first_token_ms - r.arrival_ms);
      pace.push_back((r.finished_ms - r.first_token_ms) / (r.output_len - 1));
      whole.push_back(r.finished_ms - r.arrival_ms);
      queue += r.scheduled_ms - r.arrival_ms;
      tokens += r.output_len;
      prompt_tokens += r.prompt_len;
      begin = std::min(begin, r.arrival_ms);
      end = std::max(end, r.finished_ms);
    }
    const lab03::ServingSummary got = lab03::summarize(requests);
    const double seconds = (end - begin) / 1e3;
    const double tight = 1e-11;  // sums of up to 1000 positive terms, 1e-16 each
    EXPECT_EQ(got.n_requests, n);
    EXPECT_TRUE(matches_value(got.duration_ms, end - begin, kExact));
    EXPECT_TRUE(matches_value(got.requests_per_s, n / seconds, kExact));
    EXPECT_TRUE(matches_value(got.output_tokens_per_s, tokens / seconds, kExact,
                              std::vector<KnownValue>{{"throughput that counts prompt tokens",
                                                       (tokens + prompt_tokens) / seconds}}));
    EXPECT_TRUE(matches_value(got.mean_queue_ms, queue / n, tight));
    const auto expect = [&](const char* name, double value, const std::vector<double>& values, int p) {
      EXPECT_TRUE(matches_value(value, nearest_rank(values, p), kExact, percentile_mistakes(values, p)))
          << name << " of " << n << " requests";
    };
    expect("p50 TTFT", got.p50_time_to_first_token_ms, first, 50);
    expect("p99 TTFT", got.p99_time_to_first_token_ms, first, 99);
    expect("p50 TPOT", got.p50_time_per_output_token_ms, pace, 50);
    expect("p99 TPOT", got.p99_time_per_output_token_ms, pace, 99);
    expect("p99 end to end", got.p99_end_to_end_ms, whole, 99);
  }
}

TEST(Summarize, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { (void)lab03::summarize({}); })) << "no request";
  std::vector<RequestTimes> requests = three_requests();
  requests[1].output_len = -7;
  EXPECT_TRUE(throws_error([&] { (void)lab03::summarize(requests); }, "-7")) << "-7 tokens";
  requests = three_requests();
  requests[2].scheduled_ms = 1450.5;
  EXPECT_TRUE(throws_error([&] { (void)lab03::summarize(requests); }, "1450.5")) << "not in order";
  const RequestTimes instant{.id = 0,
                             .arrival_ms = 5,
                             .scheduled_ms = 5,
                             .first_token_ms = 5,
                             .finished_ms = 5,
                             .prompt_len = 1,
                             .output_len = 1};
  EXPECT_TRUE(throws_error([&] { (void)lab03::summarize(std::vector<RequestTimes>{instant}); }))
      << "a duration of 0 has no rate";
}

TEST(Utilisation, IsTheShareOfSlotStepsThatWorked) {
  // Four slots, ten steps: 40 slot-steps, 30 of them busy.
  EXPECT_TRUE(matches_value(lab03::utilisation(30, 4, 10), 0.75, kExact,
                            std::vector<KnownValue>{{"busy slots a step", 3.0}, {"the idle share", 0.25}}));
  EXPECT_EQ(lab03::utilisation(40, 4, 10), 1.0);
  EXPECT_EQ(lab03::utilisation(0, 4, 10), 0.0);
  EXPECT_EQ(lab03::utilisation(0, 4, 0), 0.0) << "no step";
  // 3e9 steps of 256 slots are 7.7e11 slot-steps: beyond 32 bits.
  EXPECT_TRUE(matches_value(lab03::utilisation(384'000'000'000, 256, 3'000'000'000), 0.5, kExact));
}

TEST(Utilisation, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { (void)lab03::utilisation(1, 0, 5); }, "0")) << "no slots";
  EXPECT_TRUE(throws_error([] { (void)lab03::utilisation(1, -2, 5); }, "-2")) << "-2 slots";
  EXPECT_TRUE(throws_error([] { (void)lab03::utilisation(-1, 2, 5); }, "-1")) << "-1 busy";
  EXPECT_TRUE(throws_error([] { (void)lab03::utilisation(0, 2, -5); }, "-5")) << "-5 steps";
  EXPECT_TRUE(throws_error([] { (void)lab03::utilisation(41, 4, 10); }, "41")) << "41 of 40";
  EXPECT_TRUE(throws_error([] { (void)lab03::utilisation(3, 4, 0); }, "3")) << "3 of none";
}

}  // namespace
