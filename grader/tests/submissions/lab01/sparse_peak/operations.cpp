#include "lab01/operations.h"

#include <algorithm>
#include <cmath>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab01 {

namespace {

void check_positive(const char* name, std::int64_t value) {
  KIT_CHECK(value > 0, "{} is {}, must be positive", name, value);
}

void check_step(const Step& step) {
  check_positive("batch", step.batch);
  check_positive("q_len", step.q_len);
  KIT_CHECK(step.q_len <= step.kv_len, "q_len is {}, more than the {} positions of kv_len", step.q_len,
            step.kv_len);
}

/// Bytes of an array of this shape, the last byte filled up.
std::int64_t array_bytes(std::initializer_list<std::int64_t> shape, kit::NumberFormat format) {
  const std::int64_t n = kit::checked_product("elements of an array", shape);
  return kit::divide_round_up(kit::checked_product("bits of an array", {n, kit::bits(format)}), 8);
}

Work operator+(const Work& a, const Work& b) {
  return {kit::checked_sum("FLOPs", {a.flops, b.flops}), kit::checked_sum("bytes", {a.bytes, b.bytes})};
}

Work operator*(std::int64_t n, const Work& work) {
  return {kit::checked_product("FLOPs", {n, work.flops}), kit::checked_product("bytes", {n, work.bytes})};
}

Roof roof_of(const kit::Device& device, const Formats& formats) {
  return {2 * kit::peak_flop_per_s(device, formats.activations), device.bandwidth_bytes_per_s};
}

Operation place(const char* name, const Work& work, const Roof& roof) {
  const auto flops = static_cast<double>(work.flops);
  const auto bytes = static_cast<double>(work.bytes);
  const double intensity = arithmetic_intensity(flops, bytes);
  return {name, work, intensity, bound(roof, intensity), time_floor_ms(roof, flops, bytes)};
}

/// All operations of one decode step together.
Work decode_work(const kit::ModelConfig& model, const kit::Device& device, std::int64_t batch,
                 std::int64_t kv_len, const Formats& formats) {
  Work total;
  for (const Operation& operation : analyse_step(model, device, {batch, 1, kv_len}, formats))
    total = total + operation.work;
  return total;
}

}  // namespace

Work linear_work(std::int64_t n_tokens, std::int64_t in, std::int64_t out, const Formats& formats) {
  check_positive("n_tokens", n_tokens);
  check_positive("in", in);
  check_positive("out", out);
  const std::int64_t weights = weight_bytes(kit::checked_product("in * out", {in, out}), formats.weights);
  return {kit::checked_product("FLOPs of a linear", {2, n_tokens, in, out}),
          kit::checked_sum("bytes of a linear", {weights, array_bytes({n_tokens, in}, formats.activations),
                                                 array_bytes({n_tokens, out}, formats.activations)})};
}

Work attention_work(const kit::ModelConfig& model, const Step& step, const Formats& formats) {
  model.validate();
  check_step(step);
  // The last query sees kv_len keys, the one before it one fewer, ...: an arithmetic series of q_len terms.
  const std::int64_t first = step.kv_len - step.q_len + 1;
  const std::int64_t visible =
      kit::checked_product("visible keys", {step.q_len, kit::checked_sum("keys", {first, step.kv_len})}) / 2;
  const std::int64_t q_bytes =
      array_bytes({step.batch, step.q_len, model.n_heads, model.head_dim}, formats.activations);
  const std::int64_t k_bytes =
      array_bytes({step.batch, step.kv_len, model.n_kv_heads, model.head_dim}, formats.kv);
  // 4: a multiply-add for the score and one for the weighted sum.
  return {kit::checked_product("FLOPs of attention", {4, step.batch, model.n_heads, model.head_dim, visible}),
          kit::checked_sum("bytes of attention", {q_bytes, q_bytes, k_bytes, k_bytes})};
}

Work mlp_work(const kit::ModelConfig& model, std::int64_t n_tokens, const Formats& formats) {
  model.validate();
  const Work up = linear_work(n_tokens, model.dim, model.hidden_dim, formats);
  const Work down = linear_work(n_tokens, model.hidden_dim, model.dim, formats);
  return 2 * up + down;  // w_gate has the shape of w_up
}

std::vector<Operation> analyse_step(const kit::ModelConfig& model, const kit::Device& device,
                                    const Step& step, const Formats& formats) {
  model.validate();
  check_step(step);
  const Roof roof = roof_of(device, formats);
  const std::int64_t n_tokens = kit::checked_product("batch * q_len", {step.batch, step.q_len});
  const std::int64_t q_dim = std::int64_t{model.n_heads} * model.head_dim;
  const std::int64_t kv_dim = std::int64_t{model.n_kv_heads} * model.head_dim;
  const std::int64_t n_layers = model.n_layers;

  const Work qkv = n_layers * linear_work(n_tokens, model.dim, q_dim + 2 * kv_dim, formats);
  const Work attention = n_layers * attention_work(model, step, formats);
  const Work output = n_layers * linear_work(n_tokens, q_dim, model.dim, formats);
  const Work mlp = n_layers * mlp_work(model, n_tokens, formats);
  const Work head = linear_work(step.batch, model.dim, model.vocab_size, formats);
  return {place("qkv_projection", qkv, roof), place("attention", attention, roof),
          place("output_projection", output, roof), place("mlp", mlp, roof), place("lm_head", head, roof)};
}

std::optional<std::int64_t> compute_bound_batch(const kit::ModelConfig& model, const kit::Device& device,
                                                std::int64_t kv_len, const Formats& formats) {
  const auto reaches_ridge = [&](std::int64_t batch) {
    const Work work = decode_work(model, device, batch, kv_len, formats);
    const double intensity =
        arithmetic_intensity(static_cast<double>(work.flops), static_cast<double>(work.bytes));
    return bound(roof_of(device, formats), intensity) == Bound::kCompute;
  };
  // The weights are read once, all else is proportional to the batch; so intensity grows with the batch
  // towards FLOPs over bytes of one more sequence. Where even that is under the ridge, no batch is enough.
  const Work one = decode_work(model, device, 1, kv_len, formats);
  const Work two = decode_work(model, device, 2, kv_len, formats);
  const double ridge = ridge_point(roof_of(device, formats));
  const auto flops_each = static_cast<double>(two.flops - one.flops);
  const auto bytes_each = static_cast<double>(two.bytes - one.bytes);
  const double spare =
      flops_each - ridge * bytes_each;  // what each sequence adds, measured against the ridge
  if (spare <= 0) return std::nullopt;

  // one.flops - ridge * one.bytes is what the first sequence lacks; each further one brings `spare`.
  const double lacking = ridge * static_cast<double>(one.bytes) - static_cast<double>(one.flops);
  auto batch = std::max<std::int64_t>(1, 1 + static_cast<std::int64_t>(std::ceil(lacking / spare)));
  // Rounding of doubles may miss by one either way.
  while (batch > 1 && reaches_ridge(batch - 1)) --batch;
  while (!reaches_ridge(batch)) ++batch;
  return batch;
}

}  // namespace lab01
