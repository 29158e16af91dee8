#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kit/device_table.h"
#include "kit/model.h"
#include "kit/rng.h"
#include "kit/simulated_server.h"
#include "lab03/step_cost.h"

// What a step costs, from the definition in lab03/step_cost.h and as plainly as possible: the tests' own, so
// that task 7 does not need task 4. Sizes in tests are such that nothing here overflows.

namespace lab03_tests {

/// Ways to get a step's cost wrong.
struct StepMistake {
  bool weights_for_every_sequence = false;
  bool kv_with_query_heads = false;
  bool keys_only = false;
  bool head_for_every_token = false;
  bool all_pairs = false;      // no causal mask
  bool multiply_adds = false;  // 1 FLOP for 2
  bool kv_not_written = false;
  bool no_head = false;
};

struct StepWork {
  std::int64_t flops = 0;
  std::int64_t bytes = 0;
};

inline std::int64_t bits_of(kit::NumberFormat format) {
  switch (format) {
    case kit::NumberFormat::kFp32:
      return 32;
    case kit::NumberFormat::kFp16:
    case kit::NumberFormat::kBf16:
      return 16;
    case kit::NumberFormat::kFp8:
    case kit::NumberFormat::kInt8:
      return 8;
    case kit::NumberFormat::kInt4:
      return 4;
  }
  return 0;
}

inline std::int64_t linear_weights(const kit::ModelConfig& m) {
  const std::int64_t dim = m.dim;
  return m.n_layers *
         (2 * dim * m.n_heads * m.head_dim + 2 * dim * m.n_kv_heads * m.head_dim + 3 * dim * m.hidden_dim);
}
inline std::int64_t head_weights(const kit::ModelConfig& m) {
  return std::int64_t{m.vocab_size} * m.dim;
}

/// One sequence after the other, one query after the other.
inline StepWork reference_work(const kit::ModelConfig& m, const lab03::StepFormats& formats,
                               std::span<const kit::SequenceStep> batch, const StepMistake& wrong = {}) {
  const std::int64_t weights = linear_weights(m) + (wrong.no_head ? 0 : head_weights(m));
  const std::int64_t kv_numbers = (wrong.keys_only ? 1 : 2) * std::int64_t{m.n_layers} * m.head_dim *
                                  (wrong.kv_with_query_heads ? m.n_heads : m.n_kv_heads);
  const std::int64_t flops_a_pair = 4 * std::int64_t{m.n_layers} * m.n_heads * m.head_dim;
  StepWork work;
  std::int64_t bits = weights * bits_of(formats.weights);
  for (std::size_t s = 0; s < batch.size(); ++s) {
    const auto [q_len, kv_len] = batch[s];
    if (s > 0 && wrong.weights_for_every_sequence) bits += weights * bits_of(formats.weights);
    work.flops += 2 * linear_weights(m) * q_len;
    if (!wrong.no_head) work.flops += 2 * head_weights(m) * (wrong.head_for_every_token ? q_len : 1);
    for (int i = 0; i < q_len; ++i) {
      const std::int64_t keys = wrong.all_pairs ? kv_len : kv_len - q_len + i + 1;
      work.flops += flops_a_pair * keys;
    }
    bits += kv_numbers * bits_of(formats.kv) * (kv_len + (wrong.kv_not_written ? 0 : q_len));
  }
  if (wrong.multiply_adds) work.flops /= 2;
  work.bytes = (bits + 7) / 8;
  return work;
}

inline double memory_ms(const kit::Device& device, const StepWork& work) {
  return 1e3 * static_cast<double>(work.bytes) / device.bandwidth_bytes_per_s;
}
inline double compute_ms(const kit::Device& device, const lab03::StepFormats& formats, const StepWork& work) {
  return 1e3 * static_cast<double>(work.flops) / kit::peak_flop_per_s(device, formats.compute);
}
inline double roofline_ms(const kit::Device& device, const lab03::StepFormats& formats,
                          const StepWork& work) {
  return std::max(memory_ms(device, work), compute_ms(device, formats, work));
}

/// A decode step of `batch` sequences of equal length, without a list of them.
inline StepWork decode_work(const kit::ModelConfig& m, const lab03::StepFormats& formats, std::int64_t batch,
                            int kv_len) {
  const std::int64_t kv_bits = 2 * std::int64_t{m.n_layers} * m.n_kv_heads * m.head_dim * bits_of(formats.kv);
  StepWork work;
  work.flops = batch * (2 * linear_weights(m) + 2 * head_weights(m) +
                        4 * std::int64_t{m.n_layers} * m.n_heads * m.head_dim * kv_len);
  work.bytes = ((linear_weights(m) + head_weights(m)) * bits_of(formats.weights) +
                batch * kv_bits * (kv_len + std::int64_t{1}) + 7) /
               8;
  return work;
}

/// A whole number in [low, high].
inline int between(kit::Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint32_t>(high - low + 1)));
}

/// A model of random sizes with `group` query heads to a key/value head, in which no size can stand in for
/// another.
inline kit::ModelConfig random_model(kit::Rng& rng, int group) {
  kit::ModelConfig m;
  m.n_layers = between(rng, 3, 50);
  m.n_kv_heads = between(rng, 2, 9);
  m.n_heads = m.n_kv_heads * group;
  m.head_dim = 2 * between(rng, 20, 70);
  m.dim = m.n_heads * m.head_dim + 2 * between(rng, 1, 30);
  m.hidden_dim = 2 * m.dim + between(rng, 1, 500);
  m.vocab_size = between(rng, 1000, 40000);
  m.max_seq_len = 1 << 20;
  return m;
}

/// A device whose roofs do not limit anything in particular.
inline kit::Device random_device(kit::Rng& rng) {
  const double peak = (1 + 999 * rng.uniform()) * 1e12;
  return {.name = "some-device",
          .title = "some device",
          .memory_bytes = 80'000'000'000,
          .bandwidth_bytes_per_s = (0.1 + 5 * rng.uniform()) * 1e12,
          .peak_flop_per_s = {{kit::NumberFormat::kFp32, peak / 16},
                              {kit::NumberFormat::kFp16, peak},
                              {kit::NumberFormat::kBf16, peak},
                              {kit::NumberFormat::kFp8, 2 * peak},
                              {kit::NumberFormat::kInt8, 2 * peak}}};
}

inline std::vector<kit::SequenceStep> decode_batch(int batch, int kv_len) {
  return std::vector<kit::SequenceStep>(static_cast<std::size_t>(batch), {1, kv_len});
}

inline std::string describe(const kit::ModelConfig& m) {
  return fmt::format(
      "n_layers {}, dim {}, n_heads {}, n_kv_heads {}, head_dim {}, hidden_dim {}, vocab_size {}", m.n_layers,
      m.dim, m.n_heads, m.n_kv_heads, m.head_dim, m.hidden_dim, m.vocab_size);
}

}  // namespace lab03_tests
