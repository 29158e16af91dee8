#include "lab04/kv_quantization.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace lab04 {

namespace {

float usable(float scale) {
  return std::isnormal(scale) ? scale : 1.0F;
}

/// The numbers of one layer's keys or values, which only grow.
class Store {
 public:
  virtual ~Store() = default;
  /// token: [n_kv_heads * head_dim]
  virtual void push(std::span<const float> token) = 0;
  virtual void decode(std::vector<float>& out) const = 0;
  virtual void clear() = 0;
};

class Int8Store : public Store {
 public:
  explicit Int8Store(int head_dim) : head_dim_(head_dim) {}
  void push(std::span<const float> token) override {
    for (std::size_t i = 0; i < token.size(); i += head_dim_) {
      float largest = 0.0F;
      for (const float x : token.subspan(i, head_dim_)) largest = std::fmax(largest, std::fabs(x));
      scales_.push_back(usable(largest / 127.0F));
      for (const float x : token.subspan(i, head_dim_))
        codes_.push_back(static_cast<std::int8_t>(std::lrint(x / scales_.back())));
    }
  }
  void decode(std::vector<float>& out) const override {
    out.clear();
    for (std::size_t i = 0; i < codes_.size(); ++i)
      out.push_back(static_cast<float>(codes_[i]) * scales_[i / head_dim_]);
  }
  void clear() override {
    codes_.clear();
    scales_.clear();
  }

 private:
  std::size_t head_dim_;
  std::vector<std::int8_t> codes_;
  std::vector<float> scales_;
};

/// Two codes' worth of ends, and 2 bits for each number between them.
struct Group {
  float low = 0.0F;
  float scale = 1.0F;
  std::vector<bool> bits;

  explicit Group(std::span<const float> x) {
    low = *std::ranges::min_element(x);
    scale = usable((*std::ranges::max_element(x) - low) / 3.0F);
    for (const float one : x) {
      const long code = std::min(3L, std::lrint((one - low) / scale));
      bits.push_back(code % 2 == 1);
      bits.push_back(code >= 2);
    }
  }
  float operator[](std::size_t i) const {
    return static_cast<float>(double{low} + double{scale} * (bits[2 * i] + 2 * bits[2 * i + 1]));
  }
};

class ValueStore : public Store {
 public:
  explicit ValueStore(int group_size) : group_size_(group_size) {}
  void push(std::span<const float> token) override {
    for (std::size_t i = 0; i < token.size(); i += group_size_)
      groups_.emplace_back(token.subspan(i, group_size_));
  }
  void decode(std::vector<float>& out) const override {
    out.clear();
    for (const Group& group : groups_) {
      for (std::size_t i = 0; i < group_size_; ++i) out.push_back(group[i]);
    }
  }
  void clear() override { groups_.clear(); }

 private:
  std::size_t group_size_;
  std::vector<Group> groups_;
};

class KeyStore : public Store {
 public:
  KeyStore(int group_size, int channels) : group_size_(group_size), channels_(channels) {}
  void push(std::span<const float> token) override {
    residual_.insert(residual_.end(), token.begin(), token.end());
    if (residual_.size() < group_size_ * channels_) return;
    std::vector<float> channel(group_size_);
    for (std::size_t c = 0; c < channels_; ++c) {
      for (std::size_t t = 0; t < group_size_; ++t) channel[t] = residual_[t * channels_ + c];
      groups_.emplace_back(channel);
    }
    residual_.clear();
  }
  void decode(std::vector<float>& out) const override {
    out.clear();
    for (std::size_t first = 0; first < groups_.size(); first += channels_) {
      for (std::size_t t = 0; t < group_size_; ++t) {
        for (std::size_t c = 0; c < channels_; ++c) out.push_back(groups_[first + c][t]);
      }
    }
    out.insert(out.end(), residual_.begin(), residual_.end());
  }
  void clear() override {
    groups_.clear();
    residual_.clear();
  }

 private:
  std::size_t group_size_;
  std::size_t channels_;
  std::vector<Group> groups_;
  std::vector<float> residual_;
};

class StoredCache : public kit::KvCache {
 public:
  template <class MakeKeys, class MakeValues>
  StoredCache(const kit::KvCacheConfig& config, const MakeKeys& make_keys, const MakeValues& make_values)
      : config_(config) {
    for (int layer = 0; layer < config.n_layers; ++layer)
      layers_.push_back({make_keys(), make_values(), {}, {}, 0});
  }
  const kit::KvCacheConfig& config() const override { return config_; }
  void append(int layer, kit::TensorView<const float> k, kit::TensorView<const float> v) override {
    Layer& one = at(layer);
    KIT_CHECK(k.shape() == v.shape(), "keys {}, values {}", k.shape().to_string(), v.shape().to_string());
    KIT_CHECK(k.rank() == 3 && k.dim(1) == config_.n_kv_heads && k.dim(2) == config_.head_dim,
              "a shape of {}", k.shape().to_string());
    KIT_CHECK(one.len + k.dim(0) <= config_.max_len, "{} tokens and {} more, of {}", one.len, k.dim(0),
              config_.max_len);
    for (std::int64_t i = 0; i < k.size(); ++i) {
      KIT_CHECK(std::isfinite(k.data()[i]), "key {}", k.data()[i]);
      KIT_CHECK(std::isfinite(v.data()[i]), "value {}", v.data()[i]);
    }
    const std::size_t channels = static_cast<std::size_t>(config_.n_kv_heads) * config_.head_dim;
    for (std::int64_t t = 0; t < k.dim(0); ++t) {
      one.keys->push(k.span().subspan(t * channels, channels));
      one.values->push(v.span().subspan(t * channels, channels));
    }
    one.len += k.dim(0);
  }
  kit::TensorView<const float> keys(int layer) const override {
    const Layer& one = at(layer);
    one.keys->decode(one.decoded_keys);
    return {one.decoded_keys, {one.len, config_.n_kv_heads, config_.head_dim}};
  }
  kit::TensorView<const float> values(int layer) const override {
    const Layer& one = at(layer);
    one.values->decode(one.decoded_values);
    return {one.decoded_values, {one.len, config_.n_kv_heads, config_.head_dim}};
  }
  int length(int layer) const override { return static_cast<int>(at(layer).len); }
  void reset() override {
    for (Layer& layer : layers_) {
      layer.keys->clear();
      layer.values->clear();
      layer.len = 0;
    }
  }

 private:
  struct Layer {
    std::unique_ptr<Store> keys;
    std::unique_ptr<Store> values;
    mutable std::vector<float> decoded_keys;
    mutable std::vector<float> decoded_values;
    std::int64_t len;
  };
  const Layer& at(int layer) const {
    KIT_CHECK(layer >= 0 && layer < config_.n_layers, "layer {} of {}", layer, config_.n_layers);
    return layers_[layer];
  }
  Layer& at(int layer) { return const_cast<Layer&>(std::as_const(*this).at(layer)); }

  kit::KvCacheConfig config_;
  std::vector<Layer> layers_;
};

void check(const kit::KvCacheConfig& config) {
  KIT_CHECK(std::min({config.n_layers, config.n_kv_heads, config.head_dim, config.max_len}) > 0,
            "{} {} {} {}", config.n_layers, config.n_kv_heads, config.head_dim, config.max_len);
}

}  // namespace

std::unique_ptr<kit::KvCache> make_int8_kv_cache(const kit::KvCacheConfig& config) {
  check(config);
  const auto make = [&] { return std::make_unique<Int8Store>(config.head_dim); };
  return std::make_unique<StoredCache>(config, make, make);
}

std::unique_ptr<kit::KvCache> make_kivi_kv_cache(const kit::KvCacheConfig& config, int group_size) {
  check(config);
  KIT_CHECK(group_size >= 1 && config.head_dim % group_size == 0, "group_size {}", group_size);
  return std::make_unique<StoredCache>(
      config, [&] { return std::make_unique<KeyStore>(group_size, config.n_kv_heads * config.head_dim); },
      [&] { return std::make_unique<ValueStore>(group_size); });
}

}  // namespace lab04
