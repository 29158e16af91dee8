#include "lab06/ngram.h"

#include "kit/check.h"

namespace lab06 {

std::vector<int> ngram_draft(std::span<const int> /*context*/, const NgramConfig& /*config*/) {
  throw kit::NotImplemented("lab06 task 7: ngram_draft");
}

NgramResult ngram_generate(kit::Model& /*target*/, kit::KvCache& /*cache*/, std::span<const int> /*prompt*/,
                           const NgramConfig& /*config*/, const SamplingRule& /*rule*/,
                           int /*max_new_tokens*/, kit::Rng& /*rng*/) {
  throw kit::NotImplemented("lab06 task 7: ngram_generate");
}

}  // namespace lab06
