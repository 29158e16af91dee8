#pragma once

#include <cstdint>
#include <span>

#include "kit/device_table.h"
#include "kit/model.h"
#include "kit/number_format.h"
#include "kit/simulated_server.h"

/// Lab 03, task 4: what a step costs, and the best batch.
/// Source: Williams et al. 2009 (roofline); Pope et al. 2022, "Efficiently Scaling Transformer Inference".
namespace lab03 {

struct StepFormats {
  kit::NumberFormat weights = kit::NumberFormat::kFp16;  ///< as they are stored
  kit::NumberFormat kv = kit::NumberFormat::kFp16;       ///< as keys and values are stored
  kit::NumberFormat compute = kit::NumberFormat::kFp16;  ///< of all products: the peak is the device's for it
};

enum class StepBound { kMemory, kCompute };

struct StepCost {
  std::int64_t flops = 0;
  std::int64_t bytes = 0;
  double intensity = 0.0;                ///< FLOP/byte
  double ms = 0.0;                       ///< max(bytes / bandwidth, flops / peak): the roofline's floor
  StepBound bound = StepBound::kMemory;  ///< the larger of the two; memory when they are equal
};

/// One step of a batch, every sequence with its own q_len (1: decode) and kv_len >= q_len.
///
/// W = parameters of the linears of all layers, n_layers * (2 * dim * n_heads * head_dim + 2 * dim *
/// n_kv_heads * head_dim + 3 * dim * hidden_dim); H = vocab_size * dim, the output head.
/// FLOPs: 2 W for every token that is run, 2 H for every sequence (its last token), and 4 * n_layers *
/// n_heads * head_dim for every pair of a query and a key that it sees (causal: query i = 0 .. q_len - 1
/// sees kv_len - q_len + i + 1 keys).
/// Bytes: W + H numbers in `weights`, ONCE for the whole batch; for every sequence keys and values of kv_len
/// positions read and of q_len positions written, 2 * n_layers * n_kv_heads * head_dim numbers in `kv` each.
/// Activations, norms and embeddings are left out. Sums are in bits, rounded up to bytes once.
/// Throws kit::Error naming the value on an empty batch, a length that is not positive, q_len > kv_len, a
/// count of the model that is not positive, a sum beyond 64 bits, or a compute format that the device does
/// not have.
StepCost step_cost(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                   std::span<const kit::SequenceStep> batch);

enum class BatchLimit {
  kLatency,  ///< one more would take longer than allowed
  kMemory    ///< one more would not fit
};

struct BestBatch {
  std::int64_t batch = 0;
  double step_ms = 0.0;
  double tokens_per_s = 0.0;               ///< batch / step_ms, all sequences together
  BatchLimit limit = BatchLimit::kMemory;  ///< what forbids batch + 1; memory when both do
};

/// The largest batch whose decode step (q_len 1, everyone at kv_len) takes at most max_step_ms and whose keys
/// and values, kv_len positions a sequence, fit into kv_budget_bytes. More sequences never mean fewer tokens
/// a second, so the largest is the best. Throws kit::Error naming max_step_ms or kv_budget_bytes when it
/// forbids even one sequence, max_step_ms when it is not positive, and otherwise as step_cost().
BestBatch best_batch(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                     int kv_len, double max_step_ms, std::int64_t kv_budget_bytes);

}  // namespace lab03
