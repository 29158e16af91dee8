#include "lab03/step_cost.h"

#include <algorithm>
#include <functional>
#include <initializer_list>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab03 {

namespace {

std::int64_t product(std::initializer_list<std::int64_t> factors) {
  return kit::checked_product("cost of a step", factors);
}
std::int64_t sum(std::initializer_list<std::int64_t> terms) {
  return kit::checked_sum("cost of a step", terms);
}

/// All that the cost of a batch depends on.
struct Work {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t pairs = 0;         // of a query and a key that it sees
  std::int64_t kv_positions = 0;  // read or written
};

void check_model(const kit::ModelConfig& model) {
  const auto positive = [](const char* name, int count) {
    KIT_CHECK(count > 0, "{} is {}, must be positive", name, count);
  };
  positive("n_layers", model.n_layers);
  positive("dim", model.dim);
  positive("hidden_dim", model.hidden_dim);
  positive("n_heads", model.n_heads);
  positive("n_kv_heads", model.n_kv_heads);
  positive("head_dim", model.head_dim);
  positive("vocab_size", model.vocab_size);
}

Work work_of(std::span<const kit::SequenceStep> batch) {
  KIT_CHECK(!batch.empty(), "a step of no sequences");
  Work work;
  for (const auto& [q_len, kv_len] : batch) {
    KIT_CHECK(q_len > 0, "q_len is {}, must be positive", q_len);
    KIT_CHECK(q_len <= kv_len, "q_len is {}, more than kv_len, {}", q_len, kv_len);
    const std::int64_t q = q_len;
    // Causal: the last query sees kv_len keys, the one before it one less, and so on.
    work.pairs = sum({work.pairs, q * kv_len - q * (q - 1) / 2});
    work.tokens += q;
    work.kv_positions += q + kv_len;
  }
  work.sequences = static_cast<std::int64_t>(batch.size());
  return work;
}

/// Bits of the keys and values of one position, all layers.
std::int64_t kv_bits(const kit::ModelConfig& model, const StepFormats& formats) {
  return product({2, model.n_layers, model.n_heads, model.head_dim, kit::bits(formats.kv)});
}

StepCost cost_of(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                 const Work& work) {
  const std::int64_t linears =
      product({model.n_layers, sum({product({2, model.dim, model.n_heads, model.head_dim}),
                                    product({2, model.dim, model.n_kv_heads, model.head_dim}),
                                    product({3, model.dim, model.hidden_dim})})});
  const std::int64_t head = product({model.vocab_size, model.dim});

  StepCost cost;
  cost.flops = sum({product({2, linears, work.tokens}), product({2, head, work.sequences}),
                    product({4, model.n_layers, model.n_heads, model.head_dim, work.pairs})});
  const std::int64_t weight_bits = product({sum({linears, head}), kit::bits(formats.weights)});
  cost.bytes =
      kit::divide_round_up(sum({weight_bits, product({kv_bits(model, formats), work.kv_positions})}), 8);
  cost.intensity = static_cast<double>(cost.flops) / static_cast<double>(cost.bytes);

  const double memory_s = static_cast<double>(cost.bytes) / device.bandwidth_bytes_per_s;
  const double compute_s = static_cast<double>(cost.flops) / kit::peak_flop_per_s(device, formats.compute);
  cost.ms = 1e3 * std::max(memory_s, compute_s);
  cost.bound = compute_s > memory_s ? StepBound::kCompute : StepBound::kMemory;
  return cost;
}

/// The largest n in [1, most] that is quick enough; 1 is, and what is larger takes longer.
std::int64_t largest(const std::function<bool(std::int64_t)>& quick_enough, std::int64_t most) {
  // Double n while it is quick enough, then halve the interval: `fits` always is, `too_large` never.
  std::int64_t fits = 1;
  std::int64_t too_large = 2;
  while (too_large <= most && quick_enough(too_large)) {
    fits = too_large;
    too_large *= 2;
  }
  too_large = std::min(too_large, most + 1);
  while (too_large - fits > 1) {
    const std::int64_t middle = fits + (too_large - fits) / 2;
    (quick_enough(middle) ? fits : too_large) = middle;
  }
  return fits;
}

}  // namespace

StepCost step_cost(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                   std::span<const kit::SequenceStep> batch) {
  check_model(model);
  return cost_of(model, device, formats, work_of(batch));
}

BestBatch best_batch(const kit::ModelConfig& model, const kit::Device& device, const StepFormats& formats,
                     int kv_len, double max_step_ms, std::int64_t kv_budget_bytes) {
  check_model(model);
  KIT_CHECK(kv_len > 0, "kv_len is {}, must be positive", kv_len);
  KIT_CHECK(max_step_ms > 0, "max_step_ms is {}, must be positive", max_step_ms);
  const std::int64_t kv_bytes = kit::divide_round_up(product({kv_bits(model, formats), kv_len}), 8);
  const std::int64_t most = kv_budget_bytes / kv_bytes;  // that memory allows
  KIT_CHECK(most >= 1, "kv_budget_bytes is {}, one sequence of {} positions needs {}", kv_budget_bytes,
            kv_len, kv_bytes);

  const auto step_ms = [&](std::int64_t n) {
    const Work decode = {.sequences = n,
                         .tokens = n,
                         .pairs = product({n, kv_len}),
                         .kv_positions = product({n, std::int64_t{kv_len} + 1})};
    return cost_of(model, device, formats, decode).ms;
  };
  KIT_CHECK(step_ms(1) <= max_step_ms, "max_step_ms is {}, a step of one sequence takes {}", max_step_ms,
            step_ms(1));

  const std::int64_t batch =
      largest([&](std::int64_t candidate) { return step_ms(candidate) <= max_step_ms; }, most);
  const double ms = step_ms(batch);
  return {.batch = batch,
          .step_ms = ms,
          .tokens_per_s = 1e3 * static_cast<double>(batch) / ms,
          .limit = batch == most ? BatchLimit::kMemory : BatchLimit::kLatency};
}

}  // namespace lab03
