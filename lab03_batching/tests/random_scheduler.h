#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "kit/check.h"
#include "kit/rng.h"
#include "kit/scheduler.h"

namespace lab03_tests {

/// A scheduler without a policy: anything that kit::Scheduler allows may happen. Chunks of random length,
/// requests that wait out a step, admission out of order, preemption without need, other blocks afterwards.
/// So an engine's tests depend on no student's scheduler, and an engine on no policy.
class RandomScheduler final : public kit::Scheduler {
 public:
  struct Options {
    int block_size = 0;
    int n_blocks = 0;
    int max_running = 4;
    int max_chunk = 8;         ///< tokens of a chunk, at most
    int idle_percent = 20;     ///< of the running requests, those that wait out a step
    int preempt_percent = 0;   ///< of the running requests, in each step
    int new_table_spares = 0;  ///< blocks that a table holds beyond need, at most
  };

  RandomScheduler(const Options& options, const kit::Rng& rng)
      : options_(options), rng_(rng), free_(static_cast<std::size_t>(options.n_blocks)) {
    std::iota(free_.begin(), free_.end(), 0);
  }

  void add(int request, int prompt_len, int max_new_tokens) override {
    KIT_CHECK(!requests_.contains(request), "request {} is known already", request);
    KIT_CHECK(prompt_len > 0 && max_new_tokens > 0, "request {}: a prompt of {} and {} new tokens", request,
              prompt_len, max_new_tokens);
    const int longest = prompt_len + max_new_tokens - 1;
    KIT_CHECK(blocks_for(longest) <= options_.n_blocks, "request {} may need {} blocks, there are {}",
              request, blocks_for(longest), options_.n_blocks);
    requests_[request] = {.known = prompt_len, .longest = longest};
    waiting_.push_back(request);
  }

  kit::Schedule schedule() override {
    for (const auto& [id, request] : requests_)
      KIT_CHECK(!request.unanswered,
                "schedule() before request {} was answered by append_token() or finish()", id);
    shuffle(free_);
    kit::Schedule plan;
    preempt(plan);
    if (plan.preempted.empty()) admit();
    if (!running_.empty()) plan_chunks(plan);
    last_ = plan;
    n_preempted_ += plan.preempted.size();
    return plan;
  }

  void append_token(int request) override {
    Request& r = find(request);
    KIT_CHECK(r.unanswered,
              "append_token({}), but its chunk of this step did not sample: a prompt in several chunks gives "
              "no token before its last",
              request);
    KIT_CHECK(r.known < r.longest,
              "append_token({}), but it has all its tokens: finish() must be called after the last", request);
    r.known += 1;
    r.unanswered = false;
  }

  void finish(int request) override {
    Request& r = find(request);
    free_.insert(free_.end(), r.table.begin(), r.table.end());
    std::erase(running_, request);
    std::erase(waiting_, request);
    requests_.erase(request);
  }

  std::vector<int> waiting() const override { return waiting_; }
  std::vector<int> running() const override { return running_; }

  // For the tests.
  const kit::Schedule& last() const { return last_; }
  bool all_blocks_are_free() const { return static_cast<int>(free_.size()) == options_.n_blocks; }
  bool knows(int request) const { return requests_.contains(request); }
  std::size_t n_preempted() const { return n_preempted_; }

 private:
  struct Request {
    int known = 0;     // tokens: prompt and written
    int longest = 0;   // tokens in the cache, at most
    int computed = 0;  // tokens with keys and values
    bool unanswered = false;
    std::vector<int> table{};
  };

  int blocks_for(int tokens) const { return (tokens + options_.block_size - 1) / options_.block_size; }
  int below(std::size_t n) { return static_cast<int>(rng_.below(static_cast<std::uint32_t>(n))); }
  bool chance(int percent) { return below(100) < percent; }
  void shuffle(std::vector<int>& items) {
    for (std::size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[static_cast<std::size_t>(below(i))]);
  }
  Request& find(int request) {
    const auto found = requests_.find(request);
    KIT_CHECK(found != requests_.end(), "request {} is unknown", request);
    return found->second;
  }

  void preempt(kit::Schedule& plan) {
    for (const int id : std::vector<int>(running_)) {
      if (running_.size() < 2 || !chance(options_.preempt_percent)) continue;
      Request& r = find(id);
      free_.insert(free_.end(), r.table.begin(), r.table.end());
      r.table.clear();
      r.computed = 0;
      std::erase(running_, id);
      waiting_.insert(waiting_.begin() + below(waiting_.size() + 1), id);
      plan.preempted.push_back(id);
    }
  }

  /// Only with room for all that the running requests may grow to, so that no block is ever missing.
  void admit() {
    while (!waiting_.empty() && static_cast<int>(running_.size()) < options_.max_running) {
      const int id = waiting_[static_cast<std::size_t>(below(waiting_.size()))];
      int reserved = blocks_for(find(id).longest) + options_.new_table_spares;
      for (const int other : running_)
        reserved += blocks_for(find(other).longest) + options_.new_table_spares;
      if (!running_.empty() && (reserved > options_.n_blocks || chance(30))) return;
      std::erase(waiting_, id);
      running_.push_back(id);
    }
  }

  void plan_chunks(kit::Schedule& plan) {
    const int at_least_this = running_[static_cast<std::size_t>(below(running_.size()))];
    for (const int id : running_) {
      if (id != at_least_this && chance(options_.idle_percent)) continue;
      Request& r = find(id);
      const int n = 1 + below(static_cast<std::size_t>(std::min(r.known - r.computed, options_.max_chunk)));
      const int spares = options_.new_table_spares > 0 ? below(options_.new_table_spares + 1U) : 0;
      while (static_cast<int>(r.table.size()) < blocks_for(r.computed + n) + spares && !free_.empty()) {
        r.table.push_back(free_.back());
        free_.pop_back();
      }
      r.unanswered = r.computed + n == r.known;
      plan.chunks.push_back({.request = id,
                             .first_pos = r.computed,
                             .n_tokens = n,
                             .samples = r.unanswered,
                             .block_table = r.table});
      r.computed += n;
    }
  }

  Options options_;
  kit::Rng rng_;
  std::vector<int> free_;  // blocks
  std::map<int, Request> requests_;
  std::vector<int> waiting_;
  std::vector<int> running_;
  kit::Schedule last_;
  std::size_t n_preempted_ = 0;
};

}  // namespace lab03_tests
