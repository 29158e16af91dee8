#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "kit/linear_op.h"
#include "kit/model.h"
#include "kit/rng.h"

/// The Llama architecture on the CPU (Touvron et al. 2023): RMSNorm, rotate-half RoPE, grouped-query
/// attention, SwiGLU.
namespace kit {

/// Weights of one layer, float32, each matrix [out, in] as in PyTorch's nn.Linear.
struct LlamaLayerWeights {
  Tensor<float> attention_norm;  // [dim]
  Tensor<float> wq;              // [n_heads * head_dim, dim]
  Tensor<float> wk;              // [n_kv_heads * head_dim, dim]
  Tensor<float> wv;              // [n_kv_heads * head_dim, dim]
  Tensor<float> wo;              // [dim, n_heads * head_dim]
  Tensor<float> mlp_norm;        // [dim]
  Tensor<float> w_gate;          // [hidden_dim, dim]
  Tensor<float> w_up;            // [hidden_dim, dim]
  Tensor<float> w_down;          // [dim, hidden_dim]
};

struct LlamaWeights {
  Tensor<float> embedding;  // [vocab_size, dim]
  std::vector<LlamaLayerWeights> layers;
  Tensor<float> final_norm;  // [dim]
  Tensor<float> lm_head;     // [vocab_size, dim]; empty when tied to the embedding

  /// Number of parameters.
  std::int64_t size() const;
};

/// All linears of a model's layers, in the order of their use.
std::vector<LinearId> linears_of(const ModelConfig& config);
/// Throws kit::Error on a layer that is not there.
const Tensor<float>& weight_of(const LlamaWeights& weights, LinearId id);
Tensor<float>& weight_of(LlamaWeights& weights, LinearId id);

/// Reads `directory`/config.json. Throws kit::Error naming file and field.
ModelConfig load_config(const std::filesystem::path& directory);

/// Reads model.safetensors, or the shards that model.safetensors.index.json lists, in F32, F16 or BF16.
/// Throws kit::Error naming the file and tensor on a missing, misshapen or unreadable one.
LlamaWeights load_llama_weights(const std::filesystem::path& directory, const ModelConfig& config);

/// Normal weights scaled to keep activations near 1. The layer stack of the benchmarks: real shapes, no
/// training.
LlamaWeights random_llama_weights(const ModelConfig& config, Rng& rng);

/// A model that runs `ops` as its attention. Weights are shared, so that several models can differ in `ops`
/// alone. `linear_op` runs the linears of the layers (kit/linear_op.h); by default kit::linear does.
std::unique_ptr<Model> make_llama(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights,
                                  AttentionOps ops, LinearOp linear_op = {});

/// load_config, load_llama_weights and make_llama in one.
std::unique_ptr<Model> load_llama(const std::filesystem::path& directory, AttentionOps ops);

/// Four layers of the shape of a 1.1 B model (dim 2048, hidden_dim 5632, 32 heads over 4): 180 M parameters,
/// 722 MB in float32, larger than most last-level caches.
ModelConfig layer_stack_config();

}  // namespace kit
