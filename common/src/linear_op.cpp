#include "kit/linear_op.h"

#include <fmt/format.h>

#include <array>

#include "kit/llama.h"

namespace kit {
namespace {

struct Linear {
  const char* name;
  Tensor<float> LlamaLayerWeights::*weight;
};

/// In the order of LinearKind.
constexpr std::array<Linear, kLinearsPerLayer> kLinears = {{{"wq", &LlamaLayerWeights::wq},
                                                            {"wk", &LlamaLayerWeights::wk},
                                                            {"wv", &LlamaLayerWeights::wv},
                                                            {"wo", &LlamaLayerWeights::wo},
                                                            {"w_gate", &LlamaLayerWeights::w_gate},
                                                            {"w_up", &LlamaLayerWeights::w_up},
                                                            {"w_down", &LlamaLayerWeights::w_down}}};

const Linear& linear_of(LinearKind kind) {
  return kLinears[static_cast<std::size_t>(kind)];
}

std::size_t checked_layer(const LlamaWeights& weights, LinearId id) {
  KIT_CHECK(id.layer >= 0 && id.layer < static_cast<int>(weights.layers.size()),
            "layer {} of a model with {} layers", id.layer, weights.layers.size());
  return static_cast<std::size_t>(id.layer);
}

}  // namespace

std::string LinearId::to_string() const {
  return fmt::format("layer {} {}", layer, linear_of(kind).name);
}

std::vector<LinearId> linears_of(const ModelConfig& config) {
  std::vector<LinearId> ids;
  for (int layer = 0; layer < config.n_layers; ++layer) {
    for (int kind = 0; kind < kLinearsPerLayer; ++kind) {
      ids.push_back({layer, static_cast<LinearKind>(kind)});
    }
  }
  return ids;
}

const Tensor<float>& weight_of(const LlamaWeights& weights, LinearId id) {
  return weights.layers[checked_layer(weights, id)].*linear_of(id.kind).weight;
}

Tensor<float>& weight_of(LlamaWeights& weights, LinearId id) {
  return weights.layers[checked_layer(weights, id)].*linear_of(id.kind).weight;
}

}  // namespace kit
