#include "llama_layers.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kit/linear.h"

namespace kit::detail {
namespace {

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

void run_mlp(const LlamaLayerWeights& w, float rms_norm_eps, Activations& a, const LayerLinears& linears) {
  rms_norm(a.residual, w.mlp_norm, rms_norm_eps, a.normed);
  linears(LinearKind::kGate, a.normed, w.w_gate, a.gate);
  linears(LinearKind::kUp, a.normed, w.w_up, a.up);
  swiglu(a.gate, a.up);
  linears(LinearKind::kDown, a.gate, w.w_down, a.update);
  add_to(a.residual, a.update);
}

}  // namespace

void LayerLinears::operator()(LinearKind kind, TensorView<const float> x, TensorView<const float> w,
                              TensorView<float> y) const {
  if (op != nullptr && *op) return (*op)({layer, kind}, x, w, y);
  linear(x, w, y);
}

Activations::Activations(const ModelConfig& c, std::int64_t n)
    : residual({n, c.dim}),
      normed({n, c.dim}),
      update({n, c.dim}),
      q({n, c.n_heads, c.head_dim}),
      k({n, c.n_kv_heads, c.head_dim}),
      v({n, c.n_kv_heads, c.head_dim}),
      attention({n, c.n_heads, c.head_dim}),
      gate({n, c.hidden_dim}),
      up({n, c.hidden_dim}) {}

void check_llama_weights(const LlamaWeights& w, const ModelConfig& c) {
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

void embed(std::span<const int> tokens, const LlamaWeights& weights, TensorView<float> into) {
  const TensorView<const float> embedding = weights.embedding;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto row = embedding.row(tokens[t]);
    std::copy(row.begin(), row.end(), into.row(static_cast<std::int64_t>(t)).begin());
  }
}

void run_layer(const LlamaLayerWeights& w, float rms_norm_eps, const AttentionStep& attention, Activations& a,
               const LayerLinears& linears) {
  rms_norm(a.residual, w.attention_norm, rms_norm_eps, a.normed);
  linears(LinearKind::kQuery, a.normed, w.wq, flat(a.q.view()));
  linears(LinearKind::kKey, a.normed, w.wk, flat(a.k.view()));
  linears(LinearKind::kValue, a.normed, w.wv, flat(a.v.view()));
  // An element that the attention leaves out must show.
  std::fill(a.attention.span().begin(), a.attention.span().end(), std::numeric_limits<float>::quiet_NaN());
  attention(a);
  linears(LinearKind::kOutput, flat(std::as_const(a.attention).view()), w.wo, a.update);
  add_to(a.residual, a.update);
  run_mlp(w, rms_norm_eps, a, linears);
}

Tensor<float> logits_of(TensorView<const float> residual, const LlamaWeights& weights,
                        const ModelConfig& config) {
  Tensor<float> normed(residual.shape());
  rms_norm(residual, weights.final_norm, config.rms_norm_eps, normed);
  Tensor<float> logits({residual.dim(0), config.vocab_size});
  linear(normed, config.tie_word_embeddings ? weights.embedding : weights.lm_head, logits);
  return logits;
}

}  // namespace kit::detail
