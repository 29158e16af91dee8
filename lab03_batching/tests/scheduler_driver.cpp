#include "scheduler_driver.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "kit/reference.h"

namespace lab03_tests {

std::string text_of(const kit::Schedule& step) {
  std::vector<std::string> words;
  for (const auto& chunk : step.chunks) {
    words.push_back(fmt::format("{}:{}..{}{}", chunk.request, chunk.first_pos,
                                chunk.first_pos + chunk.n_tokens - 1, chunk.samples ? "*" : ""));
  }
  if (words.empty()) words.emplace_back("nothing");
  if (!step.preempted.empty()) words.push_back(fmt::format("| preempted {}", fmt::join(step.preempted, " ")));
  return fmt::format("{}", fmt::join(words, " "));
}

std::string text_of(const std::vector<int>& requests) {
  return fmt::format("{}", fmt::join(requests, " "));
}

::testing::AssertionResult says(const std::string& got, const std::string& expected,
                                const std::vector<WrongText>& mistakes) {
  if (got == expected) return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure();
  failure << "got      \"" << got << "\"\nexpected \"" << expected << "\"";
  for (const auto& mistake : mistakes) {
    if (mistake.text == got) return failure << "\nLikely cause: " << mistake.cause;
  }
  return failure;
}

SchedulerDriver::SchedulerDriver(const lab03::SchedulerConfig& config, int n_blocks)
    : config_(config),
      allocator_(kit::make_reference_block_allocator(n_blocks)),
      scheduler_(lab03::make_scheduler(config, allocator_)),
      memory_(static_cast<std::size_t>(n_blocks * config.block_size), {-1, -1}) {}

void SchedulerDriver::add(int request, int prompt_len, int max_new_tokens) {
  scheduler_->add(request, prompt_len, max_new_tokens);
  requests_[request] = {.prompt_len = prompt_len, .max_new_tokens = max_new_tokens};
}

void SchedulerDriver::finish(int request) {
  scheduler_->finish(request);
  if (std::erase(running_, request) > 0) blocks_of_finished_ += requests_.at(request).n_blocks;
  std::erase(to_answer_, request);
  requests_.erase(request);
}

kit::Schedule SchedulerDriver::step(const std::function<bool(int request)>& ends) {
  const std::vector<int> answers = to_answer_;
  for (const int id : answers) {
    if (ends && ends(id)) {
      finish(id);
      continue;
    }
    scheduler_->append_token(id);
    Request& request = requests_.at(id);
    ++request.n_written;
    request.sampled = false;
  }
  to_answer_.clear();

  kit::Schedule step = scheduler_->schedule();
  SCOPED_TRACE("step " + text_of(step));
  check_preempted(step.preempted);
  for (const auto& chunk : step.chunks) {
    const auto request = requests_.find(chunk.request);
    if (request == requests_.end()) {
      ADD_FAILURE() << "request " << chunk.request << " gets a chunk, but is unknown or has ended";
      return step;
    }
    check_tokens(chunk, request->second);
    check_table(chunk);
    if (::testing::Test::HasFailure()) return step;
    run(chunk);
  }
  check_used_blocks();
  return step;
}

void SchedulerDriver::check_preempted(const std::vector<int>& preempted) {
  for (const int id : preempted) {
    if (running_.empty() || running_.back() != id) {
      const bool oldest = !running_.empty() && running_.front() == id;
      ADD_FAILURE() << "request " << id << " is preempted while [" << text_of(running_)
                    << "] run: it must be the one that was admitted last"
                    << (oldest
                            ? "\nLikely cause: the request that was admitted first is preempted: everybody "
                              "may be overtaken by those that came later"
                            : "");
      return;
    }
    running_.pop_back();
    Request& request = requests_.at(id);
    blocks_of_preempted_ += request.n_blocks;
    request.n_recomputed += request.n_computed;
    request.n_computed = 0;
    request.n_blocks = 0;
    request.preempted = true;
  }
}

void SchedulerDriver::check_tokens(const kit::ScheduledChunk& chunk, const Request& request) const {
  const int end = chunk.first_pos + chunk.n_tokens;
  EXPECT_GE(chunk.n_tokens, 1) << "a chunk without tokens";
  EXPECT_EQ(chunk.first_pos, request.n_computed)
      << "request " << chunk.request << " has keys and values for " << request.n_computed << " tokens"
      << (request.preempted && request.n_computed == 0 && chunk.first_pos > 0
              ? "\nLikely cause: a preempted request goes on where it was, but its blocks are gone"
              : "");
  EXPECT_LE(end, request.n_known()) << "request " << chunk.request << " has no such token";
  const bool forgot = chunk.samples && request.preempted && end == request.prompt_len;
  EXPECT_EQ(chunk.samples, end == request.n_known())
      << "request " << chunk.request << " has a prompt of " << request.prompt_len << " and has written "
      << request.n_written << ", this chunk ends at " << end
      << (forgot && request.n_written > 0
              ? "\nLikely cause: a preempted request has forgotten what it had written; those tokens must be "
                "run again, not chosen again"
          : chunk.samples ? "\nLikely cause: samples is set for every chunk; only the last known token's "
                            "logits give a new one"
                          : "");
}

void SchedulerDriver::check_table(const kit::ScheduledChunk& chunk) const {
  const int n_tokens = chunk.first_pos + chunk.n_tokens;
  ASSERT_GE(std::ssize(chunk.block_table), blocks_for(n_tokens))
      << "request " << chunk.request << " needs blocks for " << n_tokens << " tokens"
      << (std::ssize(chunk.block_table) == blocks_for(chunk.first_pos)
              ? "\nLikely cause: the table has blocks for the tokens before this step only"
          : std::ssize(chunk.block_table) == n_tokens / config_.block_size
              ? "\nLikely cause: tokens / block_size is rounded down"
              : "");
  const std::set<int> blocks(chunk.block_table.begin(), chunk.block_table.end());
  EXPECT_EQ(blocks.size(), chunk.block_table.size()) << "a block twice in the table of " << chunk.request;
  for (const int block : blocks) {
    ASSERT_TRUE(block >= 0 && block < allocator_->n_blocks()) << "there is no block " << block;
    EXPECT_EQ(allocator_->ref_count(block), 1) << "users of block " << block << ", which request "
                                               << chunk.request << " has in its table; 0: it is free";
  }
}

std::pair<int, int>& SchedulerDriver::slot(const kit::ScheduledChunk& chunk, int pos) {
  const int block = chunk.block_table[static_cast<std::size_t>(pos / config_.block_size)];
  return memory_[static_cast<std::size_t>(block) * config_.block_size + pos % config_.block_size];
}

void SchedulerDriver::run(const kit::ScheduledChunk& chunk) {
  for (int pos = 0; pos < chunk.first_pos; ++pos) {
    if (slot(chunk, pos) == std::pair(chunk.request, pos)) continue;
    ADD_FAILURE() << "request " << chunk.request << " attends to its position " << pos
                  << ", but there its table leads to position " << slot(chunk, pos).second << " of request "
                  << slot(chunk, pos).first << " (-1: nobody's)";
    return;
  }
  for (int i = 0; i < chunk.n_tokens; ++i)
    slot(chunk, chunk.first_pos + i) = {chunk.request, chunk.first_pos + i};
  Request& request = requests_.at(chunk.request);
  if (chunk.first_pos == 0) running_.push_back(chunk.request);
  request.n_computed += chunk.n_tokens;
  request.n_run += chunk.n_tokens;
  request.n_blocks = blocks_for(request.n_known());
  request.sampled = chunk.samples;
  if (chunk.samples) to_answer_.push_back(chunk.request);
}

void SchedulerDriver::check_used_blocks() const {
  int expected = 0;
  int reserved = 0;
  for (const int id : running_) {
    const Request& request = requests_.at(id);
    expected += request.n_blocks;
    reserved += blocks_for(request.prompt_len + request.max_new_tokens - 1);
  }
  const int used = used_blocks();
  if (used == expected) return;
  std::vector<std::string> causes;
  if (used == expected + blocks_of_preempted_)
    causes.emplace_back("the blocks of requests that are preempted are never released");
  if (used == expected + blocks_of_finished_)
    causes.emplace_back("the blocks of requests that finish are never released");
  if (used == reserved) causes.emplace_back("blocks for the whole answer are reserved in advance");
  ADD_FAILURE() << used << " blocks are in use; the known tokens of the running requests ["
                << text_of(running_) << "] need " << expected
                << (causes.empty() ? "" : fmt::format("\nLikely cause: {}", fmt::join(causes, ", or ")));
}

}  // namespace lab03_tests
