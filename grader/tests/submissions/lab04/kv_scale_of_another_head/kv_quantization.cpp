#include "lab04/kv_quantization.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace lab04 {

namespace {

constexpr float kSmallestNormal = std::numeric_limits<float>::min();

/// What both caches share: the checks, and the floats that keys() and values() show. New tokens are written
/// there as they are; quantize() then stores codes, and writes over the floats what the codes stand for. (To
/// save memory, attention must read the codes itself, as in the CUDA task; then the floats can go.)
class QuantizedKvCache : public kit::KvCache {
 public:
  explicit QuantizedKvCache(const kit::KvCacheConfig& config) : config_(config) {
    KIT_CHECK(config.n_layers > 0 && config.n_kv_heads > 0 && config.head_dim > 0 && config.max_len > 0,
              "n_layers {}, n_kv_heads {}, head_dim {}, max_len {}: all must be positive", config.n_layers,
              config.n_kv_heads, config.head_dim, config.max_len);
    keys_ = kit::Tensor<float>({config.n_layers, config.max_len, config.n_kv_heads, config.head_dim});
    values_ = kit::Tensor<float>(keys_.shape());
    lengths_.resize(static_cast<std::size_t>(config.n_layers), 0);
  }

  const kit::KvCacheConfig& config() const override { return config_; }

  void append(int layer, kit::TensorView<const float> k, kit::TensorView<const float> v) override {
    // Everything is checked before anything is written, so a refused append leaves no trace.
    const int begin = length(layer);
    KIT_CHECK(k.rank() == 3 && k.dim(1) == config_.n_kv_heads && k.dim(2) == config_.head_dim &&
                  v.shape() == k.shape(),
              "k {} and v {} must both be [n, {}, {}]", k.shape().to_string(), v.shape().to_string(),
              config_.n_kv_heads, config_.head_dim);
    KIT_CHECK(k.dim(0) <= config_.max_len - begin,
              "layer {} holds {} tokens, {} more exceed the capacity of {}", layer, begin, k.dim(0),
              config_.max_len);
    const auto finite = [](float x) { return std::isfinite(x); };
    KIT_CHECK(std::ranges::all_of(k.span(), finite) && std::ranges::all_of(v.span(), finite),
              "a key or value of layer {}, behind position {}, is a NaN or an infinity", layer, begin);
    std::ranges::copy(k.span(), keys_.data() + offset(layer, begin));
    std::ranges::copy(v.span(), values_.data() + offset(layer, begin));
    lengths_[layer] += static_cast<int>(k.dim(0));
    quantize(layer, begin, lengths_[layer]);
  }

  kit::TensorView<const float> keys(int layer) const override { return view(keys_, layer); }
  kit::TensorView<const float> values(int layer) const override { return view(values_, layer); }

  int length(int layer) const override {
    KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {} is not in [0, {})", layer, config_.n_layers);
    return lengths_[layer];
  }
  void reset() override { std::ranges::fill(lengths_, 0); }

 protected:
  /// The tokens at positions [begin, end) of `layer` are new.
  virtual void quantize(int layer, int begin, int end) = 0;

  /// Elements of a token: its heads lie one after the other.
  std::int64_t channels() const { return std::int64_t{config_.n_kv_heads} * config_.head_dim; }
  /// Where a token begins in keys_ and values_.
  std::int64_t offset(int layer, int pos) const {
    return (std::int64_t{layer} * config_.max_len + pos) * channels();
  }

  kit::KvCacheConfig config_;
  kit::Tensor<float> keys_;    // [n_layers, max_len, n_kv_heads, head_dim]
  kit::Tensor<float> values_;  // [n_layers, max_len, n_kv_heads, head_dim]

 private:
  kit::TensorView<const float> view(const kit::Tensor<float>& all, int layer) const {
    const int len = length(layer);
    return {all.data() + offset(layer, 0), {len, config_.n_kv_heads, config_.head_dim}};
  }

  std::vector<int> lengths_;  // [n_layers], in tokens
};

/// Rows of INT8 codes, each with a symmetric scale.
struct Int8Rows {
  kit::Tensor<std::int8_t> codes;  // [n_rows, head_dim]
  std::vector<float> scales;       // [n_rows]

  Int8Rows(std::int64_t n_rows, int head_dim)
      : codes({n_rows, head_dim}), scales(static_cast<std::size_t>(n_rows)) {}

  /// x: [head_dim]. It becomes what its codes stand for with the scale of row `first`.
  void quantize(std::int64_t row, std::int64_t first, std::span<float> x) {
    float max_abs = 0.0F;
    for (const float value : x) max_abs = std::max(max_abs, std::abs(value));
    const float scale = max_abs / 127.0F < kSmallestNormal ? 1.0F : max_abs / 127.0F;
    scales[row] = scale;
    for (std::size_t d = 0; d < x.size(); ++d) {
      const float code = std::clamp(std::nearbyint(x[d] / scale), -127.0F, 127.0F);
      codes.row(row)[d] = static_cast<std::int8_t>(code);
      x[d] = scales[first] * code;
    }
  }
};

/// A row for each token and head.
class Int8KvCache : public QuantizedKvCache {
 public:
  explicit Int8KvCache(const kit::KvCacheConfig& config)
      : QuantizedKvCache(config),
        key_rows_(keys_.size() / config.head_dim, config.head_dim),
        value_rows_(keys_.size() / config.head_dim, config.head_dim) {}

 protected:
  void quantize(int layer, int begin, int end) override {
    const int head_dim = config_.head_dim;
    for (std::int64_t at = offset(layer, begin); at < offset(layer, end); at += head_dim) {
      const std::int64_t first = at / channels() * config_.n_kv_heads;
      key_rows_.quantize(at / head_dim, first, keys_.span().subspan(at, head_dim));
      value_rows_.quantize(at / head_dim, first, values_.span().subspan(at, head_dim));
    }
  }

 private:
  Int8Rows key_rows_;    // [n_layers, max_len, n_kv_heads]
  Int8Rows value_rows_;  // [n_layers, max_len, n_kv_heads]
};

/// Groups of 2-bit codes, four to a byte, the first one lowest.
struct TwoBitGroups {
  struct Grid {
    float low = 0.0F;
    float scale = 1.0F;
  };
  int group_size;
  kit::Tensor<std::uint8_t> codes;  // [n_groups, ceil(group_size / 4)]
  std::vector<Grid> grids;          // [n_groups]

  TwoBitGroups(std::int64_t n_groups, int size)
      : group_size(size), codes({n_groups, (size + 3) / 4}), grids(static_cast<std::size_t>(n_groups)) {}

  /// x[0], x[stride], ..., group_size of them, become what their codes stand for.
  void quantize(std::int64_t group, float* x, std::int64_t stride) {
    float low = x[0];
    float high = x[0];
    for (int i = 1; i < group_size; ++i) {
      low = std::min(low, x[i * stride]);
      high = std::max(high, x[i * stride]);
    }
    const float scale = (high - low) / 3.0F < kSmallestNormal ? 1.0F : (high - low) / 3.0F;
    grids[group] = {.low = low, .scale = scale};
    std::ranges::fill(codes.row(group), std::uint8_t{0});
    for (int i = 0; i < group_size; ++i) {
      const float code = std::clamp(std::nearbyint((x[i * stride] - low) / scale), 0.0F, 3.0F);
      codes(group, i / 4) |= static_cast<std::uint8_t>(static_cast<int>(code) << (2 * (i % 4)));
      x[i * stride] = low + scale * code;
    }
  }
};

/// One channel that is large in every token would set the grid of all its neighbours in the token, so keys
/// are grouped along the tokens, channel by channel. Values have no such channels.
class KiviKvCache : public QuantizedKvCache {
 public:
  KiviKvCache(const kit::KvCacheConfig& config, int group_size)
      : QuantizedKvCache(config),
        group_size_(group_size),
        key_groups_(channels() * config.n_layers * (config.max_len / group_size), group_size),
        value_groups_(values_.size() / group_size, group_size) {}

 protected:
  void quantize(int layer, int begin, int end) override {
    for (std::int64_t at = offset(layer, begin); at < offset(layer, end); at += group_size_)
      value_groups_.quantize(at / group_size_, values_.data() + at, /*stride=*/1);
    // Key groups that these tokens fill. What came before in the first of them is still there as floats.
    for (int g = begin / group_size_; g < end / group_size_; ++g) {
      const std::int64_t first = (std::int64_t{layer} * (config_.max_len / group_size_) + g) * channels();
      float* token = keys_.data() + offset(layer, g * group_size_);
      for (std::int64_t c = 0; c < channels(); ++c)
        key_groups_.quantize(first + c, token + c, /*stride=*/channels());
    }
  }

 private:
  int group_size_;
  TwoBitGroups key_groups_;    // [n_layers, max_len / group_size, n_kv_heads, head_dim]
  TwoBitGroups value_groups_;  // [n_layers, max_len, n_kv_heads, head_dim / group_size]
};

}  // namespace

std::unique_ptr<kit::KvCache> make_int8_kv_cache(const kit::KvCacheConfig& config) {
  return std::make_unique<Int8KvCache>(config);
}

std::unique_ptr<kit::KvCache> make_kivi_kv_cache(const kit::KvCacheConfig& config, int group_size) {
  KIT_CHECK(group_size > 0 && config.head_dim % group_size == 0, "group_size {} does not divide head_dim {}",
            group_size, config.head_dim);
  return std::make_unique<KiviKvCache>(config, group_size);
}

}  // namespace lab04
