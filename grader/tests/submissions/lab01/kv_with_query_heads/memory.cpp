#include "lab01/memory.h"

#include <algorithm>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab01 {

namespace {

void check_positive(const char* name, std::int64_t value) {
  KIT_CHECK(value > 0, "{} is {}, must be positive", name, value);
}

/// Numbers one after the other, the last byte filled up.
std::int64_t packed_bytes(const char* what, std::int64_t n, kit::NumberFormat format) {
  return kit::divide_round_up(kit::checked_product(what, {n, kit::bits(format)}), 8);
}

void check_format(const WeightFormat& format) {
  const bool integers =
      format.number == kit::NumberFormat::kInt8 || format.number == kit::NumberFormat::kInt4;
  KIT_CHECK(format.group_size >= 0, "group_size is {}, must not be negative", format.group_size);
  KIT_CHECK(format.group_size == 0 || integers,
            "group_size is {}, but {} has no scales: only int8 and int4 do", format.group_size,
            kit::name(format.number));
  KIT_CHECK(format.group_size > 0 || !format.zero_points, "zero_points without groups: group_size is {}",
            format.group_size);
}

}  // namespace

std::int64_t weight_bytes(std::int64_t n_params, const WeightFormat& format) {
  check_positive("n_params", n_params);
  check_format(format);
  const std::int64_t codes = packed_bytes("bits of n_params weights", n_params, format.number);
  if (format.group_size == 0) return codes;

  const std::int64_t n_groups = kit::divide_round_up(n_params, format.group_size);
  const std::int64_t scales = packed_bytes("bits of the scales", n_groups, kit::NumberFormat::kFp16);
  const std::int64_t zeros =
      format.zero_points ? packed_bytes("bits of the zero points", n_groups, format.number) : 0;
  return kit::checked_sum("weight bytes", {codes, scales, zeros});
}

std::int64_t kv_cache_bytes(const kit::ModelConfig& model, std::int64_t batch, std::int64_t kv_len,
                            kit::NumberFormat format) {
  model.validate();
  check_positive("batch", batch);
  check_positive("kv_len", kv_len);
  // 2: a key and a value. Query heads do not appear: what they share is stored once.
  const std::int64_t n_values =
      kit::checked_product("2 * batch * kv_len * n_layers * n_kv_heads * head_dim",
                           {2, batch, kv_len, model.n_layers, model.n_heads, model.head_dim});
  return packed_bytes("bits of the KV cache", n_values, format);
}

std::int64_t activation_bytes(const kit::ModelConfig& model, std::int64_t batch, std::int64_t q_len,
                              kit::NumberFormat format) {
  model.validate();
  check_positive("batch", batch);
  check_positive("q_len", q_len);
  KIT_CHECK(kit::bits(format) >= 8, "activations in {}: at least 8 bits are wanted", kit::name(format));

  const std::int64_t dim = model.dim;
  const std::int64_t heads = std::int64_t{model.n_heads} + model.n_kv_heads;
  const std::int64_t attention = 2 * dim + 2 * heads * model.head_dim;
  const std::int64_t mlp = 2 * dim + 2 * std::int64_t{model.hidden_dim};
  const std::int64_t in_layer =
      kit::checked_product("batch * q_len * elements a token", {batch, q_len, std::max(attention, mlp)});
  const std::int64_t at_head = kit::checked_sum(
      "activations at the head", {kit::checked_product("batch * q_len * dim", {batch, q_len, dim}),
                                  kit::checked_product("logits", {batch, model.vocab_size})});
  return kit::checked_product("activation bytes", {std::max(in_layer, at_head), kit::bits(format) / 8});
}

}  // namespace lab01
