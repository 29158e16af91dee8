#include "lab01/operations.h"

#include <limits>

#include "kit/check.h"

namespace lab01 {

namespace {

__extension__ using Wide = __int128;

std::int64_t narrow(Wide value, std::int64_t a) {
  KIT_CHECK(value >= 0 && value <= std::numeric_limits<std::int64_t>::max(), "{} is too much", a);
  return static_cast<std::int64_t>(value);
}

Wide packed(Wide n, kit::NumberFormat format) {
  return (n * kit::bits(format) + 7) / 8;
}

double peak(const kit::Device& device, const Formats& formats) {
  return kit::peak_flop_per_s(device, formats.activations);
}

}  // namespace

Work linear_work(std::int64_t n_tokens, std::int64_t in, std::int64_t out, const Formats& f) {
  KIT_CHECK(n_tokens > 0 && in > 0 && out > 0, "n_tokens = {}, in = {}, out = {}", n_tokens, in, out);
  const Wide matrix = narrow(Wide{in} * out, in);
  return {narrow(2 * n_tokens * matrix, n_tokens),
          narrow(Wide{weight_bytes(in * out, f.weights)} + packed(Wide{n_tokens} * in, f.activations) +
                     packed(Wide{n_tokens} * out, f.activations),
                 n_tokens)};
}

Work attention_work(const kit::ModelConfig& m, const Step& s, const Formats& f) {
  m.validate();
  KIT_CHECK(s.batch > 0 && s.q_len > 0 && s.q_len <= s.kv_len, "batch = {}, q_len = {}, kv_len = {}", s.batch,
            s.q_len, s.kv_len);
  Wide visible = 0;  // a loop instead of a formula
  for (std::int64_t q = 0; q < s.q_len; ++q) visible += s.kv_len - q;
  const Wide q_elements = Wide{s.batch} * s.q_len * m.n_heads * m.head_dim;
  const Wide k_elements = Wide{s.batch} * s.kv_len * m.n_kv_heads * m.head_dim;
  const Wide scores = visible * s.batch * m.n_heads;
  return {narrow(2 * scores * m.head_dim + 2 * scores * m.head_dim, s.batch),
          narrow(2 * packed(q_elements, f.activations) + 2 * packed(k_elements, f.kv), s.batch)};
}

Work mlp_work(const kit::ModelConfig& m, std::int64_t n_tokens, const Formats& f) {
  m.validate();
  const Work gate = linear_work(n_tokens, m.dim, m.hidden_dim, f);
  const Work up = linear_work(n_tokens, m.dim, m.hidden_dim, f);
  const Work down = linear_work(n_tokens, m.hidden_dim, m.dim, f);
  return {gate.flops + up.flops + down.flops, gate.bytes + up.bytes + down.bytes};
}

std::vector<Operation> analyse_step(const kit::ModelConfig& m, const kit::Device& device, const Step& s,
                                    const Formats& f) {
  m.validate();
  KIT_CHECK(s.batch > 0 && s.q_len > 0 && s.q_len <= s.kv_len, "batch = {}, q_len = {}, kv_len = {}", s.batch,
            s.q_len, s.kv_len);
  std::vector<Operation> all;
  const auto add = [&](const char* name, Work work, std::int64_t times) {
    work.flops *= times;
    work.bytes *= times;
    const double compute_s = static_cast<double>(work.flops) / peak(device, f);
    const double memory_s = static_cast<double>(work.bytes) / device.bandwidth_bytes_per_s;
    all.push_back({name, work, static_cast<double>(work.flops) / static_cast<double>(work.bytes),
                   compute_s < memory_s ? Bound::kMemory : Bound::kCompute,
                   1e3 * std::max(compute_s, memory_s)});
  };
  const std::int64_t n = s.batch * s.q_len;
  const std::int64_t q_dim = m.n_heads * m.head_dim;
  const std::int64_t kv_dim = m.n_kv_heads * m.head_dim;
  add("qkv_projection", linear_work(n, m.dim, q_dim + 2 * kv_dim, f), m.n_layers);
  add("attention", attention_work(m, s, f), m.n_layers);
  add("output_projection", linear_work(n, q_dim, m.dim, f), m.n_layers);
  add("mlp", mlp_work(m, n, f), m.n_layers);
  add("lm_head", linear_work(s.batch, m.dim, m.vocab_size, f), 1);
  return all;
}

std::optional<std::int64_t> compute_bound_batch(const kit::ModelConfig& m, const kit::Device& device,
                                                std::int64_t kv_len, const Formats& f) {
  const auto enough = [&](std::int64_t batch) {
    double flops = 0;
    double bytes = 0;
    for (const Operation& operation : analyse_step(m, device, {batch, 1, kv_len}, f)) {
      flops += static_cast<double>(operation.work.flops);
      bytes += static_cast<double>(operation.work.bytes);
    }
    return flops / bytes >= peak(device, f) / device.bandwidth_bytes_per_s;
  };
  // Intensity grows with the batch: bisect.
  std::int64_t low = 0;
  std::int64_t high = std::int64_t{1} << 22;
  if (!enough(high)) return std::nullopt;
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace lab01
