#include "kit/simulated_server.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "kit/check.h"
#include "kit/testing.h"

namespace kit::testing {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Request 10 arrives at 0 ms, 20 at 5 ms, 30 at 5 ms; a step takes 2 ms.
std::vector<SimulatedRequest> three_requests() {
  return {{.id = 10, .arrival_ms = 0.0, .prompt_len = 3, .output_len = 2},
          {.id = 20, .arrival_ms = 5.0, .prompt_len = 1, .output_len = 1},
          {.id = 30, .arrival_ms = 5.0, .prompt_len = 4, .output_len = 3}};
}

SimulatedServer make_server(std::vector<SimulatedRequest> requests, int n_slots = 4) {
  return SimulatedServer({.n_slots = n_slots, .step_time = constant_step_time(2.0), .keep_timeline = true},
                         source_of(std::move(requests)));
}

std::vector<int> ids(const std::vector<ArrivedRequest>& requests) {
  std::vector<int> result;
  result.reserve(requests.size());
  for (const ArrivedRequest& request : requests) result.push_back(request.id);
  return result;
}

std::vector<int> run(SimulatedServer& server, const std::vector<SlotWork>& work) {
  return server.run(work);
}

/// `work` must be refused with a message that holds all of `words`, and change nothing.
void expect_refused(SimulatedServer& server, const std::vector<SlotWork>& work,
                    const std::vector<std::string>& words) {
  const double now_ms = server.now_ms();
  const std::int64_t n_steps = server.n_steps();
  const std::int64_t tokens = server.prompt_tokens() + server.output_tokens();
  for (const std::string& word : words) EXPECT_TRUE(throws_error([&] { server.run(work); }, word));
  EXPECT_EQ(server.now_ms(), now_ms);
  EXPECT_EQ(server.n_steps(), n_steps);
  EXPECT_EQ(server.prompt_tokens() + server.output_tokens(), tokens);
}

TEST(SimulatedServer, GivesOutArrivalsOldestFirstWhenTheyAreThere) {
  SimulatedServer server = make_server(three_requests());
  EXPECT_EQ(server.next_arrival_ms(), 0.0);
  EXPECT_EQ(ids(server.take_arrivals(0)), std::vector<int>{});
  EXPECT_EQ(ids(server.take_arrivals(9)), std::vector<int>{10});
  EXPECT_EQ(ids(server.take_arrivals(9)), std::vector<int>{}) << "20 arrives at 5 ms";
  EXPECT_EQ(server.next_arrival_ms(), 5.0);
  server.wait_until(7.0);
  EXPECT_EQ(server.next_arrival_ms(), 5.0) << "it arrived, and was not taken";
  const std::vector<ArrivedRequest> second = server.take_arrivals(1);
  ASSERT_EQ(ids(second), std::vector<int>{20});
  EXPECT_EQ(second[0].arrival_ms, 5.0);
  EXPECT_EQ(second[0].prompt_len, 1);
  EXPECT_EQ(ids(server.take_arrivals(1)), std::vector<int>{30});
  EXPECT_EQ(server.next_arrival_ms(), std::nullopt);
  EXPECT_TRUE(throws_error([&] { server.take_arrivals(-1); }, "-1"));
}

TEST(SimulatedServer, WaitsForwardOnly) {
  SimulatedServer server = make_server(three_requests());
  server.wait_until(4.0);
  EXPECT_EQ(server.now_ms(), 4.0);
  server.wait_until(4.0);
  EXPECT_TRUE(throws_error([&] { server.wait_until(3.5); }, "3.5"));
  EXPECT_TRUE(throws_error([&] { server.wait_until(kNan); }, "nan"));
  EXPECT_EQ(server.now_ms(), 4.0);
  EXPECT_EQ(server.busy_ms(), 0.0) << "waiting is not work";
}

TEST(SimulatedServer, StepThatEndsThePromptWritesTheFirstToken) {
  SimulatedServer server = make_server(three_requests());
  server.wait_until(1.0);
  server.take_arrivals(1);
  EXPECT_EQ(run(server, {{2, 10, 2}}), std::vector<int>{}) << "2 of 3 prompt tokens";
  EXPECT_EQ(server.output_tokens(), 0);
  EXPECT_EQ(run(server, {{2, 10, 1}}), std::vector<int>{}) << "the prompt ends: the first of 2 tokens";
  EXPECT_EQ(server.output_tokens(), 1);
  EXPECT_EQ(run(server, {{2, 10, 1}}), std::vector<int>{10});
  EXPECT_EQ(server.prompt_tokens(), 3);
  EXPECT_EQ(server.output_tokens(), 2);
  ASSERT_EQ(server.finished().size(), 1U);
  const RequestTimes& times = server.finished()[0];
  EXPECT_EQ(times.id, 10);
  EXPECT_EQ(times.arrival_ms, 0.0);
  EXPECT_EQ(times.scheduled_ms, 1.0);
  EXPECT_EQ(times.first_token_ms, 5.0);
  EXPECT_EQ(times.finished_ms, 7.0);
  EXPECT_EQ(times.prompt_len, 3);
  EXPECT_EQ(times.output_len, 2);
}

TEST(SimulatedServer, CountsStepsSlotsAndTime) {
  SimulatedServer server = make_server(three_requests());
  server.wait_until(5.0);
  server.take_arrivals(3);
  EXPECT_EQ(server.n_unfinished(), 3);
  // In the order of `work`, whichever slots they have.
  EXPECT_EQ(run(server, {{3, 30, 4}, {1, 20, 1}, {0, 10, 3}}), std::vector<int>{20});
  EXPECT_EQ(run(server, {{3, 30, 1}}), std::vector<int>{}) << "10 keeps slot 0 and does nothing";
  EXPECT_EQ(run(server, {{3, 30, 1}, {0, 10, 1}}), (std::vector<int>{30, 10}));
  EXPECT_EQ(server.n_steps(), 3);
  EXPECT_EQ(server.busy_slot_steps(), 6);
  EXPECT_EQ(server.busy_ms(), 6.0);
  EXPECT_EQ(server.now_ms(), 11.0);
  EXPECT_EQ(server.n_finished(), 3);
  EXPECT_EQ(server.n_unfinished(), 0);
  EXPECT_EQ(server.max_unfinished(), 3);
  const std::vector<SlotInterval>& timeline = server.timeline();
  ASSERT_EQ(timeline.size(), 3U);
  EXPECT_EQ(timeline[0].slot, 1);
  EXPECT_EQ(timeline[0].request, 20);
  EXPECT_EQ(timeline[0].begin_step, 0);
  EXPECT_EQ(timeline[0].end_step, 1);
  EXPECT_EQ(timeline[2].slot, 0);
  EXPECT_EQ(timeline[2].request, 10);
  EXPECT_EQ(timeline[2].begin_step, 0);
  EXPECT_EQ(timeline[2].end_step, 3);
}

TEST(SimulatedServer, SlotIsEmptyAgainWhenItsRequestHasEnded) {
  SimulatedServer server = make_server(three_requests(), 1);
  server.wait_until(5.0);
  server.take_arrivals(3);
  EXPECT_EQ(run(server, {{0, 20, 1}}), std::vector<int>{20});
  EXPECT_EQ(run(server, {{0, 10, 3}}), std::vector<int>{});
  EXPECT_EQ(run(server, {{0, 10, 1}}), std::vector<int>{10});
  EXPECT_EQ(server.timeline()[1].begin_step, 1);
  EXPECT_EQ(server.timeline()[1].end_step, 3);
}

TEST(SimulatedServer, CostModelSeesTokensAndPositions) {
  std::vector<std::vector<int>> seen;  // q_len and kv_len of all sequences, a step a row
  const auto step_time = [&](std::span<const SequenceStep> batch) {
    std::vector<int>& row = seen.emplace_back();
    for (const SequenceStep& one : batch) row.insert(row.end(), {one.q_len, one.kv_len});
    return 1.0 + static_cast<double>(batch.size());
  };
  SimulatedServer server({.n_slots = 2, .step_time = step_time}, source_of(three_requests()));
  server.take_arrivals(1);
  run(server, {{0, 10, 2}});
  server.wait_until(5.0);
  server.take_arrivals(2);
  run(server, {{0, 10, 1}, {1, 30, 4}});  // 10's prompt ends at position 3
  run(server, {{1, 30, 1}, {0, 10, 1}});  // the first tokens of both are fed back
  EXPECT_EQ(seen, (std::vector<std::vector<int>>{{2, 2}, {1, 3, 4, 4}, {1, 5, 1, 4}}));
  EXPECT_EQ(server.now_ms(), 11.0);
  EXPECT_EQ(server.busy_ms(), 8.0);
  EXPECT_TRUE(server.timeline().empty()) << "it was not asked for";
}

TEST(SimulatedServer, RefusesSlotsThatCannotBe) {
  SimulatedServer server = make_server(three_requests());
  server.wait_until(5.0);
  server.take_arrivals(3);
  expect_refused(server, {}, {"without work"});
  expect_refused(server, {{-1, 10, 3}}, {"slot -1", "request 10"});
  expect_refused(server, {{0, 10, 3}, {4, 20, 1}}, {"slot 4", "request 20"});
  expect_refused(server, {{1, 10, 3}, {1, 20, 1}}, {"slot 1 is twice", "request 20"});
  run(server, {{1, 10, 3}});
  expect_refused(server, {{1, 20, 1}}, {"slot 1", "request 20", "request 10 has it"});
  expect_refused(server, {{2, 10, 1}}, {"slot 2", "request 10, which is in slot 1"});
  expect_refused(server, {{0, 20, 1}, {2, 20, 1}}, {"request 20 is twice", "slot 2"});
  EXPECT_EQ(run(server, {{0, 20, 1}, {1, 10, 1}}), (std::vector<int>{20, 10})) << "all is as before";
}

TEST(SimulatedServer, RefusesRequestsThatCannotRun) {
  SimulatedServer server = make_server(three_requests());
  expect_refused(server, {{0, 10, 3}}, {"slot 0", "request 10", "was not taken"});
  server.wait_until(5.0);
  server.take_arrivals(2);
  expect_refused(server, {{0, 30, 4}}, {"request 30, which was not taken"});
  expect_refused(server, {{0, 77, 1}}, {"request 77"});
  run(server, {{3, 20, 1}});
  expect_refused(server, {{3, 20, 1}}, {"slot 3", "request 20, which has ended"});
  expect_refused(server, {{2, 20, 1}}, {"slot 2", "request 20, which has ended"});
}

TEST(SimulatedServer, RefusesCountsOfTokensThatCannotBe) {
  SimulatedServer server = make_server(three_requests());
  server.take_arrivals(1);
  expect_refused(server, {{0, 10, 0}}, {"slot 0, request 10", "0 tokens", "3 of its prompt's 3 are left"});
  expect_refused(server, {{0, 10, -2}}, {"-2 tokens"});
  expect_refused(server, {{0, 10, 4}}, {"4 tokens"});
  run(server, {{0, 10, 2}});
  expect_refused(server, {{0, 10, 2}}, {"2 tokens", "1 of its prompt's 3 are left"});
  run(server, {{0, 10, 1}});
  expect_refused(server, {{0, 10, 3}}, {"slot 0, request 10", "3 tokens", "its prompt is done"});
  expect_refused(server, {{0, 10, 0}}, {"0 tokens"});
  EXPECT_EQ(run(server, {{0, 10, 1}}), std::vector<int>{10});
}

TEST(SimulatedServer, RefusesWhatItCannotBeMadeOf) {
  const auto one_ms = constant_step_time(1.0);
  const auto none = source_of({});
  EXPECT_TRUE(
      throws_error([&] { SimulatedServer({.n_slots = 0, .step_time = one_ms}, none); }, "n_slots is 0"));
  EXPECT_TRUE(throws_error([&] { SimulatedServer({.n_slots = 1, .step_time = {}}, none); }, "step_time"));
  EXPECT_TRUE(throws_error([&] { SimulatedServer({.n_slots = 1, .step_time = one_ms}, nullptr); }, "source"));
  EXPECT_TRUE(throws_error([] { constant_step_time(0.0); }, "0 ms"));
  EXPECT_TRUE(throws_error([] { constant_step_time(kNan); }, "nan"));
  EXPECT_TRUE(throws_error([] { source_of({{1, 2.0, 1, 1}, {2, 1.0, 1, 1}}); }, "request 2 arrives at 1 ms"));
}

TEST(SimulatedServer, RefusesRequestsThatCannotBeInItsSource) {
  const auto take_all = [](std::vector<SimulatedRequest> requests) {
    return throws_error([&] { make_server(std::move(requests)).take_arrivals(9); }, "request 8");
  };
  EXPECT_TRUE(take_all({{8, 0.0, 0, 1}}));
  EXPECT_TRUE(take_all({{8, 0.0, 1, 0}}));
  EXPECT_TRUE(take_all({{8, -1.0, 1, 1}}));
  EXPECT_TRUE(take_all({{8, kNan, 1, 1}}));
  EXPECT_TRUE(take_all({{8, 0.0, 1, 1}, {8, 0.0, 1, 1}})) << "twice";
}

TEST(SimulatedServer, RefusesAStepTimeThatIsNone) {
  double ms = 0.0;
  SimulatedServer server({.n_slots = 1, .step_time = [&](auto) { return ms; }}, source_of(three_requests()));
  server.take_arrivals(1);
  expect_refused(server, {{0, 10, 3}}, {"0 ms"});
  ms = kNan;
  expect_refused(server, {{0, 10, 3}}, {"nan ms"});
  ms = 1.0;
  EXPECT_NO_THROW(run(server, {{0, 10, 3}}));
}

TEST(SimulatedServer, EndsAWaitThatWouldLastForEver) {
  SimulatedServer server = make_server(three_requests());
  server.take_arrivals(1);
  const auto poll = [&] {
    for (int i = 0; i < SimulatedServer::kMaxIdleCalls; ++i) server.take_arrivals(1);
  };
  EXPECT_TRUE(throws_error(poll, "nothing can change"));
  server.wait_until(1.0);
  EXPECT_NO_THROW(server.take_arrivals(1));
}

TEST(SimulatedServer, KeepsOnlyWhatIsUnfinished) {
  constexpr int kRequests = 20'000;
  int made = 0;
  std::int64_t told = 0;
  SimulatedServer server({.n_slots = 2,
                          .step_time = constant_step_time(1.0),
                          .on_finished = [&](const RequestTimes& times) { told += times.id; }},
                         [&]() -> std::optional<SimulatedRequest> {
                           if (made == kRequests) return std::nullopt;
                           return SimulatedRequest{made++, 0.0, 1, 1};
                         });
  while (server.next_arrival_ms().has_value()) {
    const auto pair = server.take_arrivals(2);
    EXPECT_LE(made, server.n_finished() + 3) << "requests are made when they are needed";
    run(server, {{0, pair[0].id, 1}, {1, pair[1].id, 1}});
  }
  EXPECT_EQ(server.n_finished(), kRequests);
  EXPECT_EQ(server.max_unfinished(), 2);
  EXPECT_EQ(told, std::int64_t{kRequests} * (kRequests - 1) / 2);
  EXPECT_TRUE(server.finished().empty());
}

}  // namespace
}  // namespace kit::testing
