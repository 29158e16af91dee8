#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "kit/simulated_server.h"
#include "kit/testing.h"
#include "scheduler_driver.h"

// Utilisation: of the blocks that any scheduler could have at work until the last request arrives, the share
// that are.
//
// A block is at work in a step when its request writes a token in that step. Let W(s) be the work, in blocks
// times steps, that would be done before step s if there were room for everybody: a request that arrives at
// step a and writes L tokens after a prompt of P has ceil((P + j) / block_size) blocks at work in step a + j,
// for j = 0 .. L - 1. Nobody does more than W(s) before step s, however clever, for a request writes one
// token a step; and nobody does more than n_blocks in each of the n_steps - s steps from s on. So for every s
//
//   work <= W(s) + n_blocks * (n_steps - s),
//
// and the smallest of these bounds is what we hold a scheduler against. It knows all lengths in advance, and
// is out of reach: blocks stay free because they are the watermark or too few for the next request. Since
// work is counted in blocks, there is nothing to be gained by serving the short ones first. About twice as
// much arrives as can be served; slots and token budget are out of the way.
//
// The bar of 95 % is far from what this policy loses: over 2000 seeds the worst of the three workloads had
// 96.9 to 99.4 %, where one that lets nobody join a running batch has 4 to 49 % (300 seeds).

namespace {

using lab03_tests::SchedulerDriver;
using lab03_tests::text_of;

constexpr int kBlocks = 256;
constexpr int kBlockSize = 4;
constexpr int kMaxNewTokens = 400;  // what each request may write; few do
constexpr double kRequiredPercent = 95.0;

struct Arrival {
  int step = 0;
  int prompt_len = 0;
  int output_len = 0;
};

int blocks_for(int n_tokens) {
  return (n_tokens + kBlockSize - 1) / kBlockSize;
}

/// In order of arrival; the index is the request's id.
std::vector<Arrival> draw(const kit::WorkloadConfig& config, std::uint64_t stream) {
  std::vector<Arrival> arrivals;
  const kit::RequestSource source = kit::make_workload(config, kit::testing::make_rng(stream));
  while (const auto request = source()) {
    arrivals.push_back({.step = static_cast<int>(std::ceil(request->arrival_ms)),  // a step takes 1 ms
                        .prompt_len = request->prompt_len,
                        .output_len = std::min(request->output_len, kMaxNewTokens)});
  }
  return arrivals;
}

/// The bound that is derived above, for the steps 0 .. n_steps - 1.
std::int64_t most_work(const std::vector<Arrival>& arrivals, int n_steps) {
  std::int64_t unlimited = 0;
  std::int64_t least = std::int64_t{kBlocks} * n_steps;
  for (int s = 1; s <= n_steps; ++s) {
    for (const Arrival& request : arrivals) {
      const int j = s - 1 - request.step;
      if (j >= 0 && j < request.output_len) unlimited += blocks_for(request.prompt_len + j);
    }
    least = std::min(least, unlimited + std::int64_t{kBlocks} * (n_steps - s));
  }
  return least;
}

class Serving {
 public:
  explicit Serving(std::vector<Arrival> arrivals)
      : arrivals_(std::move(arrivals)),
        n_steps_(arrivals_.back().step),
        driver_({.block_size = kBlockSize,
                 .max_num_seqs = kBlocks,
                 .max_num_batched_tokens = kBlocks * kBlockSize,
                 .watermark_blocks = 2},
                kBlocks) {}

  /// Until all requests have ended; false when something was wrong.
  bool run() {
    std::size_t next = 0;
    for (int step = 0; next < arrivals_.size() || !driver_.requests().empty(); ++step) {
      for (; next < arrivals_.size() && arrivals_[next].step <= step; ++next)
        driver_.add(static_cast<int>(next), arrivals_[next].prompt_len, kMaxNewTokens);
      const kit::Schedule plan = driver_.step([&](int id) { return ends(id); });
      check_fairness(plan);
      if (::testing::Test::HasFailure()) return false;
      count(plan, step);
    }
    return true;
  }

  double utilisation_percent() const {
    return 100.0 * static_cast<double>(work_) / static_cast<double>(most_work(arrivals_, n_steps_));
  }
  const std::vector<double>& steps() const { return steps_; }
  const std::vector<double>& used_percent() const { return used_percent_; }
  bool anybody_joined() const { return anybody_joined_; }

 private:
  bool ends(int id) {
    const SchedulerDriver::Request& request = driver_.requests().at(id);
    if (request.n_written + 1 < arrivals_[static_cast<std::size_t>(id)].output_len) return false;
    EXPECT_EQ(request.n_run, request.n_known() + request.n_recomputed) << "tokens run for request " << id;
    return true;
  }

  /// The oldest goes on, and nobody is admitted before one that came earlier.
  void check_fairness(const kit::Schedule& plan) {
    for (const auto& chunk : plan.chunks) {
      EXPECT_LE(chunk.request, last_admitted_ + 1)
          << "request " << chunk.request << " overtakes request " << last_admitted_ + 1;
      last_admitted_ = std::max(last_admitted_, chunk.request);
    }
    if (driver_.requests().empty()) return;
    const int oldest = driver_.requests().begin()->first;
    EXPECT_TRUE(!plan.chunks.empty() && plan.chunks.front().request == oldest)
        << "request " << oldest << " is the oldest, and did not run: " << text_of(plan);
  }

  void count(const kit::Schedule& plan, int step) {
    if (!plan.chunks.empty() && plan.chunks.front().first_pos > 0 && plan.chunks.back().first_pos == 0)
      anybody_joined_ = true;
    if (step >= n_steps_) return;
    for (const auto& chunk : plan.chunks) {
      if (chunk.samples) work_ += blocks_for(chunk.first_pos + chunk.n_tokens);
    }
    steps_.push_back(step);
    used_percent_.push_back(100.0 * driver_.used_blocks() / kBlocks);
  }

  std::vector<Arrival> arrivals_;
  int n_steps_;
  SchedulerDriver driver_;
  int last_admitted_ = -1;
  std::int64_t work_ = 0;
  bool anybody_joined_ = false;
  std::vector<double> steps_;
  std::vector<double> used_percent_;  // [steps]
};

TEST(SchedulerMilestone, UtilisationIsNearTheOptimum) {
  struct Workload {
    std::string name;
    kit::WorkloadConfig config;
  };
  constexpr int kMeanOutput = 16;
  constexpr int kMeanPrompt = 8;
  const std::vector<Workload> workloads = {
      {"poisson",
       {300, kit::Arrivals::kPoisson, 4000.0, kit::Lengths::kExponential, kMeanOutput, kMeanPrompt}},
      {"bursty", {400, kit::Arrivals::kBursty, 6000.0, kit::Lengths::kExponential, kMeanOutput, kMeanPrompt}},
      {"long_tailed",
       {300, kit::Arrivals::kPoisson, 4000.0, kit::Lengths::kLongTailed, kMeanOutput, kMeanPrompt}}};

  double worst = 100.0;
  bool anybody_joined = false;
  std::string each;
  for (std::size_t i = 0; i < workloads.size(); ++i) {
    SCOPED_TRACE(workloads[i].name);
    Serving serving(draw(workloads[i].config, i));
    ASSERT_TRUE(serving.run());
    worst = std::min(worst, serving.utilisation_percent());
    anybody_joined = anybody_joined || serving.anybody_joined();
    each += workloads[i].name + " " + std::to_string(serving.utilisation_percent()) + " % ";
    kit::testing::record_series("step_" + workloads[i].name, serving.steps());
    kit::testing::record_series("used_percent_" + workloads[i].name, serving.used_percent());
  }
  kit::testing::record_value("utilisation_percent", worst);
  kit::testing::record_value("utilisation_required_percent", kRequiredPercent);
  EXPECT_GE(worst, kRequiredPercent)
      << each
      << (anybody_joined ? "" : "\nLikely cause: nobody joins while others run: that is static batching");
}

}  // namespace
