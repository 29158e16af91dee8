#include "lab03/step_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kit/check.h"

namespace lab03 {

namespace {

// 128 bits are enough for every product here but the most absurd, which double catches.
__extension__ using Wide = __int128;

std::int64_t narrow(Wide value, double about) {
  KIT_CHECK(about < 9.2e18 && value <= std::numeric_limits<std::int64_t>::max(),
            "the cost of this step, about {}, does not fit 64 bits", about);
  return static_cast<std::int64_t>(value);
}

struct Sizes {
  double linears, head, flops_a_pair, kv;
};

Sizes sizes_of(const kit::ModelConfig& m) {
  for (const int count : {m.n_layers, m.dim, m.hidden_dim, m.n_heads, m.n_kv_heads, m.head_dim, m.vocab_size})
    KIT_CHECK(count > 0, "a model with a count of {}", count);
  const double layers = m.n_layers, dim = m.dim, head_dim = m.head_dim;
  return {
      .linears = layers * dim * (2 * head_dim * m.n_heads + 2 * head_dim * m.n_kv_heads + 3.0 * m.hidden_dim),
      .head = dim * m.vocab_size,
      .flops_a_pair = 4 * layers * head_dim * m.n_heads,
      .kv = 2 * layers * head_dim * m.n_kv_heads};
}

}  // namespace

StepCost step_cost(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                   std::span<const kit::SequenceStep> batch) {
  KIT_CHECK(!batch.empty(), "nothing to run");
  const Sizes sizes = sizes_of(model);
  double flops = 0, bits = (sizes.linears + sizes.head) * kit::bits(formats.weights);
  Wide exact_flops = 0, exact_bits = static_cast<Wide>(bits < 9e18 ? bits : 0);
  for (const kit::SequenceStep& step : batch) {
    KIT_CHECK(step.q_len >= 1 && step.kv_len >= step.q_len, "{} queries, {} keys", step.q_len, step.kv_len);
    // The keys that queries see: kv_len - q_len + 1, ..., kv_len.
    const double pairs = (2.0 * step.kv_len - step.q_len + 1) * step.q_len / 2;
    flops += 2 * sizes.linears * step.q_len + 2 * sizes.head + sizes.flops_a_pair * pairs;
    bits += sizes.kv * kit::bits(formats.kv) * (static_cast<double>(step.kv_len) + step.q_len);
    if (flops > 9e18 || bits > 9e18) continue;
    const auto wide = [](double x) { return static_cast<Wide>(x); };
    exact_flops +=
        2 * wide(sizes.linears) * step.q_len + 2 * wide(sizes.head) + wide(sizes.flops_a_pair) * wide(pairs);
    exact_bits += wide(sizes.kv) * kit::bits(formats.kv) * (static_cast<Wide>(step.kv_len) + step.q_len);
  }
  StepCost cost;
  cost.flops = narrow(exact_flops, flops);
  cost.bytes = narrow((exact_bits + 7) / 8, bits);
  cost.intensity = static_cast<double>(cost.flops) / static_cast<double>(cost.bytes);
  const double ridge = kit::peak_flop_per_s(device, formats.compute) / device.bandwidth_bytes_per_s;
  cost.bound = cost.intensity > ridge ? StepBound::kCompute : StepBound::kMemory;
  cost.ms = cost.bound == StepBound::kCompute
                ? 1000 * static_cast<double>(cost.flops) / kit::peak_flop_per_s(device, formats.compute)
                : 1000 * static_cast<double>(cost.bytes) / device.bandwidth_bytes_per_s;
  return cost;
}

BestBatch best_batch(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                     int kv_len, double max_step_ms, std::int64_t kv_budget_bytes) {
  const Sizes sizes = sizes_of(model);
  KIT_CHECK(kv_len > 0, "kv_len is {}", kv_len);
  KIT_CHECK(max_step_ms > 0, "max_step_ms is {}", max_step_ms);
  const auto cost = [&](std::int64_t batch) {
    return step_cost(model, device, formats,
                     std::vector<kit::SequenceStep>(static_cast<std::size_t>(batch), {1, kv_len}));
  };
  // A step of B takes max((weights + B bytes) / bandwidth, B flops / peak): solved for B.
  const double weights = (sizes.linears + sizes.head) * kit::bits(formats.weights) / 8;
  const double bytes = sizes.kv * kit::bits(formats.kv) / 8 * (kv_len + 1.0);
  const double flops = 2 * (sizes.linears + sizes.head) + sizes.flops_a_pair * kv_len;
  const double by_memory_time = (max_step_ms / 1e3 * device.bandwidth_bytes_per_s - weights) / bytes;
  const double by_compute_time = max_step_ms / 1e3 * kit::peak_flop_per_s(device, formats.compute) / flops;
  const double by_budget =
      std::floor(static_cast<double>(kv_budget_bytes) / (bytes / (kv_len + 1.0) * kv_len));
  KIT_CHECK(by_budget >= 1, "kv_budget_bytes is {}: nobody fits", kv_budget_bytes);
  KIT_CHECK(cost(1).ms <= max_step_ms, "max_step_ms is {}: nobody is quick enough", max_step_ms);

  const double solved = std::min({by_memory_time, by_compute_time, by_budget});
  auto batch = static_cast<std::int64_t>(std::max(solved, 1.0));
  // The formula may be off by one where a time is just the limit.
  while (cost(batch).ms > max_step_ms) --batch;
  while (static_cast<double>(batch) < by_budget && cost(batch + 1).ms <= max_step_ms) ++batch;
  const double ms = cost(batch).ms;
  return {batch, ms, static_cast<double>(batch) / (ms / 1000),
          static_cast<double>(batch) < by_budget ? BatchLimit::kLatency : BatchLimit::kMemory};
}

}  // namespace lab03
