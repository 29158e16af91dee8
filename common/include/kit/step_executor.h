#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kit/llama.h"
#include "kit/model.h"
#include "kit/paged_kv_cache.h"

/// A model that runs a ragged batch over a paged cache: what an engine drives.
namespace kit {

/// One sequence's part of a step.
struct StepSequence {
  std::vector<int> tokens;       ///< [n], n >= 1, at positions first_pos .. first_pos + n - 1
  int first_pos = 0;             ///< positions before hold keys and values from earlier steps
  std::vector<int> block_table;  ///< blocks for first_pos + n tokens at least
};

/// One call of StepExecutor::run, as the kit saw it.
struct StepRecord {
  int n_sequences = 0;
  int n_tokens = 0;
  int longest_context = 0;  ///< first_pos + n of the longest sequence
};

/// run() is the only way to a step's logits, and it counts. Which request a sequence belongs to is the
/// caller's to know: keys and values are wherever the block tables say.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const PagedKvConfig& kv_config() const = 0;

  /// Runs all tokens of all sequences in one pass over the weights. Writes their keys and values into their
  /// blocks, and lets each token attend to its own sequence's positions up to itself. Returns the logits of
  /// each sequence's last token, [batch.size(), vocab_size], or those of all tokens, sequence after sequence,
  /// [n_tokens, vocab_size]: the same bits whatever else is in the batch, and whichever are asked for.
  /// Throws kit::Error, having done nothing, on an empty batch or sequence, a token outside the vocabulary, a
  /// position beyond max_seq_len, a block out of range, a table that is too short, or two tokens of the batch
  /// that would be written to the same slot.
  Tensor<float> run(const std::vector<StepSequence>& batch, Logits which = Logits::kLast);

  /// Every call since the start or the last reset_stats().
  const std::vector<StepRecord>& steps() const { return steps_; }
  /// Sum of n_tokens over steps().
  std::int64_t tokens_processed() const { return tokens_processed_; }
  void reset_stats();

 protected:
  /// The work behind run(), after its checks.
  virtual Tensor<float> run_checked(const std::vector<StepSequence>& batch, Logits which) = 0;

 private:
  std::vector<StepRecord> steps_;
  std::int64_t tokens_processed_ = 0;
};

/// Attention of the last q_len of context_len positions of one sequence; parameters as
/// lab02::paged_attention. An executor may call it for several sequences at the same time.
using PagedAttention = std::function<void(TensorView<const float> q, TensorView<const float> k_blocks,
                                          TensorView<const float> v_blocks, std::span<const int> block_table,
                                          int context_len, TensorView<float> out)>;

/// The Llama of kit/llama.h, every linear over all tokens of a step at once, so that a step reads each weight
/// once. Throws kit::Error when `kv` or the weights do not fit the model, or one is missing.
std::unique_ptr<StepExecutor> make_llama_executor(const ModelConfig& config,
                                                  std::shared_ptr<const LlamaWeights> weights,
                                                  const PagedKvConfig& kv, PagedAttention attention);

/// Gathers a sequence's keys and values from its blocks and attends to them in float: plain, and good enough
/// for short contexts. Every query's result is the same bits whatever q_len is.
void gathered_paged_attention(TensorView<const float> q, TensorView<const float> k_blocks,
                              TensorView<const float> v_blocks, std::span<const int> block_table,
                              int context_len, TensorView<float> out);

/// The same attention for a Model: a sequence that runs alone has the bits that it has in an executor.
AttentionOps gathered_attention_ops();

}  // namespace kit
