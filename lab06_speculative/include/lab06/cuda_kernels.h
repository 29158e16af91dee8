#pragma once

#include <cstdint>

#include "kit/tensor.h"

/// Lab 06, task 9: the acceptance test and the sample after it, for a whole batch on a GPU. All views are of
/// device memory.
/// Source: Leviathan et al. 2022, "Fast Inference from Transformers via Speculative Decoding", algorithm 1;
/// Chen et al. 2023, "Accelerating Large Language Model Decoding with Speculative Sampling", algorithm 2.
namespace lab06 {

/// What accept_draft does, for every sequence s of a batch in one launch, with nothing read back in between:
/// - draft t < n_draft[s] is accepted when uniforms[s, t] q[s, t, x] < p[s, t, x], x = draft_tokens[s, t];
///   n_accepted[s] is the index of the first one that is not, or n_draft[s];
/// - then one token is drawn by uniforms[s, gamma], however many drafts there are: the first i with
///   uniforms[s, gamma] < sum of j <= i of r[j], r = norm(max(0, p[s, t] - q[s, t])) at the rejected draft t,
///   and r = p[s, n_draft[s]] when none was rejected. Never a token with r = 0. Where p <= q everywhere, as
///   rounding may have it, r is p;
/// - tokens[s] holds the accepted drafts, the token drawn, and -1 in the places left over.
/// Rows of p and q that are not needed for this are not read, but for elements at the draft tokens.
///
/// p: [n_seqs, gamma + 1, vocab_size], q: [n_seqs, gamma, vocab_size], rows that sum to 1 up to rounding;
/// draft_tokens: [n_seqs, gamma]; n_draft: [n_seqs]; uniforms: [n_seqs, gamma + 1]; n_accepted: [n_seqs];
/// tokens: [n_seqs, gamma + 1]. 0 <= gamma <= 31.
/// PRECOND, unchecked because they lie in device memory: 0 <= n_draft[s] <= gamma; uniforms in [0, 1); for
/// t < n_draft[s], 0 <= draft_tokens[s, t] < vocab_size and q[s, t, draft_tokens[s, t]] > 0.
/// Throws kit::Error on shapes that do not fit, on gamma > 31 and on an empty vocabulary. Without sequences
/// there is no launch.
void verify_drafts_cuda(kit::TensorView<const float> p, kit::TensorView<const float> q,
                        kit::TensorView<const std::int32_t> draft_tokens,
                        kit::TensorView<const std::int32_t> n_draft, kit::TensorView<const float> uniforms,
                        kit::TensorView<std::int32_t> n_accepted, kit::TensorView<std::int32_t> tokens);

}  // namespace lab06
