#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kit/device_table.h"
#include "kit/model.h"
#include "lab01/memory.h"
#include "lab01/roofline.h"

/// Lab 01, task 4: FLOPs and bytes of a model's operations, and what holds each of them back.
///
/// Counted are products and sums of matrices and of attention, a multiply-add as 2 FLOPs. Not counted: norms,
/// rotary embeddings, softmax, SiLU, residual additions; all of them together are far under 1 % of a layer.
/// Bytes are those that must move when every operand is read once and every result written once. Every
/// function throws kit::Error that names the parameter and its value when a count is zero or negative or a
/// product exceeds 64 bits.
namespace lab01 {

struct Work {
  std::int64_t flops = 0;
  std::int64_t bytes = 0;

  bool operator==(const Work&) const = default;
};

/// The size of a step: `q_len` new tokens for each of `batch` sequences, the last q_len of kv_len positions.
/// Prefill of a whole prompt: q_len = kv_len. Decode: q_len = 1. Functions throw also when q_len > kv_len.
struct Step {
  std::int64_t batch = 1;
  std::int64_t q_len = 1;
  std::int64_t kv_len = 1;
};

/// y = x W^T. x: [n_tokens, in], W: [out, in] in formats.weights, y: [n_tokens, out]; x and y in
/// formats.activations. Reads W once, however many tokens there are.
Work linear_work(std::int64_t n_tokens, std::int64_t in, std::int64_t out, const Formats& formats);

/// Scores and weighted sum of ONE layer, causal: query i of q_len sees the keys of positions 0 ..
/// kv_len - q_len + i. Every visible (query head, query, key) costs 2 head_dim FLOPs for its score and as
/// many for its share of the sum. Reads q and writes the output, [batch, q_len, n_heads, head_dim] in
/// formats.activations; reads keys and values of all kv_len positions, [batch, kv_len, n_kv_heads, head_dim]
/// in formats.kv, once for all query heads that share them. Scores do not touch memory.
Work attention_work(const kit::ModelConfig& model, const Step& step, const Formats& formats);

/// The SwiGLU network of ONE layer: the linears w_gate and w_up, [hidden_dim, dim], and w_down, [dim,
/// hidden_dim] (Shazeer 2020). Counted as three linear_work; silu(gate) * up happens on the way.
Work mlp_work(const kit::ModelConfig& model, std::int64_t n_tokens, const Formats& formats);

/// One kind of operation in one step, all layers together.
struct Operation {
  std::string name;
  Work work;
  double intensity = 0.0;  ///< FLOP/byte
  Bound bound = Bound::kMemory;
  double floor_ms = 0.0;  ///< least time on the device
};

/// What a step costs on a device, in this order:
///   "qkv_projection"     linear dim -> (n_heads + 2 n_kv_heads) * head_dim, n_layers times
///   "attention"          attention_work, n_layers times
///   "output_projection"  linear n_heads * head_dim -> dim, n_layers times
///   "mlp"                mlp_work, n_layers times
///   "lm_head"            linear dim -> vocab_size, once, for the last position of each sequence
/// The roof is the device's bandwidth and its dense peak for formats.activations.
std::vector<Operation> analyse_step(const kit::ModelConfig& model, const kit::Device& device,
                                    const Step& step, const Formats& formats);

/// The smallest batch at which a decode step (q_len = 1) at this kv_len is compute-bound as a whole: the
/// FLOPs of all its operations over the bytes of all its operations reach the ridge point. Nothing when no
/// batch is large enough, because every sequence brings its own keys and values.
std::optional<std::int64_t> compute_bound_batch(const kit::ModelConfig& model, const kit::Device& device,
                                                std::int64_t kv_len, const Formats& formats);

}  // namespace lab01
