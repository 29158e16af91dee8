#include "lab03/continuous_batching.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
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

std::vector<lab03_tests::KnownRules> known_mistakes(const Rules& rules) {
  std::vector<lab03_tests::KnownRules> mistakes;
  const auto add = [&](const std::string& cause, const auto& change) {
    Rules wrong = rules;
    change(wrong);
    mistakes.push_back({cause, wrong});
  };
  add("static batching: a request that has ended keeps its slot until all others have ended, too",
      [](Rules& wrong) { wrong.joins_running = false; });
  add("a batcher that admits one request a step, however many slots are free",
      [](Rules& wrong) { wrong.joins_per_step = 1; });
  add("slots that are used again one step late", [](Rules& wrong) { wrong.slot_rests_steps = 1; });
  add("prompts that run one token a step", [](Rules& wrong) { wrong.prompt_piece = 1; });
  add("running requests that wait while somebody's prompt runs (head-of-line blocking)",
      [](Rules& wrong) { wrong.prompt_stalls_decode = true; });
  add("max_prefill_tokens for each request instead of for all of a step together", [&](Rules& wrong) {
    wrong.prompt_piece = rules.max_prefill_tokens;
    wrong.max_prefill_tokens = Rules{}.max_prefill_tokens;
  });
  add("prompts in one piece, whatever max_prefill_tokens is",
      [](Rules& wrong) { wrong.max_prefill_tokens = Rules{}.max_prefill_tokens; });
  add("as many requests as there are slots, whatever max_num_seqs is",
      [](Rules& wrong) { wrong.max_num_seqs = Rules{}.max_num_seqs; });
  return mistakes;
}

// Depends on all of the batch, in quarters, so that sums are exact in any order.
double step_time(std::span<const kit::SequenceStep> batch) {
  double ms = 1.0;
  for (const kit::SequenceStep& one : batch) ms += 0.25 * one.q_len;
  return ms;
}

TEST(ContinuousBatching, FreedSlotIsUsedInTheNextStep) {
  RecordingServer server(2, {{0, 0.0, 1, 2}, {1, 0.0, 1, 5}, {2, 0.0, 3, 2}, {3, 0.0, 1, 1}});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(
      ran(server, {"0:0*1 1:1*1", "0:0 1:1", "0:2*3 1:1", "0:2 1:1", "0:3*1 1:1"},
          {{"static batching: a request that has ended keeps its slot until all others have ended, too",
            {"0:0*1 1:1*1", "0:0 1:1", "1:1", "1:1", "1:1", "0:2*3 1:3*1", "0:2"}},
           {"slots that are used again one step late",
            {"0:0*1 1:1*1", "0:0 1:1", "1:1", "0:2*3 1:1", "0:2 1:1", "0:3*1"}},
           {"prompts that run one token a step",
            {"0:0*1 1:1*1", "0:0 1:1", "0:2*1 1:1", "0:2*1 1:1", "0:2*1 1:1", "0:2 1:3*1"}}}));
}

TEST(ContinuousBatching, AllFreeSlotsAreTakenInOneStep) {
  // Requests 0, 2 and 3 end together in the second step.
  RecordingServer server(4, {{0, 0.0, 1, 2},
                             {1, 0.0, 1, 4},
                             {2, 0.0, 1, 2},
                             {3, 0.0, 1, 2},
                             {4, 0.0, 1, 1},
                             {5, 0.0, 1, 1},
                             {6, 0.0, 1, 2}});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(
      server, {"0:0*1 1:1*1 2:2*1 3:3*1", "0:0 1:1 2:2 3:3", "0:4*1 1:1 2:5*1 3:6*1", "1:1 3:6"},
      {{"a batcher that admits one request a step, however many slots are free",
        {"0:0*1", "0:0 1:1*1", "0:2*1 1:1", "0:2 1:1 2:3*1", "0:4*1 1:1 2:3", "0:5*1", "0:6*1", "0:6"}}}));
}

TEST(ContinuousBatching, SlotsAreTakenLowestNumberFirst) {
  // Slots 2 and 1 become free, in this order, before anybody comes for them.
  RecordingServer server(4, {{0, 0.0, 1, 6}, {1, 0.0, 1, 2}, {2, 0.0, 1, 1}, {3, 2.5, 1, 2}, {4, 3.5, 1, 1}});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*1 1:1*1 2:2*1", "0:0 1:1", "0:0", "0:0 1:3*1", "0:0 1:3 2:4*1", "0:0"},
                  {{"the slot that was free for the longest time",
                    {"0:0*1 1:1*1 2:2*1", "0:0 1:1", "0:0", "0:0 3:3*1", "0:0 2:4*1 3:3", "0:0"}}}));
}

TEST(ContinuousBatching, ArrivalsJoinRunningRequests) {
  RecordingServer server(3, {{0, 0.0, 2, 5}, {1, 0.5, 1, 2}, {2, 2.0, 4, 2}});
  lab03::run_continuous_batching(server);
  // The step that begins at 2 ms sees the arrival at 2 ms.
  EXPECT_TRUE(ran(server, {"0:0*2", "0:0 1:1*1", "0:0 1:1 2:2*4", "0:0 2:2", "0:0"},
                  {{"static batching: nobody joins before all others have ended",
                    {"0:0*2", "0:0", "0:0", "0:0", "0:0", "0:1*1 1:2*4", "0:1 1:2"}}}));
}

TEST(ContinuousBatching, WaitsOnlyWhenNothingRuns) {
  RecordingServer server(
      4, {{0, 3.5, 1, 1}, {1, 10.25, 1, 3}, {2, 10.25, 1, 1}, {3, 11.0, 1, 1}, {4, 20.0, 1, 1}});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*1", "0:1*1 1:2*1", "0:1 1:3*1", "0:1", "0:4*1"}));
  EXPECT_EQ(server.begin_ms(), (std::vector<double>{3.5, 10.25, 11.25, 12.25, 20.0}))
      << "an idle server starts with the arrival; a busy one goes on at once";
}

TEST(ContinuousBatching, BurstLargerThanTheSlotsIsServedInOrderOfArrival) {
  std::vector<SimulatedRequest> requests;
  requests.reserve(5);
  for (int i = 0; i < 5; ++i)
    requests.push_back({90 - 7 * i, 2.0, 1 + i, i == 0 ? 2 : 1});  // identities fall
  RecordingServer server(2, requests);
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(server, {"0:90*1 1:83*2", "0:90 1:76*3", "0:69*4 1:62*5"},
                  {{"requests in the order of their identities, not of their arrival",
                    {"0:83*2 1:90*1", "0:76*3 1:90", "0:62*5 1:69*4"}}}));
}

TEST(ContinuousBatching, SingleTokenEndsWithItsPrompt) {
  RecordingServer server(1, {{0, 0.0, 5, 1}, {1, 0.0, 1, 1}, {2, 0.0, 2, 2}});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*5", "0:1*1", "0:2*2", "0:2"}));
}

TEST(ContinuousBatching, PromptRunsInOnePieceWithoutALimit) {
  RecordingServer server(2, {{0, 0.0, 1000, 2}, {1, 0.0, 33, 2}});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(server, {"0:0*1000 1:1*33", "0:0 1:1"}));
}

TEST(ContinuousBatching, LongPromptRunsInPiecesBesideDecode) {
  RecordingServer server(2, {{0, 0.0, 1, 6}, {1, 1.0, 7, 2}});
  lab03::run_continuous_batching(server, {.max_prefill_tokens = 3});
  EXPECT_TRUE(ran(server, {"0:0*1", "0:0 1:1*3", "0:0 1:1*3", "0:0 1:1*1", "0:0 1:1", "0:0"},
                  {{"running requests that wait while somebody's prompt runs (head-of-line blocking)",
                    {"0:0*1", "1:1*3", "1:1*3", "1:1*1", "0:0 1:1", "0:0", "0:0", "0:0", "0:0"}},
                   {"a prompt in one piece, whatever max_prefill_tokens is",
                    {"0:0*1", "0:0 1:1*7", "0:0 1:1", "0:0", "0:0", "0:0"}},
                   {"decode that is counted against max_prefill_tokens",
                    {"0:0*1", "0:0 1:1*2", "0:0 1:1*2", "0:0 1:1*2", "0:0 1:1*1", "0:0 1:1"}}}));
}

TEST(ContinuousBatching, PromptsShareTheLimitInOrderOfAdmission) {
  // Request 1 ends in the first step, and 3 takes slot 1: it is admitted after 2, and comes after it.
  RecordingServer server(3, {{0, 0.0, 6, 1}, {1, 0.0, 2, 1}, {2, 0.0, 7, 1}, {3, 0.0, 2, 2}});
  lab03::run_continuous_batching(server, {.max_prefill_tokens = 8});
  EXPECT_TRUE(
      ran(server, {"0:0*6 1:1*2", "0:3*1 2:2*7", "0:3*1", "0:3"},
          {{"prompts that share max_prefill_tokens in the order of their slots",
            {"0:0*6 1:1*2", "0:3*2 2:2*6", "0:3 2:2*1"}},
           {"max_prefill_tokens for each request instead of for all of a step together",
            {"0:0*6 1:1*2 2:2*7", "0:3*2", "0:3"}},
           {"a prompt that runs only when all of it fits", {"0:0*6 1:1*2", "2:2*7", "0:3*2", "0:3"}}}));
}

TEST(ContinuousBatching, WhoGetsNoPrefillKeepsItsSlotAndWaits) {
  RecordingServer server(3, {{0, 0.0, 5, 2}, {1, 0.0, 4, 1}, {2, 0.0, 1, 1}});
  lab03::run_continuous_batching(server, {.max_prefill_tokens = 2});
  EXPECT_TRUE(ran(server, {"0:0*2", "0:0*2", "0:0*1 1:1*1", "0:0 1:1*2", "1:1*1 2:2*1"}));
}

TEST(ContinuousBatching, MaxNumSeqsLimitsWhoRuns) {
  RecordingServer server(4, {{0, 0.0, 1, 2}, {1, 0.0, 1, 3}, {2, 0.0, 1, 1}, {3, 0.0, 1, 1}});
  lab03::run_continuous_batching(server, {.max_num_seqs = 2});
  EXPECT_TRUE(ran(server, {"0:0*1 1:1*1", "0:0 1:1", "0:2*1 1:1", "0:3*1"},
                  {{"as many requests as there are slots, whatever max_num_seqs is",
                    {"0:0*1 1:1*1 2:2*1 3:3*1", "0:0 1:1", "1:1"}}}));
}

TEST(ContinuousBatching, ReturnsWhenThereIsNoRequest) {
  RecordingServer server(2, {});
  lab03::run_continuous_batching(server);
  EXPECT_TRUE(ran(server, {}));
  EXPECT_EQ(server.now_ms(), 0.0);
}

TEST(ContinuousBatching, RandomWorkloadsFollowTheRules) {
  const std::vector<std::pair<lab03::ContinuousConfig, Rules>> configs = {
      {{}, {}},
      {{.max_prefill_tokens = 4}, {.max_prefill_tokens = 4}},
      {{.max_num_seqs = 5, .max_prefill_tokens = 7}, {.max_num_seqs = 5, .max_prefill_tokens = 7}}};
  std::uint64_t stream = 3300;
  for (const Arrivals arrivals : {Arrivals::kAtOnce, Arrivals::kPoisson, Arrivals::kBursty}) {
    for (const Lengths lengths : {Lengths::kUniform, Lengths::kExponential, Lengths::kLongTailed}) {
      for (const auto& [config, rules] : configs) {
        const auto requests = lab03_tests::make_requests({.n_requests = 101,
                                                          .arrivals = arrivals,
                                                          .requests_per_s = 400.0,
                                                          .output = lengths,
                                                          .mean_output_len = 6,
                                                          .mean_prompt_len = 5},
                                                         ++stream);
        kit::SimulatedServer server({.n_slots = 7, .step_time = step_time}, kit::source_of(requests));
        lab03::run_continuous_batching(server, config);
        ASSERT_TRUE(served_by(server, requests, step_time, rules, known_mistakes(rules)))
            << "max_num_seqs " << config.max_num_seqs << ", max_prefill_tokens " << config.max_prefill_tokens;
      }
    }
  }
}

TEST(ContinuousBatching, NobodyStarvesOrIsOvertaken) {
  for (const Arrivals arrivals : {Arrivals::kAtOnce, Arrivals::kPoisson, Arrivals::kBursty}) {
    const auto requests = lab03_tests::make_requests({.n_requests = 700,
                                                      .arrivals = arrivals,
                                                      .requests_per_s = 900.0,
                                                      .output = Lengths::kLongTailed,
                                                      .mean_output_len = 9,
                                                      .mean_prompt_len = 3},
                                                     3340);
    kit::SimulatedServer server({.n_slots = 13, .step_time = kit::constant_step_time(1.0)},
                                kit::source_of(requests));
    lab03::run_continuous_batching(server, {.max_prefill_tokens = 16});
    ASSERT_EQ(server.n_finished(), 700) << "requests that were never served starve";
    EXPECT_EQ(server.n_unfinished(), 0);
    std::vector<kit::RequestTimes> by_arrival = server.finished();
    std::ranges::sort(by_arrival, {}, &kit::RequestTimes::id);
    for (std::size_t i = 1; i < by_arrival.size(); ++i) {
      ASSERT_GE(by_arrival[i].scheduled_ms, by_arrival[i - 1].scheduled_ms)
          << "request " << i << " began before request " << i - 1 << ", which had arrived before it";
    }
  }
}

TEST(ContinuousBatching, MemoryDoesNotGrowWithTheRequests) {
  constexpr int kSlots = 4;
  const auto requests = lab03_tests::make_requests({.n_requests = 2000, .mean_output_len = 3}, 3350);
  kit::SimulatedServer server({.n_slots = kSlots, .step_time = step_time}, kit::source_of(requests));
  lab03::run_continuous_batching(server);
  EXPECT_EQ(server.n_finished(), 2000);
  // 2000 are waiting. Taking a few before there is a slot for them is a matter of taste.
  EXPECT_LE(server.max_unfinished(), 16 * kSlots)
      << "requests that were taken and had not ended: more are taken than can run";
}

// Slots are never empty while somebody waits: W tokens need at least W / B steps, and at most the longest
// request more (Graham 1969, for list scheduling): only when nobody waits any longer do slots run empty.
TEST(ContinuousBatching, StepsFollowTheMeanLength) {
  constexpr int kSlots = 32;
  for (const Lengths lengths : {Lengths::kUniform, Lengths::kExponential, Lengths::kLongTailed}) {
    const auto requests =
        lab03_tests::make_requests({.n_requests = 4800, .output = lengths, .mean_output_len = 16}, 3360);
    kit::SimulatedServer server({.n_slots = kSlots, .step_time = kit::constant_step_time(1.0)},
                                kit::source_of(requests));
    lab03::run_continuous_batching(server);
    ASSERT_EQ(server.n_finished(), 4800);
    std::int64_t tokens = 0;
    int longest = 0;
    for (const SimulatedRequest& request : requests) {
      tokens += request.output_len;
      longest = std::max(longest, request.output_len);
    }
    EXPECT_GE(server.n_steps() * kSlots, tokens);
    EXPECT_LE(server.n_steps(), tokens / kSlots + longest) << "slots were empty while requests waited";
  }
}

TEST(ContinuousBatching, RefusesLimitsThatCannotBe) {
  const auto refused = [](const lab03::ContinuousConfig& config, const std::string& needle) {
    RecordingServer server(4, {{0, 0.0, 1, 1}});
    return throws_error([&] { lab03::run_continuous_batching(server, config); }, needle);
  };
  EXPECT_TRUE(refused({.max_num_seqs = -1}, "-1"));
  EXPECT_TRUE(refused({.max_num_seqs = 5}, "5"));
  EXPECT_TRUE(refused({.max_prefill_tokens = -2}, "-2"));
  RecordingServer server(4, {{0, 0.0, 1, 1}});
  EXPECT_NO_THROW(lab03::run_continuous_batching(server, {.max_num_seqs = 4}));
  EXPECT_TRUE(ran(server, {"0:0*1"}));
}

}  // namespace
