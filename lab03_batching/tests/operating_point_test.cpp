#include "lab03/operating_point.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kit/model_table.h"
#include "kit/testing.h"
#include "lab03/metrics.h"
#include "simple_batcher.h"
#include "step_reference.h"

namespace {

using kit::RequestTimes;
using kit::testing::KnownCount;
using kit::testing::KnownValue;
using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab03::OperatingPoint;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Requests as some server might have served them with this limit; every number differs from the others.
std::vector<RequestTimes> some_times(int max_num_seqs) {
  kit::Rng rng = kit::testing::make_rng(5000U + static_cast<std::uint64_t>(max_num_seqs));
  std::vector<RequestTimes> requests;
  for (int i = 0; i < 120; ++i) {
    RequestTimes times;
    times.id = i;
    times.arrival_ms = 100 + 10.0 * i;
    times.scheduled_ms = times.arrival_ms + 500.0 / max_num_seqs * rng.uniform();
    times.first_token_ms = times.scheduled_ms + 5 + 20 * rng.uniform();
    times.output_len = 2 + static_cast<int>(rng.below(50));
    times.finished_ms = times.first_token_ms + (times.output_len - 1) * (5 + max_num_seqs * rng.uniform());
    times.prompt_len = 1 + static_cast<int>(rng.below(300));
    requests.push_back(times);
  }
  return requests;
}

// The summary is task 1's, the student's own: what is tested here is what sweep() makes of it.
void expect_point(const OperatingPoint& got, int max_num_seqs, const std::vector<RequestTimes>& requests) {
  const lab03::ServingSummary seen = lab03::summarize(requests);
  const double exact = 1e-12;  // the same few operations, 1e-16 each
  EXPECT_EQ(got.max_num_seqs, max_num_seqs);
  EXPECT_TRUE(matches_value(
      got.p99_time_to_first_token_ms, seen.p99_time_to_first_token_ms, exact,
      std::vector<KnownValue>{{"the median time to the first token", seen.p50_time_to_first_token_ms},
                              {"the time per token", seen.p99_time_per_output_token_ms},
                              {"the end-to-end time", seen.p99_end_to_end_ms},
                              {"the mean time in the queue", seen.mean_queue_ms}}))
      << "p99 TTFT at max_num_seqs " << max_num_seqs;
  EXPECT_TRUE(matches_value(
      got.p99_time_per_output_token_ms, seen.p99_time_per_output_token_ms, exact,
      std::vector<KnownValue>{{"the median time per token", seen.p50_time_per_output_token_ms},
                              {"the time to the first token", seen.p99_time_to_first_token_ms}}))
      << "p99 TPOT at max_num_seqs " << max_num_seqs;
  EXPECT_TRUE(matches_value(got.output_tokens_per_s, seen.output_tokens_per_s, exact,
                            std::vector<KnownValue>{{"requests a second", seen.requests_per_s}}))
      << "throughput at max_num_seqs " << max_num_seqs;
}

TEST(Sweep, ServesOnceForEachLimitInOrder) {
  const std::vector<int> limits = {4, 1, 31, 2};
  std::vector<int> calls;
  const std::vector<OperatingPoint> points = lab03::sweep(limits, [&](int max_num_seqs) {
    calls.push_back(max_num_seqs);
    return some_times(max_num_seqs);
  });
  EXPECT_EQ(calls, limits) << "a run may take minutes on a real server: once for each limit, in order";
  ASSERT_EQ(points.size(), limits.size());
  for (std::size_t i = 0; i < limits.size(); ++i) expect_point(points[i], limits[i], some_times(limits[i]));
}

TEST(Sweep, RejectsWhatCannotBe) {
  EXPECT_TRUE(throws_error([] { (void)lab03::sweep({}, some_times); })) << "no limit";
  EXPECT_TRUE(throws_error([] { (void)lab03::sweep(std::vector<int>{4, 0}, some_times); }, "0")) << "limit 0";
  EXPECT_TRUE(throws_error([] { (void)lab03::sweep(std::vector<int>{-3}, some_times); }, "-3")) << "limit -3";
}

//   max_num_seqs   p99 TTFT   p99 TPOT   tokens/s
//        1           9000        6.5        150       the queue is long
//        4           2000        7.5        530
//       16            300       12.5       1400
//       64             90       22.5       2500
//      256             95       55         2560       everybody is slow
//      512            150       95         2400       slower in all
std::vector<OperatingPoint> six_points() {
  return {{1, 9000, 6.5, 150},  {4, 2000, 7.5, 530}, {16, 300, 12.5, 1400},
          {64, 90, 22.5, 2500}, {256, 95, 55, 2560}, {512, 150, 95, 2400}};
}

void expect_chosen(const OperatingPoint& got, int expected, const std::vector<KnownCount>& mistakes) {
  EXPECT_TRUE(matches_count(got.max_num_seqs, expected, mistakes)) << "max_num_seqs of the chosen point";
  for (const OperatingPoint& point : six_points()) {
    if (point.max_num_seqs != expected) continue;
    EXPECT_EQ(got.p99_time_to_first_token_ms, point.p99_time_to_first_token_ms);
    EXPECT_EQ(got.p99_time_per_output_token_ms, point.p99_time_per_output_token_ms);
    EXPECT_EQ(got.output_tokens_per_s, point.output_tokens_per_s);
  }
}

TEST(ChooseInteractive, MostTokensWithinBothLimits) {
  const auto choose = [](double first, double pace) {
    return lab03::choose_interactive(six_points(), first, pace);
  };
  const std::vector<KnownCount> mistakes = {
      {"the quickest point: of those within the limits the one with the most tokens is asked for", 16},
      {"the most tokens of all, whatever the limits", 256},
      {"the limit of the time per token alone", 4}};
  expect_chosen(choose(500, 30), 64, mistakes);
  expect_chosen(choose(500, 60), 256,
                {{"the quickest pace within the limits", 16}, {"the first that keeps them", 64}});
  expect_chosen(choose(500, 20), 16, {{"the limit of the first token alone", 256}});
  expect_chosen(choose(92, 1000), 64, {{"the limit of the time per token alone", 256}});
  expect_chosen(choose(2500, 12), 4,
                {{"the quickest pace; it waits 9 s", 1}, {"the limit of the first token alone", 256}});
  expect_chosen(choose(10'000, 7), 1, {{"the limit of the first token alone", 256}});
}

TEST(ChooseInteractive, JustWithinIsWithin) {
  expect_chosen(lab03::choose_interactive(six_points(), 90, 22.5), 64, {});
  expect_chosen(lab03::choose_interactive(six_points(), 300, 12.5), 16, {});
}

TEST(ChooseInteractive, OfEqualsTheSmaller) {
  const std::vector<OperatingPoint> points = {{64, 90, 20, 1000}, {8, 95, 21, 1000}, {32, 80, 19, 1000}};
  EXPECT_EQ(lab03::choose_interactive(points, 100, 25).max_num_seqs, 8)
      << "three points with 1000 tokens/s each: more slots would only cost memory";
}

TEST(ChooseInteractive, OrderDoesNotMatter) {
  std::vector<OperatingPoint> points = six_points();
  kit::Rng rng = kit::testing::make_rng(60);
  for (int i = 0; i < 10; ++i) {
    for (std::size_t k = points.size() - 1; k > 0; --k)
      std::swap(points[k], points[rng.below(static_cast<std::uint32_t>(k + 1))]);
    EXPECT_EQ(lab03::choose_interactive(points, 500, 30).max_num_seqs, 64);
    EXPECT_EQ(lab03::choose_offline(points, 0.95).max_num_seqs, 64);
  }
}

TEST(ChooseInteractive, SaysWhatWasSeenWhenNothingKeepsTheLimits) {
  // Decimals that every way of printing a double shows.
  const std::vector<OperatingPoint> points = {{1, 9000.5, 6.5, 150}, {64, 87.5, 22.5, 2500}};
  const auto choose = [&](double first, double pace) {
    return [&, first, pace] { (void)lab03::choose_interactive(points, first, pace); };
  };
  EXPECT_TRUE(throws_error(choose(10, 30), "87.5")) << "nobody has a first token in 10 ms";
  EXPECT_TRUE(throws_error(choose(10'000, 5), "6.5")) << "nobody has a token every 5 ms";
  EXPECT_TRUE(throws_error(choose(100, 10), "87.5")) << "each limit is kept by somebody, both by nobody";
  EXPECT_TRUE(throws_error(choose(100, 10), "6.5")) << "each limit is kept by somebody, both by nobody";
  EXPECT_TRUE(throws_error([] { (void)lab03::choose_interactive({}, 100, 10); })) << "no point";
}

TEST(ChooseOffline, SmallestThatReachesTheShare) {
  // The largest throughput is 2560. 95 % of it are 2432: 64 is enough. 98 % are 2508.8: it is not.
  const std::vector<KnownCount> mistakes = {
      {"the largest batch: more slots than needed cost memory and time", 512},
      {"the most tokens: a quarter of the slots gives 97.7 % of them", 256},
      {"the quickest point", 1},
      {"the share of the point with the largest batch", 16}};
  expect_chosen(lab03::choose_offline(six_points(), 0.95), 64, mistakes);
  expect_chosen(lab03::choose_offline(six_points()), 64, mistakes);
  expect_chosen(lab03::choose_offline(six_points(), 0.98), 256, {{"the largest batch", 512}});
  expect_chosen(lab03::choose_offline(six_points(), 1.0), 256, {{"the largest batch", 512}});
  expect_chosen(lab03::choose_offline(six_points(), 0.5), 16,
                {{"the largest batch", 512}, {"the most tokens", 256}});
  expect_chosen(lab03::choose_offline(six_points(), 0.01), 1,
                {{"the largest batch", 512}, {"the most tokens", 256}});
}

TEST(ChooseOffline, RejectsWhatCannotBe) {
  const auto choose = [](double share) {
    return [share] { (void)lab03::choose_offline(six_points(), share); };
  };
  EXPECT_TRUE(throws_error(choose(0.0), "0")) << "share 0";
  EXPECT_TRUE(throws_error(choose(-0.5), "-0.5")) << "share -0.5";
  EXPECT_TRUE(throws_error(choose(1.5), "1.5")) << "share 1.5";
  EXPECT_TRUE(throws_error(choose(kNan), "nan")) << "share NaN";
  EXPECT_TRUE(throws_error([] { (void)lab03::choose_offline({}, 0.95); })) << "no point";
}

// The same server for a chatbot and for an offline job: LLaMA-2-7B in FP16 on an A100 (80 GB SXM), a step
// takes what its roofline says. 500 requests with prompts of 512 and answers of 256 tokens on average.
lab03::Serve serve_on_a100(const kit::WorkloadConfig& workload, const kit::Rng& rng) {
  return [workload, rng](int max_num_seqs) {
    const kit::ModelConfig& model = kit::find_model("llama2-7b").config;
    const kit::Device& a100 = kit::find_device("a100-80gb");
    kit::SimulatedServer::Options options;
    options.n_slots = max_num_seqs;
    options.step_time = [&](std::span<const kit::SequenceStep> batch) {
      return lab03_tests::roofline_ms(a100, {}, lab03_tests::reference_work(model, {}, batch));
    };
    kit::SimulatedServer server(std::move(options), kit::make_workload(workload, rng));
    lab03_tests::serve_simply(server, max_num_seqs);
    return server.finished();
  };
}

struct Series {
  std::vector<double> limit, per_token_ms, tokens_per_s;
};

void record(const std::string& name, std::span<const OperatingPoint> points) {
  Series series;
  for (const OperatingPoint& point : points) {
    series.limit.push_back(point.max_num_seqs);
    series.per_token_ms.push_back(point.p99_time_per_output_token_ms);
    series.tokens_per_s.push_back(point.output_tokens_per_s);
  }
  kit::testing::record_series(name + "_max_num_seqs", series.limit);
  kit::testing::record_series(name + "_per_token_ms", series.per_token_ms);
  kit::testing::record_series(name + "_tokens_per_s", series.tokens_per_s);
}

TEST(OperatingPoint, ChatbotAndOfflineJobOnAnA100) {
  // 128 sequences have caches of about 50 GB here; 256 would not fit beside the 13 GB of weights.
  const std::vector<int> limits = {1, 2, 4, 8, 16, 32, 64, 128};
  kit::WorkloadConfig workload = {.n_requests = 500,
                                  .arrivals = kit::Arrivals::kPoisson,
                                  .requests_per_s = 8.0,
                                  .output = kit::Lengths::kExponential,
                                  .mean_output_len = 256,
                                  .mean_prompt_len = 512};
  const kit::Rng rng = kit::testing::make_rng(61);
  const std::vector<OperatingPoint> chat = lab03::sweep(limits, serve_on_a100(workload, rng));
  workload.arrivals = kit::Arrivals::kAtOnce;
  const std::vector<OperatingPoint> job = lab03::sweep(limits, serve_on_a100(workload, rng));
  ASSERT_EQ(chat.size(), limits.size());
  ASSERT_EQ(job.size(), limits.size());
  expect_point(job[5], 32, serve_on_a100(workload, rng)(32));

  // A first token within half a second, then 40 tokens a second, for 99 of 100 users. With 8 requests a
  // second 16 slots are too few by far and 64 are enough, in all seeds tried; a step of 64 takes 20 ms.
  const OperatingPoint for_chat = lab03::choose_interactive(chat, 500.0, 25.0);
  const OperatingPoint for_job = lab03::choose_offline(job, 0.95);
  record("chat", chat);
  record("job", job);
  record("chosen", std::vector<OperatingPoint>{for_chat, for_job});

  EXPECT_TRUE(for_chat.max_num_seqs == 32 || for_chat.max_num_seqs == 64 || for_chat.max_num_seqs == 128)
      << "got " << for_chat.max_num_seqs;
  EXPECT_TRUE(for_job.max_num_seqs == 64 || for_job.max_num_seqs == 128) << "got " << for_job.max_num_seqs;
  EXPECT_GT(for_job.output_tokens_per_s, 1.1 * for_chat.output_tokens_per_s) << "nobody waits for the job";
  EXPECT_GT(for_job.p99_time_per_output_token_ms, for_chat.p99_time_per_output_token_ms)
      << "a chat's user reads along";
}

}  // namespace
