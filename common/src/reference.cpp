#include "kit/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace kit {

namespace {

/// Number of keys that query i may see.
std::int64_t n_visible(std::int64_t i, std::int64_t q_len, std::int64_t kv_len,
                       const AttentionVariant& variant) {
  if (!variant.causal) return kv_len;
  const std::int64_t first = variant.top_left ? 0 : kv_len - q_len;
  return std::clamp<std::int64_t>(first + i + 1 + variant.mask_shift, 0, kv_len);
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += double{a[d]} * double{b[d]};
  return sum;
}

/// One query of one head against keys 0 .. n - 1 of one key/value head.
void attend(std::span<const float> q, TensorView<const float> k, TensorView<const float> v,
            std::int64_t kv_head, std::int64_t n, double scale, std::span<float> out) {
  if (n == 0) {  // only a mask variant gets here: nothing visible, nothing summed
    std::ranges::fill(out, 0.0F);
    return;
  }
  std::vector<double> weights(static_cast<std::size_t>(n));
  double maximum = -std::numeric_limits<double>::infinity();
  for (std::int64_t t = 0; t < n; ++t) {
    weights[t] = scale * dot(q, k.row(t, kv_head));
    maximum = std::max(maximum, weights[t]);
  }
  double sum = 0.0;
  for (double& weight : weights) sum += weight = std::exp(weight - maximum);
  for (std::size_t d = 0; d < out.size(); ++d) {
    double value = 0.0;
    for (std::int64_t t = 0; t < n; ++t)
      value += weights[t] * double{v(t, kv_head, static_cast<std::int64_t>(d))};
    out[d] = static_cast<float>(value / sum);
  }
}

class ReferenceKvCache : public KvCache {
 public:
  explicit ReferenceKvCache(const KvCacheConfig& config) : config_(config) {
    KIT_CHECK(config.n_layers > 0 && config.n_kv_heads > 0 && config.head_dim > 0 && config.max_len > 0,
              "cache of {} layers, {} kv heads, head_dim {}, max_len {}: all must be positive",
              config.n_layers, config.n_kv_heads, config.head_dim, config.max_len);
    layers_.resize(static_cast<std::size_t>(config.n_layers));
  }

  const KvCacheConfig& config() const override { return config_; }

  void append(int layer, TensorView<const float> k, TensorView<const float> v) override {
    const Shape row{k.rank() == 3 ? k.dim(0) : 0, config_.n_kv_heads, config_.head_dim};
    KIT_CHECK(k.shape() == row && v.shape() == row, "k {} and v {} must both be [n, {}, {}]",
              k.shape().to_string(), v.shape().to_string(), config_.n_kv_heads, config_.head_dim);
    KIT_CHECK(length(layer) + k.dim(0) <= config_.max_len, "{} tokens + {} exceed the capacity of {}",
              length(layer), k.dim(0), config_.max_len);
    Layer& target = layers_[static_cast<std::size_t>(layer)];
    target.k.insert(target.k.end(), k.span().begin(), k.span().end());
    target.v.insert(target.v.end(), v.span().begin(), v.span().end());
  }

  TensorView<const float> keys(int layer) const override { return view(at(layer).k); }
  TensorView<const float> values(int layer) const override { return view(at(layer).v); }
  int length(int layer) const override { return static_cast<int>(view(at(layer).k).dim(0)); }
  void reset() override {
    for (Layer& layer : layers_) layer = {};
  }
  void truncate(int length) override {
    const auto holds_less = [&](const Layer& layer) { return view(layer.k).dim(0) < length; };
    KIT_CHECK(length >= 0 && !std::ranges::all_of(layers_, holds_less),
              "truncate to {} tokens, the cache holds {}", length, this->length(0));
    const auto size = static_cast<std::size_t>(length) * static_cast<std::size_t>(config_.n_kv_heads) *
                      static_cast<std::size_t>(config_.head_dim);
    for (Layer& layer : layers_) {
      layer.k.resize(std::min(layer.k.size(), size));
      layer.v.resize(std::min(layer.v.size(), size));
    }
  }

 private:
  struct Layer {
    std::vector<float> k;  // [length, n_kv_heads, head_dim]
    std::vector<float> v;  // [length, n_kv_heads, head_dim]
  };

  const Layer& at(int layer) const {
    KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {} is not in [0, {})", layer, config_.n_layers);
    return layers_[static_cast<std::size_t>(layer)];
  }
  TensorView<const float> view(const std::vector<float>& data) const {
    const std::int64_t row = std::int64_t{config_.n_kv_heads} * config_.head_dim;
    return {data.data(),
            {static_cast<std::int64_t>(data.size()) / row, config_.n_kv_heads, config_.head_dim}};
  }

  KvCacheConfig config_;
  std::vector<Layer> layers_;
};

class ReferenceBlockAllocator final : public BlockAllocator {
 public:
  explicit ReferenceBlockAllocator(int n_blocks) {
    KIT_CHECK(n_blocks >= 0, "{} blocks", n_blocks);
    ref_counts_.assign(static_cast<std::size_t>(n_blocks), 0);
  }

  int n_blocks() const override { return static_cast<int>(ref_counts_.size()); }
  int n_free() const override { return static_cast<int>(std::ranges::count(ref_counts_, 0)); }

  std::vector<int> allocate(int n) override {
    KIT_CHECK(n >= 0 && n <= n_free(), "{} blocks wanted, {} of {} are free", n, n_free(), n_blocks());
    std::vector<int> blocks;
    for (int block = 0; static_cast<int>(blocks.size()) < n; ++block) {
      if (ref_count(block) > 0) continue;
      ref_counts_[static_cast<std::size_t>(block)] = 1;
      blocks.push_back(block);
    }
    return blocks;
  }
  void share(int block) override {
    KIT_CHECK(ref_count(block) > 0, "block {} is free, nobody can share it", block);
    ++ref_counts_[static_cast<std::size_t>(block)];
  }
  void release(int block) override {
    KIT_CHECK(ref_count(block) > 0, "block {} is released, but it is free already", block);
    --ref_counts_[static_cast<std::size_t>(block)];
  }
  int ref_count(int block) const override {
    KIT_CHECK(block >= 0 && block < n_blocks(), "block {} is not in [0, {})", block, n_blocks());
    return ref_counts_[static_cast<std::size_t>(block)];
  }

 private:
  std::vector<int> ref_counts_;
};

void reference_attention_with_cache(int layer, TensorView<const float> q, TensorView<const float> k,
                                    TensorView<const float> v, const Rope& rope, KvCache& cache,
                                    TensorView<float> out) {
  const int first_pos = cache.length(layer);
  Tensor<float> rotated_q = clone(q);
  Tensor<float> rotated_k = clone(k);
  rope.rotate(rotated_q, first_pos);
  rope.rotate(rotated_k, first_pos);
  cache.append(layer, rotated_k, v);
  reference_attention(rotated_q, cache.keys(layer), cache.values(layer), out);
}

}  // namespace

void reference_attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
                         TensorView<float> out, const AttentionVariant& variant) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && k.shape() == v.shape() && out.shape() == q.shape() &&
                k.dim(2) == q.dim(2) && k.dim(0) >= q.dim(0) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
            "q {}, k {}, v {}, out {} do not fit", q.shape().to_string(), k.shape().to_string(),
            v.shape().to_string(), out.shape().to_string());
  const std::int64_t n_heads = q.dim(1);
  const std::int64_t n_kv_heads = k.dim(1);
  const double scale_dim = variant.scale_dim > 0 ? variant.scale_dim : static_cast<double>(q.dim(2));
  const double scale = variant.scale ? 1.0 / std::sqrt(scale_dim) : 1.0;
  for (std::int64_t i = 0; i < q.dim(0); ++i) {
    for (std::int64_t h = 0; h < n_heads; ++h) {
      const std::int64_t kv_head = variant.kv_head_modulo ? h % n_kv_heads : h / (n_heads / n_kv_heads);
      attend(q.row(i, h), k, v, kv_head, n_visible(i, q.dim(0), k.dim(0), variant), scale, out.row(i, h));
    }
  }
}

std::unique_ptr<KvCache> make_reference_kv_cache(const KvCacheConfig& config) {
  return std::make_unique<ReferenceKvCache>(config);
}

std::unique_ptr<BlockAllocator> make_reference_block_allocator(int n_blocks) {
  return std::make_unique<ReferenceBlockAllocator>(n_blocks);
}

AttentionOps reference_attention_ops() {
  return {.attention = [](TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
                          TensorView<float> out) { reference_attention(q, k, v, out); },
          .attention_with_cache = reference_attention_with_cache};
}

}  // namespace kit
