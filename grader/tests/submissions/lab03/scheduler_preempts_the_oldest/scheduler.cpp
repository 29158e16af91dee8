#include "lab03/scheduler.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>

#include "kit/check.h"

namespace lab03 {

namespace {

/// Its known tokens have positions 0 .. n_known - 1; the first n_computed of them have keys and values.
struct Request {
  int id = 0;
  int n_known = 0;
  int n_computed = 0;
  std::int64_t max_known = 0;
  bool must_answer = false;      // sampled in this step; append_token() or finish() has to follow
  std::vector<int> block_table;  // empty while the request waits
};

/// Requests arrive at the back of waiting_, move from its front to the back of running_, and when blocks run
/// out from there to the front of waiting_ again. So running_, then waiting_ is always the order of arrival.
class BlockScheduler final : public kit::Scheduler {
 public:
  BlockScheduler(const SchedulerConfig& config, std::shared_ptr<kit::BlockAllocator> allocator)
      : config_(config), allocator_(std::move(allocator)) {}

  void add(int request, int prompt_len, int max_new_tokens) override {
    KIT_CHECK(!requests_.contains(request), "request {} is known already", request);
    KIT_CHECK(prompt_len > 0 && max_new_tokens > 0,
              "request {}: prompt_len {} and max_new_tokens {} must be positive", request, prompt_len,
              max_new_tokens);
    const std::int64_t max_known = std::int64_t{prompt_len} + max_new_tokens - 1;
    KIT_CHECK(blocks_for(max_known) <= allocator_->n_blocks(),
              "request {} may grow to {} tokens, which need {} blocks of {}; there are {}", request,
              max_known, blocks_for(max_known), config_.block_size, allocator_->n_blocks());
    requests_[request] = {.id = request, .n_known = prompt_len, .max_known = max_known, .block_table = {}};
    waiting_.push_back(request);
  }

  kit::Schedule schedule() override {
    for (const int id : running_)
      KIT_CHECK(!requests_.at(id).must_answer,
                "request {} sampled in the last step, but neither append_token() nor finish() followed", id);
    kit::Schedule step;
    int budget = config_.max_num_batched_tokens;
    continue_running(step, budget);
    if (step.preempted.empty()) admit_waiting(step, budget);
    return step;
  }

  void append_token(int request) override {
    Request& asked = find(request);
    KIT_CHECK(asked.must_answer, "request {} gets a token, but did not sample in this step", request);
    KIT_CHECK(asked.n_known < asked.max_known,
              "request {} has written all it may with this token: it must finish()", request);
    ++asked.n_known;
    asked.must_answer = false;
  }

  void finish(int request) override {
    Request& ended = find(request);
    const bool is_running = !ended.block_table.empty();
    release_blocks(ended);
    if (is_running) {
      std::erase(running_, request);
    } else {
      std::erase(waiting_, request);
    }
    requests_.erase(request);
  }

  std::vector<int> waiting() const override { return {waiting_.begin(), waiting_.end()}; }
  std::vector<int> running() const override { return running_; }

 private:
  void continue_running(kit::Schedule& step, int& budget) {
    // All but the last admitted have one token to run, so the budget, which is no less than max_num_seqs,
    // has one for everybody.
    for (const int id : std::vector<int>(running_)) {
      Request& request = requests_.at(id);
      if (request.block_table.empty()) continue;
      const int n_tokens = std::min(request.n_known - request.n_computed, budget);
      if (make_room(request, n_tokens, step.preempted)) plan(request, n_tokens, step, budget);
    }
  }

  void admit_waiting(kit::Schedule& step, int& budget) {
    while (!waiting_.empty() && std::ssize(running_) < config_.max_num_seqs && budget > 0) {
      Request& first = requests_.at(waiting_.front());
      const auto n_blocks = static_cast<int>(blocks_for(first.n_known));
      // Alone it may take everything: who needs more than the watermark leaves would wait for ever.
      const int must_stay_free = running_.empty() ? 0 : config_.watermark_blocks;
      if (allocator_->n_free() - n_blocks < must_stay_free) break;
      waiting_.pop_front();
      running_.push_back(first.id);
      first.block_table = allocator_->allocate(n_blocks);
      plan(first, std::min(first.n_known, budget), step, budget);
    }
  }

  /// Blocks for n_tokens more, if need be those of requests that were admitted later. False when the request
  /// was itself the last, and had to go.
  bool make_room(Request& request, int n_tokens, std::vector<int>& preempted) {
    const auto n_needed = static_cast<int>(blocks_for(request.n_computed + n_tokens));
    const int n_missing = n_needed - static_cast<int>(request.block_table.size());
    if (n_missing <= 0) return true;
    while (n_missing > allocator_->n_free()) {
      preempted.push_back(preempt_last());
      if (preempted.back() == request.id) return false;
    }
    const std::vector<int> blocks = allocator_->allocate(n_missing);
    request.block_table.insert(request.block_table.end(), blocks.begin(), blocks.end());
    return true;
  }

  /// Recomputation: its keys and values are dropped, none of its tokens is.
  int preempt_last() {
    const int id = running_.front();
    running_.erase(running_.begin());
    waiting_.push_front(id);
    Request& request = requests_.at(id);
    release_blocks(request);
    request.n_computed = 0;
    return id;
  }

  void release_blocks(Request& request) {
    for (const int block : request.block_table) allocator_->release(block);
    request.block_table.clear();
  }

  static void plan(Request& request, int n_tokens, kit::Schedule& step, int& budget) {
    const int first_pos = request.n_computed;
    request.n_computed += n_tokens;
    request.must_answer = request.n_computed == request.n_known;
    budget -= n_tokens;
    step.chunks.push_back({.request = request.id,
                           .first_pos = first_pos,
                           .n_tokens = n_tokens,
                           .samples = request.must_answer,
                           .block_table = request.block_table});
  }

  std::int64_t blocks_for(std::int64_t n_tokens) const {
    return (n_tokens + config_.block_size - 1) / config_.block_size;
  }

  Request& find(int id) {
    const auto found = requests_.find(id);
    KIT_CHECK(found != requests_.end(), "request {} is unknown", id);
    return found->second;
  }

  SchedulerConfig config_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unordered_map<int, Request> requests_;  // by id
  std::deque<int> waiting_;                    // in the order of admission to come
  std::vector<int> running_;                   // in the order of admission
};

}  // namespace

std::unique_ptr<kit::Scheduler> make_scheduler(const SchedulerConfig& config,
                                               std::shared_ptr<kit::BlockAllocator> allocator) {
  KIT_CHECK(config.block_size > 0 && config.max_num_seqs > 0,
            "block_size {} and max_num_seqs {} must be positive", config.block_size, config.max_num_seqs);
  KIT_CHECK(config.max_num_batched_tokens >= config.max_num_seqs,
            "max_num_batched_tokens {} is less than max_num_seqs {}: not even one token each",
            config.max_num_batched_tokens, config.max_num_seqs);
  KIT_CHECK(config.watermark_blocks >= 0, "watermark_blocks is {}", config.watermark_blocks);
  KIT_CHECK(allocator != nullptr, "there is no block allocator");
  return std::make_unique<BlockScheduler>(config, std::move(allocator));
}

}  // namespace lab03
