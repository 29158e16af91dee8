#pragma once

#include <algorithm>
#include <span>

#include "kit/model.h"

namespace kit::remote {

/// Logits of token t are all t + 1, so that a caller sees which tokens came. Looks at its tokens again and
/// again: what it sees may not change.
class TinyModel : public Model {
 public:
  TinyModel() {
    config_ = {.vocab_size = 8,
               .dim = 2,
               .hidden_dim = 2,
               .n_layers = 2,
               .n_heads = 1,
               .n_kv_heads = 1,
               .head_dim = 2,
               .max_seq_len = 64,
               .rope_scaling = RopeScaling{8.0F, 1.0F, 4.0F, 32},
               .eos_token_ids = {7, 3}};
  }
  const ModelConfig& config() const override { return config_; }
  bool saw_a_bad_token() const { return saw_a_bad_token_; }

 protected:
  Tensor<float> run(std::span<const int> tokens, KvCache* cache, Logits which) override {
    constexpr int kLooks = 200;
    for (int look = 0; look < kLooks; ++look) {
      const volatile int* first = tokens.data();
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const int token = first[i];
        saw_a_bad_token_ |= token < 0 || token >= config_.vocab_size;
      }
    }
    const auto n = static_cast<std::int64_t>(tokens.size());
    if (cache != nullptr) {
      const Tensor<float> rows({n, 1, 2}, 0.5F);
      for (int layer = 0; layer < config_.n_layers; ++layer) cache->append(layer, rows, rows);
    }
    const std::span<const int> used = which == Logits::kAll ? tokens : tokens.last(1);
    Tensor<float> logits({static_cast<std::int64_t>(used.size()), config_.vocab_size});
    for (std::size_t i = 0; i < used.size(); ++i)
      std::ranges::fill(logits.row(static_cast<std::int64_t>(i)), static_cast<float>(used[i] + 1));
    return logits;
  }

 private:
  ModelConfig config_;
  bool saw_a_bad_token_ = false;
};

}  // namespace kit::remote
