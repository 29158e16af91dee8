#pragma once

#include "kit/remote/passing.h"
#include "lab06/acceptance.h"
#include "lab06/batched.h"
#include "lab06/distribution.h"
#include "lab06/ngram.h"
#include "lab06/rollback.h"
#include "lab06/speculative_decoder.h"
#include "lab06/speculative_round.h"
#include "lab06/tree.h"

/// Lab 06's structures as messages.
namespace lab06 {

template <class Archive>
void serialize(Archive& archive, AcceptedTokens& x) {
  auto& [n_accepted, token] = x;
  archive(n_accepted, token);
}
template <class Archive>
void serialize(Archive& archive, SamplingRule& x) {
  auto& [temperature, top_k, top_p] = x;
  archive(temperature, top_k, top_p);
}
template <class Archive>
void serialize(Archive& archive, NgramConfig& x) {
  auto& [min_n, max_n, gamma] = x;
  archive(min_n, max_n, gamma);
}
template <class Archive>
void serialize(Archive& archive, NgramResult& x) {
  auto& [tokens, n_rounds, n_drafted, n_accepted] = x;
  archive(tokens, n_rounds, n_drafted, n_accepted);
}
template <class Archive>
void serialize(Archive& archive, BatchedRequest& x) {
  auto& [prompt, max_new_tokens, seed] = x;
  archive(prompt, max_new_tokens, seed);
}
template <class Archive>
void serialize(Archive& archive, BatchedConfig& x) {
  auto& [gamma, rule] = x;
  archive(gamma, rule);
}
template <class Archive>
void serialize(Archive& archive, BatchedResult& x) {
  auto& [tokens, n_rounds, n_drafted, n_accepted] = x;
  archive(tokens, n_rounds, n_drafted, n_accepted);
}
template <class Archive>
void serialize(Archive& archive, AcceptedPath& x) {
  auto& [nodes, token] = x;
  archive(nodes, token);
}

template <class Archive>
void serialize(Archive& archive, RoundResult& x) {
  auto& [tokens, n_drafted, n_accepted] = x;
  archive(tokens, n_drafted, n_accepted);
}
template <class Archive>
void serialize(Archive& archive, RolledBackTable& x) {
  auto& [block_table, tail_is_shared] = x;
  archive(block_table, tail_is_shared);
}
template <class Archive>
void serialize(Archive& archive, SpeculativeConfig& x) {
  auto& [gamma, rule, max_new_tokens] = x;
  archive(gamma, rule, max_new_tokens);
}
template <class Archive>
void serialize(Archive& archive, SpeculativeResult& x) {
  auto& [tokens, n_rounds, n_drafted, n_tested, n_accepted] = x;
  archive(tokens, n_rounds, n_drafted, n_tested, n_accepted);
}

}  // namespace lab06
