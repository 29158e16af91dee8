#pragma once

#include <optional>
#include <span>
#include <vector>

/// A server with a clock and slots, which knows how long each request's answer will be. What drives it does
/// not: that is what makes batching a problem.
namespace kit {

/// A request when it arrives. How many tokens it will write shows when it ends.
struct ArrivedRequest {
  int id = 0;
  double arrival_ms = 0.0;
  int prompt_len = 0;
};

/// What one slot does in a step.
struct SlotWork {
  int slot = 0;
  int request = 0;
  int n_tokens = 0;  ///< of its prompt, or 1 to write a token
};

/// Where lab 03's batchers run. Every rule that run() checks is one of a real server's.
class BatchServer {
 public:
  virtual ~BatchServer() = default;

  virtual int n_slots() const = 0;
  virtual double now_ms() const = 0;

  /// Up to `max` requests that have arrived by now and were not taken yet, oldest first. Who takes them has
  /// to remember them. Throws kit::Error when max is negative.
  virtual std::vector<ArrivedRequest> take_arrivals(int max) = 0;
  /// When the oldest request that was not taken yet arrives, or arrived; nothing when all were taken.
  virtual std::optional<double> next_arrival_ms() = 0;
  /// Lets the clock run; nothing is computed. Throws kit::Error when it would run backwards.
  virtual void wait_until(double ms) = 0;

  /// One step. The clock advances by what it costs. A request's first steps run its prompt, in one piece or
  /// several; the step that runs the prompt's last token also writes the first token of the answer, and each
  /// step after that one more. Returns the requests whose last token was written, in the order of `work`;
  /// their slots are empty again.
  ///
  /// Throws kit::Error naming slot and request, and nothing has happened, when `work` is empty, a slot is out
  /// of range, twice in `work`, or holds another unfinished request, a request was not taken, has ended, or
  /// was in another slot before, or n_tokens is not in [1, rest of the prompt], or not 1 after the prompt.
  virtual std::vector<int> run(std::span<const SlotWork> work) = 0;
};

}  // namespace kit
