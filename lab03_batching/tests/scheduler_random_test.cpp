#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kit/testing.h"
#include "scheduler_driver.h"

// Random requests, answers and cancellations on pools so small that preemption is frequent. The driver checks
// tokens, tables and memory after every step; here the policy is checked, rule by rule, from what each step
// did and from what it left undone.

namespace {

using lab03_tests::SchedulerDriver;
using lab03_tests::text_of;

struct Scene {
  lab03::SchedulerConfig config;
  int n_blocks = 0;
  int max_prompt_len = 0;
  int max_new_tokens = 0;
  double adds_per_step = 0.3;
  double cancels_per_step = 0.03;
};

class RandomRun {
 public:
  RandomRun(const Scene& scene, kit::Rng rng)
      : scene_(scene), rng_(rng), driver_(scene.config, scene.n_blocks) {}

  void run(int n_steps) {
    for (int i = 0; i < n_steps && !failed(); ++i) {
      for (double chance = scene_.adds_per_step; rng_.uniform() < chance; chance -= 1.0) add_one();
      if (!arrived_.empty() && rng_.uniform() < scene_.cancels_per_step) cancel_one();
      step();
    }
    // The oldest request runs a token in every step, so the rest cannot take more steps than it has tokens.
    int n_left = 0;
    for (const auto& [id, request] : driver_.requests())
      n_left += request.prompt_len + request.max_new_tokens;
    while (!arrived_.empty() && !failed()) {
      ASSERT_GE(--n_left, 0) << "requests " << text_of(arrived_) << " do not end";
      step();
    }
    if (failed()) return;
    EXPECT_EQ(driver_.used_blocks(), 0) << "all requests have ended";
    EXPECT_EQ(text_of(driver_.step()), "nothing");
  }

  /// The first steps, for the report's figure: what is in use and who had to go.
  void record(std::size_t n_steps) const {
    const auto record_first = [&](const std::string& name, const std::vector<double>& values) {
      kit::testing::record_series(name, std::span(values).first(std::min(values.size(), n_steps)));
    };
    record_first("step", steps_);
    record_first("used_percent", used_percent_);
    record_first("running_percent", running_percent_);
    const auto in_time = std::ranges::count_if(
        preemption_steps_, [&](double step) { return step < static_cast<double>(n_steps); });
    kit::testing::record_series("preemption_step", std::span(preemption_steps_).first(in_time));
    kit::testing::record_series("preemption_percent", std::vector<double>(in_time, 100.0));
  }

  int n_preempted() const { return n_preempted_; }
  int n_refused() const { return n_refused_; }

 private:
  static bool failed() { return ::testing::Test::HasFailure(); }

  int up_to(int n) { return 1 + static_cast<int>(rng_.below(static_cast<std::uint32_t>(n))); }

  void add_one() {
    const int id = next_id_++;
    const int prompt_len = up_to(scene_.max_prompt_len);
    const int max_new_tokens = up_to(scene_.max_new_tokens);
    if (driver_.blocks_for(prompt_len + max_new_tokens - 1) > scene_.n_blocks) {
      EXPECT_TRUE(kit::testing::throws_error([&] { driver_.add(id, prompt_len, max_new_tokens); },
                                             std::to_string(id)));
      ++n_refused_;
      return;
    }
    driver_.add(id, prompt_len, max_new_tokens);
    arrived_.push_back(id);
    output_lens_[id] = up_to(max_new_tokens);  // the scheduler is not told
  }

  void cancel_one() { end(arrived_[rng_.below(static_cast<std::uint32_t>(arrived_.size()))]); }

  void end(int id) {
    driver_.finish(id);
    std::erase(arrived_, id);
  }

  void step() {
    const kit::Schedule step = driver_.step([&](int id) { return ends(id); });
    std::erase_if(arrived_, [&](int id) { return !driver_.requests().contains(id); });
    std::erase_if(running_, [&](int id) { return !driver_.requests().contains(id); });
    SCOPED_TRACE("step " + text_of(step) + ", before it ran [" + text_of(running_) + "]");
    if (failed()) return;
    check_order();
    check_oldest_runs(step);
    check_preemption_was_needed(step);
    check_running_go_on(step);
    check_budget(step);
    check_admission(step);
    running_ = driver_.running();
    n_preempted_ += static_cast<int>(step.preempted.size());
    if (!step.preempted.empty()) preemption_steps_.push_back(static_cast<double>(steps_.size()));
    steps_.push_back(static_cast<double>(steps_.size()));
    used_percent_.push_back(100.0 * driver_.used_blocks() / scene_.n_blocks);
    running_percent_.push_back(100.0 * static_cast<double>(running_.size()) / scene_.config.max_num_seqs);
  }

  bool ends(int id) {
    const SchedulerDriver::Request& request = driver_.requests().at(id);
    if (request.n_written + 1 < output_lens_.at(id)) return false;
    EXPECT_EQ(request.n_run, request.n_known() + request.n_recomputed)
        << "request " << id << ": every token runs once, and once more for each preemption behind it";
    return true;
  }

  int blocks_of(int id) const { return driver_.blocks_for(driver_.requests().at(id).n_known()); }
  int blocks_of(const std::vector<int>& ids) const {
    int sum = 0;
    for (const int id : ids) sum += blocks_of(id);
    return sum;
  }
  /// Those that ran before this step and still do.
  std::vector<int> survivors(const kit::Schedule& step) const {
    return {running_.begin(), running_.end() - std::ssize(step.preempted)};
  }

  void check_order() {
    std::vector<int> queue = driver_.scheduler().running();
    EXPECT_EQ(text_of(queue), text_of(driver_.running())) << "running(): those that hold blocks";
    for (const int id : driver_.scheduler().waiting()) queue.push_back(id);
    EXPECT_EQ(text_of(queue), text_of(arrived_)) << "running, then waiting: always in the order of arrival";
  }

  void check_oldest_runs(const kit::Schedule& step) const {
    if (arrived_.empty()) return;
    ASSERT_FALSE(step.chunks.empty()) << "there are requests, but nothing runs: this never ends";
    EXPECT_EQ(step.chunks.front().request, arrived_.front()) << "the oldest request must go on in every step";
  }

  void check_preemption_was_needed(const kit::Schedule& step) const {
    if (step.preempted.empty()) return;
    const int last = step.preempted.back();
    EXPECT_GT(blocks_of(survivors(step)) + blocks_of(last), scene_.n_blocks)
        << "request " << last
        << " was preempted, but there are blocks for it and all that were admitted before";
  }

  void check_running_go_on(const kit::Schedule& step) const {
    const std::vector<int> expected = survivors(step);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_LT(i, step.chunks.size()) << "request " << expected[i] << " runs, but gets no chunk";
      EXPECT_EQ(step.chunks[i].request, expected[i]) << "chunks are in the order of admission";
    }
  }

  void check_budget(const kit::Schedule& step) const {
    int left = scene_.config.max_num_batched_tokens;
    for (const auto& chunk : step.chunks) {
      const int to_run = driver_.requests().at(chunk.request).n_known() - chunk.first_pos;
      EXPECT_EQ(chunk.n_tokens, std::min(to_run, left))
          << "request " << chunk.request << " has " << to_run << " tokens to run, of the step's budget "
          << left << " are left";
      left -= chunk.n_tokens;
    }
  }

  void check_admission(const kit::Schedule& step) const {
    const std::vector<int> stayed = survivors(step);
    int left = scene_.config.max_num_batched_tokens;
    int n_free = scene_.n_blocks - blocks_of(stayed);
    int n_running = 0;
    // Whether the rules allow `id` now, with what is left behind those before it.
    const auto allowed = [&](int id) {
      const int must_stay_free = n_running == 0 ? 0 : scene_.config.watermark_blocks;
      return n_running < scene_.config.max_num_seqs && left > 0 && n_free - blocks_of(id) >= must_stay_free;
    };
    for (const auto& chunk : step.chunks) {
      if (n_running >= std::ssize(stayed)) {
        EXPECT_TRUE(step.preempted.empty())
            << "request " << chunk.request << " is admitted in a step with preemption";
        EXPECT_TRUE(allowed(chunk.request))
            << "request " << chunk.request << " is admitted beside " << n_running << " others, needs "
            << blocks_of(chunk.request) << " blocks of " << n_free << " free, budget left " << left;
        n_free -= blocks_of(chunk.request);
      }
      left -= chunk.n_tokens;
      ++n_running;
    }
    if (!step.preempted.empty() || step.chunks.size() == arrived_.size()) return;
    const int next = arrived_[step.chunks.size()];
    EXPECT_FALSE(allowed(next)) << "request " << next << " could have been admitted: it needs "
                                << blocks_of(next) << " blocks of " << n_free << " free, " << n_running
                                << " run, budget left " << left;
  }

  Scene scene_;
  kit::Rng rng_;
  SchedulerDriver driver_;
  std::vector<int> arrived_;  // unfinished requests, in the order of arrival
  std::vector<int> running_;  // after the step before
  std::map<int, int> output_lens_;
  int next_id_ = 100;
  int n_preempted_ = 0;
  int n_refused_ = 0;
  std::vector<double> steps_;
  std::vector<double> used_percent_;      // [steps], of all blocks
  std::vector<double> running_percent_;   // [steps], of max_num_seqs
  std::vector<double> preemption_steps_;  // those in which somebody was preempted
};

TEST(SchedulerRandom, TinyPool) {
  RandomRun run({.config = {3, 4, 7, 0},
                 .n_blocks = 6,
                 .max_prompt_len = 6,
                 .max_new_tokens = 16,
                 .adds_per_step = 0.5},
                kit::testing::make_rng(1));
  run.run(400);
  EXPECT_TRUE(HasFailure() || run.n_preempted() > 10) << "too few to prove anything";
  EXPECT_GT(run.n_refused(), 0);
}

TEST(SchedulerRandom, ATokenEachAndLongPrompts) {
  RandomRun run({.config = {7, 5, 5, 1}, .n_blocks = 11, .max_prompt_len = 17, .max_new_tokens = 45},
                kit::testing::make_rng(2));
  run.run(400);
}

TEST(SchedulerRandom, BlocksOfOneToken) {
  RandomRun run({.config = {1, 8, 31, 3},
                 .n_blocks = 47,
                 .max_prompt_len = 9,
                 .max_new_tokens = 31,
                 .adds_per_step = 1.0},
                kit::testing::make_rng(3));
  run.run(300);
  run.record(100);
  EXPECT_TRUE(HasFailure() || run.n_preempted() > 50) << "too few to prove anything";
}

TEST(SchedulerRandom, ManyAreCancelled) {
  RandomRun run({.config = {4, 6, 16, 1},
                 .n_blocks = 10,
                 .max_prompt_len = 6,
                 .max_new_tokens = 30,
                 .adds_per_step = 0.8,
                 .cancels_per_step = 0.3},
                kit::testing::make_rng(4));
  run.run(400);
  EXPECT_TRUE(HasFailure() || run.n_preempted() > 10) << "too few to prove anything";
}

TEST(SchedulerRandom, AWatermarkOfEverything) {
  RandomRun run({.config = {4, 6, 16, 6}, .n_blocks = 5, .max_prompt_len = 10, .max_new_tokens = 11},
                kit::testing::make_rng(5));
  run.run(300);
  EXPECT_EQ(run.n_preempted(), 0) << "requests run one at a time";
}

TEST(SchedulerRandom, ManyConfigurations) {
  kit::Rng rng = kit::testing::make_rng(6);
  for (std::uint64_t i = 0; i < 24 && !HasFailure(); ++i) {
    const auto draw = [&](int low, int high) {
      return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
    };
    Scene scene;
    scene.config = {.block_size = draw(1, 9), .max_num_seqs = draw(1, 9), .watermark_blocks = draw(0, 3)};
    scene.config.max_num_batched_tokens = scene.config.max_num_seqs + draw(0, 20);
    scene.n_blocks = draw(2, 20);
    const int n_places = scene.n_blocks * scene.config.block_size;
    scene.max_prompt_len = draw(1, (n_places + 1) / 2);
    scene.max_new_tokens = draw(1, n_places);
    scene.adds_per_step = 0.1 * draw(1, 15);
    SCOPED_TRACE(testing::Message() << "block_size " << scene.config.block_size << ", max_num_seqs "
                                    << scene.config.max_num_seqs << ", max_num_batched_tokens "
                                    << scene.config.max_num_batched_tokens << ", watermark_blocks "
                                    << scene.config.watermark_blocks << ", blocks " << scene.n_blocks);
    RandomRun run(scene, kit::testing::make_rng(7 + i));
    run.run(30);
  }
}

}  // namespace
