#pragma once

#include <functional>
#include <span>

#include "kit/llama.h"

/// What every way to run a Llama has in common: all but the attention. Rows of one call are independent of
/// each other, so that they may be one sequence's tokens or many's, and give the same bits alone or together.
namespace kit::detail {

/// Buffers of one pass over n tokens.
struct Activations {
  Activations(const ModelConfig& c, std::int64_t n);

  Tensor<float> residual;   // [n, dim]
  Tensor<float> normed;     // [n, dim]
  Tensor<float> update;     // [n, dim], what a block adds to the residual stream
  Tensor<float> q;          // [n, n_heads, head_dim]
  Tensor<float> k, v;       // [n, n_kv_heads, head_dim]
  Tensor<float> attention;  // [n, n_heads, head_dim]
  Tensor<float> gate, up;   // [n, hidden_dim]
};

/// The part of a layer that a caller brings: reads q, k and v, not rotated yet, and writes all of attention,
/// which is NaN before.
using AttentionStep = std::function<void(Activations& a)>;

/// Throws kit::Error naming the first weight whose shape does not belong to the model.
void check_llama_weights(const LlamaWeights& weights, const ModelConfig& config);

/// Rows of the embedding. into: [tokens.size(), dim]
void embed(std::span<const int> tokens, const LlamaWeights& weights, TensorView<float> into);

/// Who runs the linears of a layer: `op`, or kit::linear where there is none.
struct LayerLinears {
  const LinearOp* op = nullptr;
  int layer = 0;
  void operator()(LinearKind kind, TensorView<const float> x, TensorView<const float> w,
                  TensorView<float> y) const;
};

/// One layer: reads and replaces a.residual.
void run_layer(const LlamaLayerWeights& weights, float rms_norm_eps, const AttentionStep& attention,
               Activations& a, const LayerLinears& linears = {});

/// Final norm and output head of the tokens whose residual stream is given.
/// residual: [n, dim]; the result: [n, vocab_size]
Tensor<float> logits_of(TensorView<const float> residual, const LlamaWeights& weights,
                        const ModelConfig& config);

}  // namespace kit::detail
