// Contract of lab06, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "kit/remote/interfaces.h"
#include "kit/remote/serving.h"
#include "lab06/acceptance.h"
#include "lab06/batched.h"
#include "lab06/cuda_kernels.h"
#include "lab06/distribution.h"
#include "lab06/ngram.h"
#include "lab06/rollback.h"
#include "lab06/speculative_decoder.h"
#include "lab06/speculative_round.h"
#include "lab06/speedup_model.h"
#include "lab06/tree.h"
#include "messages.h"

// clang-tidy does not see the uses in a macro's arguments.
// NOLINTBEGIN(misc-unused-using-decls)
using Doubles = kit::TensorView<const double>;
using DoubleSpan = std::span<const double>;
using Floats = kit::TensorView<const float>;
using Output = kit::TensorView<float>;
using FloatArray = kit::TensorView<const float>;
using IntArray = kit::TensorView<const std::int32_t>;
using IntArrayOutput = kit::TensorView<std::int32_t>;
// NOLINTEND(misc-unused-using-decls)

// clang-format off
KIT_REMOTE(lab06, to_distribution, std::vector<double>, (std::span<const float> logits, const lab06::SamplingRule& rule), logits, rule)
KIT_REMOTE(lab06, sample, int, (DoubleSpan p, double u), p, u)
KIT_REMOTE(lab06, acceptance_probability, double, (DoubleSpan p, DoubleSpan q, int token), p, q, token)
KIT_REMOTE(lab06, residual_distribution, std::vector<double>, (DoubleSpan p, DoubleSpan q), p, q)
KIT_REMOTE(lab06, accept_draft, lab06::AcceptedTokens, (Doubles p, Doubles q, std::span<const int> draft_tokens, DoubleSpan uniforms), p, q, draft_tokens, uniforms)
KIT_REMOTE(lab06, expected_tokens, double, (double alpha, int gamma), alpha, gamma)
KIT_REMOTE(lab06, speedup, double, (double alpha, int gamma, double draft_cost, double verify_cost), alpha, gamma, draft_cost, verify_cost)
KIT_REMOTE(lab06, best_gamma, int, (double alpha, double draft_cost, int max_gamma), alpha, draft_cost, max_gamma)
KIT_REMOTE(lab06, best_gamma_for_costs, int, (double alpha, double draft_cost, DoubleSpan verify_costs), alpha, draft_cost, verify_costs)
KIT_REMOTE(lab06, roofline_verify_cost, double, (int n_seqs, int gamma, double ridge_tokens), n_seqs, gamma, ridge_tokens)
KIT_REMOTE(lab06, acceptance_rate, double, (std::span<const lab06::RoundCounts> rounds), rounds)
KIT_REMOTE(lab06, ngram_draft, std::vector<int>, (std::span<const int> context, const lab06::NgramConfig& config), context, config)
KIT_REMOTE(lab06, ngram_generate, lab06::NgramResult, (kit::Model& target, kit::KvCache& cache, std::span<const int> prompt, const lab06::NgramConfig& config, const lab06::SamplingRule& rule, int max_new_tokens, kit::Rng& rng), target, cache, prompt, config, rule, max_new_tokens, rng)
KIT_REMOTE(lab06, batched_speculation, std::vector<lab06::BatchedResult>, (kit::StepExecutor& target, kit::BlockAllocator& target_blocks, kit::StepExecutor& draft, kit::BlockAllocator& draft_blocks, const std::vector<lab06::BatchedRequest>& requests, const lab06::BatchedConfig& config), target, target_blocks, draft, draft_blocks, requests, config)
KIT_REMOTE(lab06, tree_depths, std::vector<int>, (std::span<const int> parents), parents)
KIT_REMOTE(lab06, tree_attention, void, (Floats q, Floats k, Floats v, std::span<const int> parents, Output out), q, k, v, parents, out)
KIT_REMOTE(lab06, tree_attention_with_cache, void, (int layer, Floats q, Floats k, Floats v, std::span<const int> parents, const kit::Rope& rope, kit::KvCache& cache, Output out), layer, q, k, v, parents, rope, cache, out)
KIT_REMOTE(lab06, accept_tree, lab06::AcceptedPath, (Doubles p, Doubles q, std::span<const int> tokens, std::span<const int> parents, DoubleSpan uniforms), p, q, tokens, parents, uniforms)
KIT_REMOTE(lab06, keep_path, void, (kit::KvCache& cache, int first_pos, std::span<const int> nodes), cache, first_pos, nodes)
KIT_REMOTE(lab06, speculative_round, lab06::RoundResult, (kit::Model& target, kit::KvCache& target_cache, kit::Model& draft, kit::KvCache& draft_cache, std::span<const int> context, int gamma, const lab06::SamplingRule& rule, kit::Rng& rng), target, target_cache, draft, draft_cache, context, gamma, rule, rng)
KIT_REMOTE(lab06, make_contiguous_cache, std::unique_ptr<kit::KvCache>, (const kit::KvCacheConfig& config), config)
KIT_REMOTE(lab06, rollback_blocks, lab06::RolledBackTable, (std::span<const int> block_table, int block_size, int context_len, int length, kit::BlockAllocator& allocator), block_table, block_size, context_len, length, allocator)
KIT_REMOTE(lab06, speculative_generate, lab06::SpeculativeResult, (kit::Model& target, kit::KvCache& target_cache, kit::Model& draft, kit::KvCache& draft_cache, std::span<const int> prompt, const lab06::SpeculativeConfig& config, kit::Rng& rng), target, target_cache, draft, draft_cache, prompt, config, rng)
KIT_REMOTE(lab06, verify_drafts_cuda, void, (FloatArray p, FloatArray q, IntArray draft_tokens, IntArray n_draft, FloatArray uniforms, IntArrayOutput n_accepted, IntArrayOutput tokens), p, q, draft_tokens, n_draft, uniforms, n_accepted, tokens)
