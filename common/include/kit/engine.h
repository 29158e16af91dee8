#pragma once

#include <cstdint>
#include <vector>

namespace kit {

struct GenerationRequest {
  int id = 0;               ///< the caller's; not in use by another unfinished request
  std::vector<int> prompt;  ///< at least one token
  int max_new_tokens = 0;   ///< at least 1
  float temperature = 0.0F;
  std::uint64_t seed = 0;  ///< of this request's own generator, kit::Rng(seed)
};

enum class FinishReason {
  kNone,      ///< more tokens will follow
  kLength,    ///< max_new_tokens are reached
  kEndOfText  ///< the token is one for which ModelConfig::is_eos() holds; it is part of the output
};

/// A new token.
struct TokenEvent {
  int request = 0;
  int token = 0;
  FinishReason finish = FinishReason::kNone;
  bool operator==(const TokenEvent&) const = default;
};

/// Serves many requests at once, one step of the model at a time. Lab 03 implements it.
class Engine {
 public:
  virtual ~Engine() = default;

  /// Between steps, at any time. Throws kit::Error, and nothing has happened, when the id is in use, the
  /// prompt is empty, holds a token outside the vocabulary, or with max_new_tokens - 1 more exceeds the
  /// model's positions, the temperature is negative or not a number, or the scheduler refuses: it could never
  /// end.
  virtual void submit(const GenerationRequest& request) = 0;

  /// Between steps: the request ends without another token, and its blocks are free. Throws kit::Error naming
  /// the id when no unfinished request has it.
  virtual void cancel(int request) = 0;

  /// One step of the scheduler and one call of the executor. Returns the new tokens, in the schedule's order;
  /// may be empty when only chunks of prompts were run. Without work it returns nothing and runs nothing.
  virtual std::vector<TokenEvent> step() = 0;

  /// Whether any request is unfinished.
  virtual bool has_work() const = 0;
};

}  // namespace kit
