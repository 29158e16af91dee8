#include "kit/llama.h"

#include <utility>

#include "llama_layers.h"

namespace kit {
namespace {

class Llama final : public Model {
 public:
  Llama(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights, AttentionOps ops,
        LinearOp linear_op)
      : config_(config),
        weights_(std::move(weights)),
        ops_(std::move(ops)),
        linear_op_(std::move(linear_op)),
        rope_(config.head_dim, config.max_seq_len, config.rope_theta, config.rope_scaling) {}

  const ModelConfig& config() const override { return config_; }

 protected:
  Tensor<float> run(std::span<const int> tokens, KvCache* cache, Logits which) override {
    if (cache == nullptr) {
      KIT_CHECK(ops_.attention != nullptr, "this model was made without AttentionOps::attention");
    } else {
      KIT_CHECK(ops_.attention_with_cache != nullptr,
                "this model was made without AttentionOps::attention_with_cache");
    }
    const auto n = static_cast<std::int64_t>(tokens.size());
    detail::Activations a(config_, n);
    detail::embed(tokens, *weights_, a.residual);
    for (int layer = 0; layer < config_.n_layers; ++layer) {
      detail::run_layer(weights_->layers[static_cast<std::size_t>(layer)], config_.rms_norm_eps,
                        [&](detail::Activations& inputs) { attend(layer, inputs, cache); }, a,
                        {&linear_op_, layer});
    }
    const std::int64_t n_rows = which == Logits::kAll ? n : 1;
    return detail::logits_of({a.residual.data() + (n - n_rows) * config_.dim, {n_rows, config_.dim}},
                             *weights_, config_);
  }

 private:
  void attend(int layer, detail::Activations& a, KvCache* cache) const {
    if (cache != nullptr) {
      ops_.attention_with_cache(layer, a.q, a.k, a.v, rope_, *cache, a.attention);
    } else {
      rope_.rotate(a.q, 0);
      rope_.rotate(a.k, 0);
      ops_.attention(a.q, a.k, a.v, a.attention);
    }
  }

  ModelConfig config_;
  std::shared_ptr<const LlamaWeights> weights_;
  AttentionOps ops_;
  LinearOp linear_op_;
  Rope rope_;
};

}  // namespace

std::unique_ptr<Model> make_llama(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights,
                                  AttentionOps ops, LinearOp linear_op) {
  config.validate();
  KIT_CHECK(weights != nullptr, "make_llama without weights");
  detail::check_llama_weights(*weights, config);
  return std::make_unique<Llama>(config, std::move(weights), std::move(ops), std::move(linear_op));
}

std::unique_ptr<Model> load_llama(const std::filesystem::path& directory, AttentionOps ops) {
  const ModelConfig config = load_config(directory);
  return make_llama(config, std::make_shared<const LlamaWeights>(load_llama_weights(directory, config)),
                    std::move(ops));
}

}  // namespace kit
