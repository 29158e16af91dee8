#include "lab01/memory.h"

#include <algorithm>
#include <limits>

#include "kit/check.h"

namespace lab01 {

namespace {

__extension__ using Wide = __int128;

std::int64_t narrow(Wide value, const char* what, std::int64_t a, std::int64_t b = 0) {
  KIT_CHECK(value <= std::numeric_limits<std::int64_t>::max(), "{} of {} and {} exceed 64 bits", what, a, b);
  return static_cast<std::int64_t>(value);
}

Wide in_bytes(Wide n_numbers, kit::NumberFormat format) {
  return (n_numbers * kit::bits(format) + 7) / 8;
}

}  // namespace

std::int64_t weight_bytes(std::int64_t n_params, const WeightFormat& f) {
  KIT_CHECK(n_params > 0, "n_params = {}", n_params);
  KIT_CHECK(f.group_size >= 0, "group_size = {}", f.group_size);
  Wide bytes = in_bytes(n_params, f.number);
  if (f.group_size > 0) {
    KIT_CHECK(f.number == kit::NumberFormat::kInt8 || f.number == kit::NumberFormat::kInt4, "no groups in {}",
              kit::name(f.number));
    const Wide groups = (Wide{n_params} + f.group_size - 1) / f.group_size;
    bytes += 2 * groups;
    if (f.zero_points) bytes += in_bytes(groups, f.number);
  } else {
    KIT_CHECK(!f.zero_points, "zero points want groups");
  }
  return narrow(bytes, "the bytes", n_params);
}

std::int64_t kv_cache_bytes(const kit::ModelConfig& m, std::int64_t batch, std::int64_t kv_len,
                            kit::NumberFormat format) {
  m.validate();
  KIT_CHECK(batch > 0 && kv_len > 0, "batch = {}, kv_len = {}", batch, kv_len);
  const Wide tokens = narrow(Wide{batch} * kv_len, "the tokens", batch, kv_len);
  const Wide values_of_a_token = Wide{2} * m.n_layers * m.n_kv_heads * m.head_dim;  // < 2^94
  KIT_CHECK(values_of_a_token < std::numeric_limits<std::int32_t>::max(), "a model of that size");
  return narrow(in_bytes(tokens * values_of_a_token, format), "the bytes", batch, kv_len);
}

std::int64_t activation_bytes(const kit::ModelConfig& m, std::int64_t batch, std::int64_t q_len,
                              kit::NumberFormat format) {
  m.validate();
  KIT_CHECK(batch > 0 && q_len > 0, "batch = {}, q_len = {}", batch, q_len);
  KIT_CHECK(format != kit::NumberFormat::kInt4, "int4 activations");
  const Wide n = narrow(Wide{batch} * q_len, "the tokens", batch, q_len);
  const Wide stream = n * m.dim;
  const Wide attention = 2 * stream + 2 * n * (m.n_heads + m.n_kv_heads) * m.head_dim;
  const Wide mlp = 2 * stream + 2 * n * m.hidden_dim;
  const Wide head = stream + Wide{batch} * m.vocab_size;
  Wide most = attention;
  if (mlp > most) most = mlp;
  if (head > most) most = head;
  return narrow(in_bytes(most, format), "the bytes", batch, q_len);
}

}  // namespace lab01
