#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kit/parallel.h"
#include "kit/step_executor.h"
#include "llama_layers.h"

namespace kit {
namespace {

/// Rows [first, first + n) of [.., heads, head_dim].
template <class T>
TensorView<T> rows(TensorView<T> heads, std::int64_t first, std::int64_t n) {
  return {heads.data() + first * heads.dim(1) * heads.dim(2), {n, heads.dim(1), heads.dim(2)}};
}

std::int64_t slot_of(std::span<const int> block_table, std::int64_t pos, std::int64_t block_size) {
  return block_table[static_cast<std::size_t>(pos / block_size)] * block_size + pos % block_size;
}

/// Copies a sequence's new keys (or values) into its blocks.
void write_to_blocks(TensorView<const float> tokens, const StepSequence& s, TensorView<float> blocks) {
  const std::int64_t size = tokens.dim(1) * tokens.dim(2);
  for (std::int64_t t = 0; t < tokens.dim(0); ++t) {
    const std::int64_t slot = slot_of(s.block_table, s.first_pos + t, blocks.dim(1));
    std::copy_n(tokens.data() + t * size, size, blocks.data() + slot * size);
  }
}

class LlamaExecutor final : public StepExecutor {
 public:
  LlamaExecutor(const ModelConfig& config, std::shared_ptr<const LlamaWeights> weights,
                const PagedKvConfig& kv, PagedAttention attention)
      : config_(config),
        weights_(std::move(weights)),
        storage_(kv),
        attention_(std::move(attention)),
        rope_(config.head_dim, config.max_seq_len, config.rope_theta, config.rope_scaling) {}

  const ModelConfig& config() const override { return config_; }
  const PagedKvConfig& kv_config() const override { return storage_.config(); }

 protected:
  Tensor<float> run_checked(const std::vector<StepSequence>& batch, Logits which) override {
    std::vector<int> tokens;  // of all sequences, one after the other
    std::vector<std::int64_t> first_row;
    for (const StepSequence& s : batch) {
      first_row.push_back(static_cast<std::int64_t>(tokens.size()));
      tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    }
    detail::Activations a(config_, static_cast<std::int64_t>(tokens.size()));
    detail::embed(tokens, *weights_, a.residual);
    for (int layer = 0; layer < config_.n_layers; ++layer) {
      detail::run_layer(
          weights_->layers[static_cast<std::size_t>(layer)], config_.rms_norm_eps,
          [&](detail::Activations& inputs) { attend(layer, batch, first_row, inputs); }, a);
    }
    if (which == Logits::kAll) return detail::logits_of(a.residual, *weights_, config_);
    return detail::logits_of(last_rows(batch, first_row, a.residual), *weights_, config_);
  }

 private:
  void attend(int layer, const std::vector<StepSequence>& batch, const std::vector<std::int64_t>& first_row,
              detail::Activations& a) {
    const TensorView<float> keys = storage_.keys(layer);
    const TensorView<float> values = storage_.values(layer);
    // All are written before any is read: a sequence may share a block that another fills in this step.
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const StepSequence& s = batch[i];
      const auto n = static_cast<std::int64_t>(s.tokens.size());
      const TensorView<float> k = rows(a.k.view(), first_row[i], n);
      rope_.rotate(rows(a.q.view(), first_row[i], n), s.first_pos);
      rope_.rotate(k, s.first_pos);
      write_to_blocks(k, s, keys);
      write_to_blocks(rows(a.v.view(), first_row[i], n), s, values);
    }
    const auto n_sequences = static_cast<std::int64_t>(batch.size());
    parallel_for(n_sequences, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        const StepSequence& s = batch[i];
        const auto n = static_cast<std::int64_t>(s.tokens.size());
        attention_(rows(a.q.view(), first_row[i], n), keys, values, s.block_table,
                   s.first_pos + static_cast<int>(n), rows(a.attention.view(), first_row[i], n));
      }
    });
  }

  /// The residual stream of each sequence's last token. residual: [n_tokens, dim]; the result: [batch, dim]
  static Tensor<float> last_rows(const std::vector<StepSequence>& batch,
                                 const std::vector<std::int64_t>& first_row,
                                 TensorView<const float> residual) {
    Tensor<float> last({static_cast<std::int64_t>(batch.size()), residual.dim(1)});
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto row = residual.row(first_row[i] + static_cast<std::int64_t>(batch[i].tokens.size()) - 1);
      std::copy(row.begin(), row.end(), last.row(i).begin());
    }
    return last;
  }

  ModelConfig config_;
  std::shared_ptr<const LlamaWeights> weights_;
  KvBlockStorage storage_;
  PagedAttention attention_;
  Rope rope_;
};

/// A sequence's keys (or values), one key/value head after the other: [n_kv_heads, context_len, head_dim].
Tensor<float> gather(TensorView<const float> blocks, std::span<const int> block_table, int context_len) {
  const std::int64_t n_kv_heads = blocks.dim(2);
  const std::int64_t head_dim = blocks.dim(3);
  Tensor<float> gathered({n_kv_heads, context_len, head_dim});
  for (std::int64_t pos = 0; pos < context_len; ++pos) {
    const float* token = blocks.data() + slot_of(block_table, pos, blocks.dim(1)) * n_kv_heads * head_dim;
    for (std::int64_t h = 0; h < n_kv_heads; ++h)
      std::copy_n(token + h * head_dim, head_dim, gathered.row(h, pos).data());
  }
  return gathered;
}

/// Attention of one query to n keys, in float. k, v: [n, head_dim]; scores: [n], scratch.
void attend_one(std::span<const float> q, const float* k, const float* v, std::span<float> scores,
                std::span<float> out) {
  const std::size_t head_dim = q.size();
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  float maximum = -std::numeric_limits<float>::infinity();
  for (std::size_t t = 0; t < scores.size(); ++t) {
    const float* key = k + t * head_dim;
    float score = 0.0F;
#pragma omp simd reduction(+ : score)
    for (std::size_t d = 0; d < head_dim; ++d) score += q[d] * key[d];
    scores[t] = score * scale;
    maximum = std::max(maximum, scores[t]);
  }
  float sum = 0.0F;
  std::fill(out.begin(), out.end(), 0.0F);
  for (std::size_t t = 0; t < scores.size(); ++t) {
    const float weight = std::exp(scores[t] - maximum);
    const float* value = v + t * head_dim;
    sum += weight;
#pragma omp simd
    for (std::size_t d = 0; d < head_dim; ++d) out[d] += weight * value[d];
  }
  for (float& value : out) value /= sum;
}

void check_paged(TensorView<const float> q, TensorView<const float> k_blocks,
                 TensorView<const float> v_blocks, std::span<const int> block_table, int context_len,
                 TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k_blocks.rank() == 4 && k_blocks.shape() == v_blocks.shape() &&
                out.shape() == q.shape() && k_blocks.dim(3) == q.dim(2) && k_blocks.dim(1) > 0 &&
                k_blocks.dim(2) > 0 && q.dim(1) % k_blocks.dim(2) == 0,
            "q {}, k_blocks {}, v_blocks {}, out {} do not fit", q.shape().to_string(),
            k_blocks.shape().to_string(), v_blocks.shape().to_string(), out.shape().to_string());
  KIT_CHECK(context_len >= q.dim(0), "{} queries, but context_len is {}", q.dim(0), context_len);
  const std::int64_t n_blocks = (context_len + k_blocks.dim(1) - 1) / k_blocks.dim(1);
  KIT_CHECK(static_cast<std::int64_t>(block_table.size()) >= n_blocks,
            "{} blocks for {} positions, {} are needed", block_table.size(), context_len, n_blocks);
  for (const int block : block_table.first(static_cast<std::size_t>(n_blocks)))
    KIT_CHECK(block >= 0 && block < k_blocks.dim(0), "block {} is not in [0, {})", block, k_blocks.dim(0));
}

/// A contiguous array is a single block.
void contiguous_attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
                          TensorView<float> out) {
  const Shape one_block{1, k.dim(0), k.dim(1), k.dim(2)};
  gathered_paged_attention(q, {k.data(), one_block}, {v.data(), one_block}, std::vector<int>{0},
                           static_cast<int>(k.dim(0)), out);
}

void contiguous_attention_with_cache(int layer, TensorView<const float> q, TensorView<const float> k,
                                     TensorView<const float> v, const Rope& rope, KvCache& cache,
                                     TensorView<float> out) {
  const int first_pos = cache.length(layer);
  Tensor<float> rotated_q = clone(q);
  Tensor<float> rotated_k = clone(k);
  rope.rotate(rotated_q, first_pos);
  rope.rotate(rotated_k, first_pos);
  cache.append(layer, rotated_k, v);
  contiguous_attention(rotated_q, cache.keys(layer), cache.values(layer), out);
}

}  // namespace

std::unique_ptr<StepExecutor> make_llama_executor(const ModelConfig& config,
                                                  std::shared_ptr<const LlamaWeights> weights,
                                                  const PagedKvConfig& kv, PagedAttention attention) {
  config.validate();
  KIT_CHECK(weights != nullptr, "make_llama_executor without weights");
  KIT_CHECK(attention != nullptr, "make_llama_executor without attention");
  detail::check_llama_weights(*weights, config);
  KIT_CHECK(
      kv.n_layers == config.n_layers && kv.n_kv_heads == config.n_kv_heads && kv.head_dim == config.head_dim,
      "blocks for {} layers, {} kv heads, head_dim {}; the model has {}, {}, {}", kv.n_layers, kv.n_kv_heads,
      kv.head_dim, config.n_layers, config.n_kv_heads, config.head_dim);
  return std::make_unique<LlamaExecutor>(config, std::move(weights), kv, std::move(attention));
}

void gathered_paged_attention(TensorView<const float> q, TensorView<const float> k_blocks,
                              TensorView<const float> v_blocks, std::span<const int> block_table,
                              int context_len, TensorView<float> out) {
  check_paged(q, k_blocks, v_blocks, block_table, context_len, out);
  const Tensor<float> k = gather(k_blocks, block_table, context_len);
  const Tensor<float> v = gather(v_blocks, block_table, context_len);
  const std::int64_t q_len = q.dim(0);
  const std::int64_t n_heads = q.dim(1);
  const std::int64_t group = n_heads / k_blocks.dim(2);
  // A thread should have some 100 thousand multiply-adds to do, or waking it costs more than it saves.
  const std::int64_t work = std::max<std::int64_t>(1, 2 * q.dim(2) * context_len);
  parallel_for(q_len * n_heads, 100'000 / work + 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores(static_cast<std::size_t>(context_len));
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t i = row / n_heads;
      const std::int64_t h = row % n_heads;
      const std::int64_t n_visible = context_len - q_len + i + 1;
      attend_one(q.row(i, h), k.row(h / group, 0).data(), v.row(h / group, 0).data(),
                 std::span(scores).first(static_cast<std::size_t>(n_visible)), out.row(i, h));
    }
  });
}

AttentionOps gathered_attention_ops() {
  return {.attention = contiguous_attention, .attention_with_cache = contiguous_attention_with_cache};
}

}  // namespace kit
