#include "lab06/speculative_round.h"

#include "kit/check.h"

namespace lab06 {

RoundResult speculative_round(kit::Model& /*target*/, kit::KvCache& /*target_cache*/, kit::Model& /*draft*/,
                              kit::KvCache& /*draft_cache*/, std::span<const int> /*context*/, int /*gamma*/,
                              const SamplingRule& /*rule*/, kit::Rng& /*rng*/) {
  throw kit::NotImplemented("lab06 task 3: speculative_round");
}

}  // namespace lab06
