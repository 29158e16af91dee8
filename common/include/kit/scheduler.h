#pragma once

#include <vector>

namespace kit {

/// Some of a request's tokens, to be run in one step.
struct ScheduledChunk {
  int request = 0;
  int first_pos = 0;  ///< the request's tokens that have keys and values already
  int n_tokens = 0;   ///< tokens first_pos .. first_pos + n_tokens - 1 are to be run
  /// Whether these are the last known tokens of the request, so that the last one's logits give a new one. A
  /// prompt in several chunks has none to give before its last.
  bool samples = false;
  std::vector<int> block_table;  ///< blocks for first_pos + n_tokens tokens at least
  bool operator==(const ScheduledChunk&) const = default;
};

/// One step.
struct Schedule {
  std::vector<ScheduledChunk> chunks;  ///< in the order of admission
  std::vector<int> preempted;  ///< requests that lost their blocks, in the order in which that happened
};

/// Decides which requests run next, within blocks and token budget (continuous batching: Yu et al. 2022,
/// "Orca", section 4.1; chunked prefill: Agrawal et al. 2024, "Sarathi-Serve"). It knows lengths only: which
/// tokens they are is the engine's. Lab 03 implements it, with the policy written there.
///
/// Protocol: schedule(), run the chunks, then for every chunk that samples one of append_token() and
/// finish(); then schedule() again. finish() may also be called at any other time, between steps: a
/// cancellation. Every call that throws leaves everything as it was.
class Scheduler {
 public:
  virtual ~Scheduler() = default;

  /// A new request joins the end of the waiting ones. It may grow to prompt_len + max_new_tokens - 1 tokens
  /// in the cache: the last token is never fed back. Throws kit::Error when the request is known already, a
  /// length is not positive, or so many tokens do not fit into all blocks together: it could never end.
  virtual void add(int request, int prompt_len, int max_new_tokens) = 0;

  /// The next step; no chunks when there is nothing to do. Throws kit::Error naming the request when a chunk
  /// that sampled was not answered by append_token() or finish().
  virtual Schedule schedule() = 0;

  /// The request got a token: it has one more to run. Throws kit::Error naming the request when it is
  /// unknown, did not sample in this step, or this token is the last of its max_new_tokens: that one is never
  /// fed back, finish() is the answer.
  virtual void append_token(int request) = 0;

  /// The request has ended or was cancelled, waiting or running: its blocks are released and it is forgotten.
  /// Throws kit::Error naming the request when it is unknown.
  virtual void finish(int request) = 0;

  /// Requests in the order in which they will be admitted.
  virtual std::vector<int> waiting() const = 0;
  /// Requests that hold blocks, in the order of admission.
  virtual std::vector<int> running() const = 0;
};

}  // namespace kit
