#include "kit/llama.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kit/linear.h"

namespace kit {
namespace {

/// Buffers of one forward pass over n tokens.
struct Activations {
  Activations(const ModelConfig& c, std::int64_t n)
      : residual({n, c.dim}),
        normed({n, c.dim}),
        update({n, c.dim}),
        q({n, c.n_heads, c.head_dim}),
        k({n, c.n_kv_heads, c.head_dim}),
        v({n, c.n_kv_heads, c.head_dim}),
        attention({n, c.n_heads, c.head_dim}),
        gate({n, c.hidden_dim}),
        up({n, c.hidden_dim}) {}

  Tensor<float> residual;
  Tensor<float> normed;
  Tensor<float> update;  // what a block adds to the residual stream
  Tensor<float> q, k, v;
  Tensor<float> attention;
  Tensor<float> gate, up;
};

/// [n, heads, head_dim] as the matrix [n, heads * head_dim].
template <class T>
TensorView<T> flat(TensorView<T> heads) {
  return {heads.data(), {heads.dim(0), heads.dim(1) * heads.dim(2)}};
}

void add_to(TensorView<float> sum, TensorView<const float> term) {
  float* s = sum.data();
  const float* t = term.data();
  for (std::int64_t i = 0; i < sum.size(); ++i) s[i] += t[i];
}

void check_shape(const char* name, const Tensor<float>& tensor, const Shape& expected) {
  KIT_CHECK(tensor.shape() == expected, "weight {} has shape {} instead of {}", name,
            tensor.shape().to_string(), expected.to_string());
}

void check_weights(const LlamaWeights& w, const ModelConfig& c) {
  check_shape("embedding", w.embedding, {c.vocab_size, c.dim});
  check_shape("final_norm", w.final_norm, {c.dim});
  if (!c.tie_word_embeddings) check_shape("lm_head", w.lm_head, {c.vocab_size, c.dim});
  KIT_CHECK(w.layers.size() == static_cast<std::size_t>(c.n_layers), "{} layers of weights for {} layers",
            w.layers.size(), c.n_layers);
  const std::int64_t q_dim = std::int64_t{c.n_heads} * c.head_dim;
  const std::int64_t kv_dim = std::int64_t{c.n_kv_heads} * c.head_dim;
  for (const LlamaLayerWeights& layer : w.layers) {
    check_shape("attention_norm", layer.attention_norm, {c.dim});
    check_shape("wq", layer.wq, {q_dim, c.dim});
    check_shape("wk", layer.wk, {kv_dim, c.dim});
    check_shape("wv", layer.wv, {kv_dim, c.dim});
    check_shape("wo", layer.wo, {c.dim, q_dim});
    check_shape("mlp_norm", layer.mlp_norm, {c.dim});
    check_shape("w_gate", layer.w_gate, {c.hidden_dim, c.dim});
    check_shape("w_up", layer.w_up, {c.hidden_dim, c.dim});
    check_shape("w_down", layer.w_down, {c.dim, c.hidden_dim});
  }
}

class Llama final : public Model {
 public:
  Llama(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights, AttentionOps ops)
      : config_(config),
        weights_(std::move(weights)),
        ops_(std::move(ops)),
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
    Activations a(config_, static_cast<std::int64_t>(tokens.size()));
    embed(tokens, a.residual);
    for (int layer = 0; layer < config_.n_layers; ++layer) {
      run_attention(layer, a, cache);
      run_mlp(weights_->layers[layer], a);
    }
    return logits_of(a, which);
  }

 private:
  void embed(std::span<const int> tokens, TensorView<float> residual) const {
    const TensorView<const float> embedding = weights_->embedding;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const auto row = embedding.row(tokens[t]);
      std::copy(row.begin(), row.end(), residual.row(static_cast<std::int64_t>(t)).begin());
    }
  }

  void run_attention(int layer, Activations& a, KvCache* cache) const {
    const LlamaLayerWeights& w = weights_->layers[layer];
    rms_norm(a.residual, w.attention_norm, config_.rms_norm_eps, a.normed);
    linear(a.normed, w.wq, flat(a.q.view()));
    linear(a.normed, w.wk, flat(a.k.view()));
    linear(a.normed, w.wv, flat(a.v.view()));
    // An element that the attention leaves out must show.
    std::fill(a.attention.span().begin(), a.attention.span().end(), std::numeric_limits<float>::quiet_NaN());
    if (cache != nullptr) {
      ops_.attention_with_cache(layer, a.q, a.k, a.v, rope_, *cache, a.attention);
    } else {
      rope_.rotate(a.q, 0);
      rope_.rotate(a.k, 0);
      ops_.attention(a.q, a.k, a.v, a.attention);
    }
    linear(flat(std::as_const(a.attention).view()), w.wo, a.update);
    add_to(a.residual, a.update);
  }

  void run_mlp(const LlamaLayerWeights& w, Activations& a) const {
    rms_norm(a.residual, w.mlp_norm, config_.rms_norm_eps, a.normed);
    linear(a.normed, w.w_gate, a.gate);
    linear(a.normed, w.w_up, a.up);
    swiglu(a.gate, a.up);
    linear(a.gate, w.w_down, a.update);
    add_to(a.residual, a.update);
  }

  Tensor<float> logits_of(Activations& a, Logits which) const {
    const std::int64_t n = which == Logits::kAll ? a.residual.dim(0) : 1;
    const float* first = a.residual.data() + (a.residual.dim(0) - n) * config_.dim;
    const TensorView<float> normed(a.normed.data(), {n, config_.dim});
    rms_norm({first, {n, config_.dim}}, weights_->final_norm, config_.rms_norm_eps, normed);
    Tensor<float> logits({n, config_.vocab_size});
    linear(normed, config_.tie_word_embeddings ? weights_->embedding : weights_->lm_head, logits);
    return logits;
  }

  ModelConfig config_;
  std::shared_ptr<const LlamaWeights> weights_;
  AttentionOps ops_;
  Rope rope_;
};

}  // namespace

std::unique_ptr<Model> make_llama(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights,
                                  AttentionOps ops) {
  config.validate();
  KIT_CHECK(weights != nullptr, "make_llama without weights");
  check_weights(*weights, config);
  return std::make_unique<Llama>(config, std::move(weights), std::move(ops));
}

std::unique_ptr<Model> load_llama(const std::filesystem::path& directory, AttentionOps ops) {
  const ModelConfig config = load_config(directory);
  return make_llama(config, std::make_shared<const LlamaWeights>(load_llama_weights(directory, config)),
                    std::move(ops));
}

}  // namespace kit
