#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kit/cuda/launch_counts.h"
#include "kit/cuda/testing.h"

/// What the tests of task 9 share. Inputs are made so that no right answer depends on a float's last bits: a
/// test's uniform is far from p / q, a sample's in the middle of its token's cell.
namespace lab06_tests {

/// A batch of drafts to be verified, the arguments of verify_drafts_cuda.
struct DraftBatch {
  kit::Tensor<float> p;                    // [n_seqs, gamma + 1, vocab_size]
  kit::Tensor<float> q;                    // [n_seqs, gamma, vocab_size]
  kit::Tensor<std::int32_t> draft_tokens;  // [n_seqs, gamma]
  std::vector<std::int32_t> n_draft;       // [n_seqs]
  kit::Tensor<float> uniforms;             // [n_seqs, gamma + 1]
};

/// What shall come out for a sequence.
struct Outcome {
  int n_draft = 0;
  int n_accepted = 0;
  int drawn = -1;  // the token drawn at the end; -1 is any
};
struct DraftBatchSizes {
  int gamma = 4;
  int vocab_size = 64;
  double zeros = 0.0;  // share of a row's tokens that have probability 0, other ones in each row
};
/// Every sequence and row has other probabilities. Rows, tokens and uniforms behind n_draft look like those
/// before. Behind the first rejection drafts would be accepted or rejected by chance.
DraftBatch random_drafts(const DraftBatchSizes& sizes, const std::vector<Outcome>& outcomes,
                         std::uint64_t stream);
/// The middle of the cell of token `drawn` among what sequence s draws from, when it accepts n_accepted.
void draw_token(DraftBatch& batch, std::int64_t s, int n_accepted, int drawn);

/// What is wrong in a wrong answer.
enum class DraftMistake {
  kNone,
  kLikelierTokensOnly,   // a draft is accepted only where p >= q
  kDrawnFromTarget,      // the correction is drawn from p instead of the residual
  kNotNormalised,        // the residual is taken for a distribution as it is
  kBonusFromDraft,       // when all are accepted, the token is drawn from the last row of q
  kNoTail,               // vocab_size % 32 tokens at the end are never drawn
  kUniformsOfSequence0,  // all sequences use those of the first
  kUniformAfterTests,    // drawn by uniforms[s, n_draft] instead of [s, gamma]
  kUniformOfRejection,   // drawn by the uniform that rejected the draft
  kAllDraftsThere,       // n_draft is taken for gamma
  kDrawnFirst,           // the drawn token stands before the accepted ones
  kLastRejection,        // accepted up to the last rejection
  kCountsAllAccepted,    // n_accepted counts drafts that pass behind the first rejection, too
  kProbabilityZero,      // a token counts as reached where the sum is equal to the uniform
};
/// [n_seqs, gamma + 2]: n_accepted, then the row of tokens. In double, as plainly as possible.
kit::Tensor<float> reference(const DraftBatch& batch, DraftMistake mistake = DraftMistake::kNone);
/// verify_drafts_cuda on copies in device memory, which must not change, in the same form.
kit::Tensor<float> run(const DraftBatch& batch);
/// run() equals reference(), or the failure names the mistake.
::testing::AssertionResult verifies(const DraftBatch& batch);

}  // namespace lab06_tests
