#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kit/block_allocator.h"
#include "lab03/scheduler.h"

/// What an engine does with a scheduler, without a model.
namespace lab03_tests {

/// A step in one line: "1:0..4* 2:0..2 | preempted 3" runs positions 0 to 4 of request 1, which samples, and
/// 0 to 2 of request 2, which does not; request 3 lost its blocks.
std::string text_of(const kit::Schedule& step);
std::string text_of(const std::vector<int>& requests);

/// What a scheduler with a certain mistake says instead.
struct WrongText {
  std::string cause;  ///< completes "Likely cause: "
  std::string text;
};
/// Equality; a failure names the first mistake whose text was got.
::testing::AssertionResult says(const std::string& got, const std::string& expected,
                                const std::vector<WrongText>& mistakes = {});

/// Runs a scheduler over the kit's block allocator and checks what must hold for any workload: every chunk is
/// the continuation of what was run before, its table leads to the keys and values that earlier chunks wrote,
/// no block has two owners, none is lost, and blocks are held for the known tokens, no more.
class SchedulerDriver {
 public:
  /// What has happened to a request, by the driver's own count.
  struct Request {
    int prompt_len = 0;
    int max_new_tokens = 0;
    int n_written = 0;              ///< tokens that were fed back
    int n_computed = 0;             ///< tokens with keys and values
    bool sampled = false;           ///< and not answered yet
    bool preempted = false;         ///< at some time
    int n_blocks = 0;               ///< that it must hold since its last chunk
    std::int64_t n_run = 0;         ///< tokens that were run, repetitions included
    std::int64_t n_recomputed = 0;  ///< computed tokens that preemptions threw away
    int n_known() const { return prompt_len + n_written; }
  };

  SchedulerDriver(const lab03::SchedulerConfig& config, int n_blocks);

  void add(int request, int prompt_len, int max_new_tokens);
  /// Answers the requests that sampled in the last step, in that order, and asks for the next step. Without
  /// `ends`, each gets a token; those for which it says true finish.
  kit::Schedule step(const std::function<bool(int request)>& ends = {});
  /// step() in one line.
  std::string text() { return text_of(step()); }
  void finish(int request);

  kit::Scheduler& scheduler() { return *scheduler_; }
  /// Unfinished requests that the scheduler knows.
  const std::map<int, Request>& requests() const { return requests_; }
  /// Those that hold blocks, in the order of admission, as the steps so far tell.
  const std::vector<int>& running() const { return running_; }
  int used_blocks() const { return allocator_->n_blocks() - allocator_->n_free(); }
  int blocks_for(int n_tokens) const { return (n_tokens + config_.block_size - 1) / config_.block_size; }

 private:
  void check_preempted(const std::vector<int>& preempted);
  void check_tokens(const kit::ScheduledChunk& chunk, const Request& request) const;
  void check_table(const kit::ScheduledChunk& chunk) const;
  void check_used_blocks() const;
  void run(const kit::ScheduledChunk& chunk);
  /// Where the token at `pos` has its keys and values.
  std::pair<int, int>& slot(const kit::ScheduledChunk& chunk, int pos);

  lab03::SchedulerConfig config_;
  std::shared_ptr<kit::BlockAllocator> allocator_;
  std::unique_ptr<kit::Scheduler> scheduler_;
  std::map<int, Request> requests_;
  std::vector<int> running_;
  std::vector<int> to_answer_;
  std::vector<std::pair<int, int>> memory_;  // [n_blocks * block_size]: whose token is here, and which
  int blocks_of_finished_ = 0;               // for naming a leak
  int blocks_of_preempted_ = 0;
};

}  // namespace lab03_tests
