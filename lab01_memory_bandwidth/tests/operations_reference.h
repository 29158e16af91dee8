#pragma once

#include <string>
#include <vector>

#include "lab01/operations.h"
#include "reference.h"

// FLOPs and bytes as the contract defines them, written down once more.

namespace lab01_tests {

struct NamedWork {
  std::string name;
  lab01::Work work;
};

inline lab01::Work reference_linear(std::int64_t n, std::int64_t in, std::int64_t out,
                                    const lab01::Formats& f) {
  return {2 * n * in * out, reference_weight_bytes(in * out, f.weights) + packed(n * in, f.activations) +
                                packed(n * out, f.activations)};
}

inline lab01::Work reference_attention(const kit::ModelConfig& m, const lab01::Step& s,
                                       const lab01::Formats& f) {
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < s.q_len; ++i) pairs += s.kv_len - s.q_len + i + 1;
  return {4 * s.batch * m.n_heads * m.head_dim * pairs,
          2 * packed(s.batch * s.q_len * m.n_heads * m.head_dim, f.activations) +
              2 * packed(s.batch * s.kv_len * m.n_kv_heads * m.head_dim, f.kv)};
}

inline lab01::Work reference_mlp(const kit::ModelConfig& m, std::int64_t n, const lab01::Formats& f) {
  const lab01::Work up = reference_linear(n, m.dim, m.hidden_dim, f);
  const lab01::Work down = reference_linear(n, m.hidden_dim, m.dim, f);
  return {2 * up.flops + down.flops, 2 * up.bytes + down.bytes};
}

inline std::vector<NamedWork> reference_step(const kit::ModelConfig& m, const lab01::Step& s,
                                             const lab01::Formats& f) {
  const std::int64_t n = s.batch * s.q_len;
  const std::int64_t q = std::int64_t{m.n_heads} * m.head_dim;
  const std::int64_t kv = std::int64_t{m.n_kv_heads} * m.head_dim;
  std::vector<NamedWork> all = {{"qkv_projection", reference_linear(n, m.dim, q + 2 * kv, f)},
                                {"attention", reference_attention(m, s, f)},
                                {"output_projection", reference_linear(n, q, m.dim, f)},
                                {"mlp", reference_mlp(m, n, f)}};
  for (NamedWork& one : all) one.work = {one.work.flops * m.n_layers, one.work.bytes * m.n_layers};
  all.push_back({"lm_head", reference_linear(s.batch, m.dim, m.vocab_size, f)});
  return all;
}

/// The first batch, tried one after the other, at which a decode step reaches `ridge`; 0 when none up to
/// 20,000 does.
inline std::int64_t reference_batch(const kit::ModelConfig& m, double ridge, std::int64_t kv_len,
                                    const lab01::Formats& f) {
  for (std::int64_t batch = 1; batch <= 20000; ++batch) {
    double flops = 0;
    double bytes = 0;
    for (const NamedWork& one : reference_step(m, {batch, 1, kv_len}, f)) {
      flops += static_cast<double>(one.work.flops);
      bytes += static_cast<double>(one.work.bytes);
    }
    if (flops / bytes >= ridge) return batch;
  }
  return 0;
}

}  // namespace lab01_tests
