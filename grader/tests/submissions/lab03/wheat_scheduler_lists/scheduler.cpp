#include "lab03/scheduler.h"

#include <algorithm>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

#include "kit/check.h"

namespace lab03 {

namespace {

enum class State { kWaiting, kPrefilling, kSampled, kDecoding };

struct Request {
  int id = 0;
  State state = State::kWaiting;
  int n_tokens = 0;         // known
  std::int64_t n_left = 0;  // tokens that it may still get and feed back
  int n_done = 0;           // computed
  std::vector<int> blocks;
};
using Queue = std::list<Request>;

class ListScheduler final : public kit::Scheduler {
 public:
  ListScheduler(const SchedulerConfig& config, std::shared_ptr<kit::BlockAllocator> allocator)
      : config_(config), allocator_(std::move(allocator)), n_free_(allocator_->n_free()) {}

  void add(int request, int prompt_len, int max_new_tokens) override {
    KIT_CHECK(!place_.contains(request), "request {} exists", request);
    KIT_CHECK(prompt_len >= 1, "request {} has a prompt of {}", request, prompt_len);
    KIT_CHECK(max_new_tokens >= 1, "request {} may write {}", request, max_new_tokens);
    const std::int64_t n_places = std::int64_t{config_.block_size} * allocator_->n_blocks();
    KIT_CHECK(std::int64_t{prompt_len} + max_new_tokens - 1 <= n_places,
              "request {}: {} + {} - 1 tokens exceed {} places", request, prompt_len, max_new_tokens,
              n_places);
    waiting_.push_back({.id = request, .n_tokens = prompt_len, .n_left = max_new_tokens - 1, .blocks = {}});
    place_[request] = std::prev(waiting_.end());
  }

  kit::Schedule schedule() override {
    for (const Request& request : running_) {
      KIT_CHECK(request.state != State::kSampled, "request {} waits for an answer", request.id);
    }
    kit::Schedule step;
    for (auto request = running_.begin(); request != running_.end();) {
      // Its turn is over when it is gone, and then it was the last.
      request = make_room(request, step.preempted) ? std::next(request) : running_.end();
    }
    if (step.preempted.empty()) admit();
    int budget = config_.max_num_batched_tokens;
    for (Request& request : running_) step.chunks.push_back(chunk_of(request, budget));
    return step;
  }

  void append_token(int request) override {
    Request& asked = *find(request);
    KIT_CHECK(asked.state == State::kSampled, "request {} has not sampled", request);
    KIT_CHECK(asked.n_left > 0, "request {} is at its end", request);
    --asked.n_left;
    ++asked.n_tokens;
    asked.state = State::kDecoding;
  }

  void finish(int request) override {
    const Queue::iterator ended = find(request);
    Queue& queue = ended->state == State::kWaiting ? waiting_ : running_;
    drop_blocks(*ended);
    queue.erase(ended);
    place_.erase(request);
  }

  std::vector<int> waiting() const override { return ids(waiting_); }
  std::vector<int> running() const override { return ids(running_); }

 private:
  static std::vector<int> ids(const Queue& queue) {
    std::vector<int> result;
    for (const Request& request : queue) result.push_back(request.id);
    return result;
  }

  int n_blocks(int n_tokens) const { return (n_tokens - 1) / config_.block_size + 1; }

  Queue::iterator find(int id) const {
    const auto place = place_.find(id);
    KIT_CHECK(place != place_.end(), "nobody knows request {}", id);
    return place->second;
  }

  void take_blocks(Request& request) {
    for (auto n = std::ssize(request.blocks); n < n_blocks(request.n_tokens); ++n, --n_free_)
      request.blocks.push_back(allocator_->allocate(1).front());
  }

  void drop_blocks(Request& request) {
    n_free_ += static_cast<int>(request.blocks.size());
    for (; !request.blocks.empty(); request.blocks.pop_back()) allocator_->release(request.blocks.back());
  }

  bool make_room(Queue::iterator request, std::vector<int>& preempted) {
    while (n_blocks(request->n_tokens) - std::ssize(request->blocks) > n_free_) {
      const Queue::iterator last = std::prev(running_.end());
      drop_blocks(*last);
      last->state = State::kWaiting;
      last->n_done = 0;
      waiting_.splice(waiting_.begin(), running_, last);
      preempted.push_back(last->id);
      if (last == request) return false;
    }
    take_blocks(*request);
    return true;
  }

  void admit() {
    int budget = config_.max_num_batched_tokens;
    for (const Request& request : running_) budget -= std::min(budget, request.n_tokens - request.n_done);
    while (!waiting_.empty() && std::ssize(running_) < config_.max_num_seqs && budget > 0) {
      Request& first = waiting_.front();
      const int n_reserved = running_.empty() ? 0 : config_.watermark_blocks;
      if (n_blocks(first.n_tokens) > n_free_ - n_reserved) return;
      take_blocks(first);
      first.state = State::kPrefilling;
      budget -= std::min(budget, first.n_tokens);
      running_.splice(running_.end(), waiting_, waiting_.begin());
    }
  }

  kit::ScheduledChunk chunk_of(Request& request, int& budget) const {
    kit::ScheduledChunk chunk;
    chunk.request = request.id;
    chunk.first_pos = request.n_done;
    chunk.n_tokens = std::min(request.n_tokens - request.n_done, budget);
    budget -= chunk.n_tokens;
    request.n_done += chunk.n_tokens;
    chunk.samples = request.n_done == request.n_tokens;
    request.state = chunk.samples ? State::kSampled : State::kPrefilling;
    // Only as much of the table as this step needs.
    chunk.block_table.assign(request.blocks.begin(), request.blocks.begin() + n_blocks(request.n_done));
    return chunk;
  }

  SchedulerConfig config_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  int n_free_;
  Queue waiting_;
  Queue running_;
  std::unordered_map<int, Queue::iterator> place_;
};

}  // namespace

std::unique_ptr<kit::Scheduler> make_scheduler(const SchedulerConfig& config,
                                               std::shared_ptr<kit::BlockAllocator> allocator) {
  KIT_CHECK(config.block_size >= 1, "block_size {}", config.block_size);
  KIT_CHECK(config.max_num_seqs >= 1, "max_num_seqs {}", config.max_num_seqs);
  KIT_CHECK(config.max_num_seqs <= config.max_num_batched_tokens, "{} sequences, {} tokens a step",
            config.max_num_seqs, config.max_num_batched_tokens);
  KIT_CHECK(config.watermark_blocks >= 0, "watermark {}", config.watermark_blocks);
  KIT_CHECK(allocator, "no allocator");
  return std::make_unique<ListScheduler>(config, std::move(allocator));
}

}  // namespace lab03
