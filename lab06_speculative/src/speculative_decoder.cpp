#include "lab06/speculative_decoder.h"

#include "kit/check.h"

namespace lab06 {

SpeculativeResult speculative_generate(kit::Model& /*target*/, kit::KvCache& /*target_cache*/,
                                       kit::Model& /*draft*/, kit::KvCache& /*draft_cache*/,
                                       std::span<const int> /*prompt*/, const SpeculativeConfig& /*config*/,
                                       kit::Rng& /*rng*/) {
  throw kit::NotImplemented("lab06 task 5: speculative_generate");
}

}  // namespace lab06
