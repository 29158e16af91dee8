#pragma once

#include <cstdint>
#include <vector>

#include "kit/block_allocator.h"
#include "kit/step_executor.h"
#include "lab06/distribution.h"

/// Lab 06, task 8: speculation for several sequences at once. Each keeps another number of draft tokens in a
/// round, so that after the first round no two are at the same position: a ragged batch over paged caches.
/// Sources: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative Decoding",
/// Algorithm 1, for each sequence; the ragged batch: Qian et al. 2024, "BASS: Batched Attention-optimized
/// Speculative Sampling". Blocks: Kwon et al. 2023 (lab 02, task 5).
namespace lab06 {

struct BatchedRequest {
  std::vector<int> prompt;  ///< [n], n >= 1
  int max_new_tokens = 0;   ///< at least 1
  std::uint64_t seed = 0;   ///< of this request's own generator, kit::Rng(seed)
};

struct BatchedConfig {
  int gamma = 4;  ///< draft tokens of a sequence and round, at most
  SamplingRule rule;
};

struct BatchedResult {
  std::vector<int> tokens;  ///< the new ones; an end of text is one of them
  int n_rounds = 0;         ///< rounds that the sequence took part in
  int n_drafted = 0;        ///< draft tokens that the target verified
  int n_accepted = 0;       ///< those of them that were kept
};

/// Writes all requests to their ends: max_new_tokens, or an end of text of the target (ModelConfig::is_eos).
/// All take part from the first round on, and a sequence that has ended leaves the batch. A round, for the
/// sequences that are left, always in the order of `requests`:
///   1. Each gets up to gamma draft tokens, but no more than are still to be written, less one. An end of
///   text
///      is a sequence's last draft token of the round: nothing can follow it.
///   2. draft.run() once a draft step, for all sequences that still draft: each runs the tokens that the
///      draft's blocks do not hold yet (at first the prompt; later the last one or two), and the logits of
///      the last, by to_distribution(rule), are the q that its draft token is sampled from.
///   3. target.run(batch, Logits::kAll) once, for all sequences: the tokens that the target's blocks do not
///      hold, then the draft tokens.
///   4. Each sequence for itself: lab06::accept_draft. No bonus token follows an end of text.
///   5. Blocks: of either model a sequence keeps those that hold its tokens but the last, and gives back the
///      others; all of them when it has ended. Blocks are taken only when tokens are about to be written to
///      them: in any run a sequence holds ceil(positions / block_size) and no more.
/// So there are as many target runs as the longest sequence has rounds, not their sum.
///
/// Draws of a sequence in a round, from its own generator, as in speculative_round: a uniform for each draft
/// token, then one more than there are draft tokens for accept_draft; at temperature 0 none, all are 0. So a
/// sequence's tokens do not depend on its neighbours: an executor gives it the same bits in every batch.
///
/// Returns a result for each request, in their order; nothing for none. Throws kit::Error, having run
/// nothing, when the vocabularies differ, gamma is negative, a prompt is empty, max_new_tokens < 1 or
/// prompt.size() + max_new_tokens - 1 positions are more than a model has (naming the request); and as the
/// allocators do when blocks run out. After any error all blocks that were taken are free again.
std::vector<BatchedResult> batched_speculation(kit::StepExecutor& target, kit::BlockAllocator& target_blocks,
                                               kit::StepExecutor& draft, kit::BlockAllocator& draft_blocks,
                                               const std::vector<BatchedRequest>& requests,
                                               const BatchedConfig& config);

}  // namespace lab06
