#include "lab03/static_batching.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "batching_support.h"
#include "kit/testing.h"

namespace {

using kit::Arrivals;
using kit::Lengths;
using kit::SimulatedRequest;
using kit::testing::throws_error;
using lab03_tests::RecordingServer;
using lab03_tests::Rules;

const Rules kStatic{.joins_running = false};

const std::vector<lab03_tests::KnownRules>& known_mistakes() {
  static const std::vector<lab03_tests::KnownRules> mistakes = {
      {"a batch that waits until all slots can be filled",
       {.joins_running = false, .waits_for_full_batch = true}},
      {"continuous batching: slots of requests that ended early were given to others", {}},
      {"prompts that run one token a step", {.joins_running = false, .prompt_piece = 1}},
      {"a batch that takes one request", {.joins_running = false, .joins_per_step = 1}},
  };
  return mistakes;
}

// Different prompts, one token a prompt's piece; step times that depend on all of the batch, in quarters, so
// that sums are exact.
double step_time(std::span<const kit::SequenceStep> batch) {
  double ms = 1.0;
  for (const kit::SequenceStep& one : batch) ms += 0.25 * one.q_len;
  return ms;
}

TEST(StaticBatching, RunsPromptsWholeThenOneTokenAStep) {
  RecordingServer server(3, {{5, 0.0, 4, 2}, {6, 0.0, 1, 3}, {7, 0.0, 3, 2}});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:5*4 1:6*1 2:7*3", "0:5 1:6 2:7", "1:6"},
                  {{"prompts that run one token a step, as if they were answers",
                    {"0:5*1 1:6*1 2:7*1", "0:5*1 1:6 2:7*1", "0:5*1 1:6 2:7*1", "0:5*1 2:7", "0:5"}}}));
}

TEST(StaticBatching, NextBatchBeginsWhenTheLastRequestHasEnded) {
  RecordingServer server(2, {{0, 0.0, 1, 1}, {1, 0.0, 1, 4}, {2, 0.0, 1, 2}, {3, 0.0, 1, 2}});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*1 1:1*1", "1:1", "1:1", "1:1", "0:2*1 1:3*1", "0:2 1:3"},
                  {{"continuous batching: the slot of a request that ended early was given to another",
                    {"0:0*1 1:1*1", "0:2*1 1:1", "0:2 1:1", "0:3*1 1:1", "0:3"}},
                   {"a batch that ends with its first request", {"0:0*1 1:1*1", "0:2*1 1:3*1", "0:2 1:3"}}}));
}

TEST(StaticBatching, LastBatchIsPartlyFilled) {
  std::vector<SimulatedRequest> requests;
  requests.reserve(7);
  for (int id = 0; id < 7; ++id) requests.push_back({id, 0.0, 1, 1});
  RecordingServer server(3, requests);
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*1 1:1*1 2:2*1", "0:3*1 1:4*1 2:5*1", "0:6*1"}));
}

TEST(StaticBatching, DoesNotWaitForAFullBatch) {
  // Request 1 comes while 0 runs, 2 and 3 while 1 does.
  RecordingServer server(2, {{0, 0.0, 1, 2}, {1, 1.0, 1, 3}, {2, 2.5, 1, 1}, {3, 4.0, 1, 1}});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(
      server, {"0:0*1", "0:0", "0:1*1", "0:1", "0:1", "0:2*1 1:3*1"},
      {{"a batch that waits until all slots can be filled", {"0:0*1 1:1*1", "0:0 1:1", "1:1", "0:2*1 1:3*1"}},
       {"requests that join a running batch", {"0:0*1", "0:0 1:1*1", "1:1", "0:2*1 1:1", "0:3*1"}}}));
}

TEST(StaticBatching, WaitsForTheNextArrivalWhenNothingRuns) {
  RecordingServer server(4, {{0, 3.5, 1, 1}, {1, 10.25, 1, 2}, {2, 10.25, 1, 1}, {3, 11.0, 1, 1}});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*1", "0:1*1 1:2*1", "0:1", "0:3*1"}));
  EXPECT_EQ(server.begin_ms(), (std::vector<double>{3.5, 10.25, 11.25, 12.25}))
      << "the first of a batch that arrives begins it at once; what came during a step waits for no clock";
}

TEST(StaticBatching, BurstLargerThanTheSlotsIsServedInOrderOfArrival) {
  std::vector<SimulatedRequest> requests;
  requests.reserve(5);
  for (int i = 0; i < 5; ++i) requests.push_back({90 - 7 * i, 2.0, 1 + i, 1});  // identities fall
  RecordingServer server(2, requests);
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:90*1 1:83*2", "0:76*3 1:69*4", "0:62*5"},
                  {{"requests in the order of their identities, not of their arrival",
                    {"0:83*2 1:90*1", "0:69*4 1:76*3", "0:62*5"}}}));
}

TEST(StaticBatching, RequestsEndTogetherOrInTheirFirstStep) {
  RecordingServer server(4, {{0, 0.0, 2, 1}, {1, 0.0, 2, 3}, {2, 0.0, 2, 1}, {3, 0.0, 2, 3}, {4, 0.0, 2, 1}});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*2 1:1*2 2:2*2 3:3*2", "1:1 3:3", "1:1 3:3", "0:4*2"}));
}

TEST(StaticBatching, ReturnsWhenThereIsNoRequest) {
  RecordingServer server(2, {});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {}));
  EXPECT_EQ(server.now_ms(), 0.0);
}

TEST(StaticBatching, OneSlotServesOneAfterTheOther) {
  RecordingServer server(1, {{0, 0.0, 33, 2}, {1, 0.0, 1, 1}, {2, 1.0, 2, 1}});
  lab03::run_static_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*33", "0:0", "0:1*1", "0:2*2"}));
}

TEST(StaticBatching, RandomWorkloadsFollowTheRules) {
  std::uint64_t stream = 3200;
  for (const Arrivals arrivals : {Arrivals::kAtOnce, Arrivals::kPoisson, Arrivals::kBursty}) {
    for (const Lengths lengths :
         {Lengths::kEqual, Lengths::kUniform, Lengths::kExponential, Lengths::kLongTailed}) {
      const auto requests = lab03_tests::make_requests({.n_requests = 101,
                                                        .arrivals = arrivals,
                                                        .requests_per_s = 400.0,
                                                        .output = lengths,
                                                        .mean_output_len = 6,
                                                        .mean_prompt_len = 5},
                                                       ++stream);
      kit::SimulatedServer server({.n_slots = 7, .step_time = step_time}, kit::source_of(requests));
      lab03::run_static_batching(server);
      ASSERT_TRUE(served_by(server, requests, step_time, kStatic, known_mistakes()));
    }
  }
}

TEST(StaticBatching, HoldsNoMoreRequestsThanSlots) {
  const auto requests = lab03_tests::make_requests({.n_requests = 500, .mean_output_len = 2}, 3220);
  kit::SimulatedServer server({.n_slots = 8, .step_time = step_time}, kit::source_of(requests));
  lab03::run_static_batching(server);
  EXPECT_EQ(server.n_finished(), 500);
  EXPECT_LE(server.max_unfinished(), 8) << "a batch takes as many requests as there are slots";
}

// A batch lasts as long as the longest of B lengths. The mean over n batches lies within 5 standard errors of
// the expectation but once in 1.7 million times; expectation and variance are summed over the discrete
// distribution.
TEST(StaticBatching, StepsFollowTheExpectedMaximum) {
  constexpr int kSlots = 32;
  constexpr int kBatches = 150;
  constexpr int kMeanLen = 16;
  for (const Lengths lengths : {Lengths::kUniform, Lengths::kExponential}) {
    const auto requests = lab03_tests::make_requests(
        {.n_requests = kSlots * kBatches, .output = lengths, .mean_output_len = kMeanLen}, 3230);
    kit::SimulatedServer server({.n_slots = kSlots, .step_time = kit::constant_step_time(1.0)},
                                kit::source_of(requests));
    lab03::run_static_batching(server);
    ASSERT_EQ(server.n_finished(), kSlots * kBatches);
    const lab03_tests::Moments longest = lab03_tests::longest_of(lengths, kMeanLen, kSlots);
    const double tolerance = 5.0 * std::sqrt(longest.variance / kBatches);
    EXPECT_NEAR(static_cast<double>(server.n_steps()) / kBatches, longest.mean, tolerance)
        << "steps a batch: the longest of " << kSlots << " requests, mean length " << kMeanLen
        << (std::abs(static_cast<double>(server.n_steps()) / kBatches - kMeanLen) < 2.0
                ? "\nLikely cause: the result matches the mean length: the batches do not wait for their "
                  "longest"
                : "");
  }
}

TEST(StaticBatching, GainsAreTheClosedForms) {
  using kit::testing::matches_value;
  constexpr double kRelative = 1e-12;  // sums of up to 1000 terms in double
  double harmonic = 0.0;
  for (int b = 1; b <= 1000; ++b) {
    harmonic += 1.0 / b;
    if (b != 1 && b != 2 && b != 31 && b != 32 && b != 33 && b != 1000) continue;
    const std::vector<kit::testing::KnownValue> of_uniform = {
        {"B / (B + 1): the longest, in units of the largest length instead of the mean", b / (b + 1.0)},
        {"2 (B - 1) / (B + 1): the range of B lengths", 2.0 * (b - 1.0) / (b + 1.0)},
        {"the integer division 2 B / (B + 1)", std::floor(2.0 * b / (b + 1.0))}};
    EXPECT_TRUE(matches_value(lab03::expected_gain_uniform(b), 2.0 * b / (b + 1.0), kRelative, of_uniform))
        << "B = " << b;
    const std::vector<kit::testing::KnownValue> of_exponential = {
        {"the natural logarithm of B, which the harmonic number exceeds by 0.58", std::log(b)},
        {"the sum up to B - 1", harmonic - 1.0 / b},
        {"the sum up to B + 1", harmonic + 1.0 / (b + 1.0)},
        {"integer divisions 1 / k", 1.0}};
    EXPECT_TRUE(matches_value(lab03::expected_gain_exponential(b), harmonic, kRelative, of_exponential))
        << "B = " << b;
  }
}

TEST(StaticBatching, GainsRefuseABatchThatIsNotPositive) {
  EXPECT_TRUE(throws_error([] { lab03::expected_gain_uniform(0); }, "0"));
  EXPECT_TRUE(throws_error([] { lab03::expected_gain_uniform(-3); }, "-3"));
  EXPECT_TRUE(throws_error([] { lab03::expected_gain_exponential(0); }, "0"));
  EXPECT_TRUE(throws_error([] { lab03::expected_gain_exponential(-32); }, "-32"));
}

}  // namespace
