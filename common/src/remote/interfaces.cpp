#include "kit/remote/interfaces.h"

#include <algorithm>
#include <list>
#include <tuple>
#include <utility>

namespace kit::remote {

namespace {

class KvCacheProxy final : public KvCache, public Remote {
 public:
  using Remote::Remote;

  // It does not change while a cache lives, so one question is enough.
  const KvCacheConfig& config() const override {
    if (!config_) config_ = ask<KvCache, &KvCache::config>("KvCache::config");
    return *config_;
  }
  void append(int layer, TensorView<const float> k, TensorView<const float> v) override {
    forget_old_views();
    ask<KvCache, &KvCache::append>("KvCache::append", layer, k, v);
  }
  TensorView<const float> keys(int layer) const override {
    return keep(keys_[layer], ask<KvCache, &KvCache::keys>("KvCache::keys", layer));
  }
  TensorView<const float> values(int layer) const override {
    return keep(values_[layer], ask<KvCache, &KvCache::values>("KvCache::values", layer));
  }
  int length(int layer) const override { return ask<KvCache, &KvCache::length>("KvCache::length", layer); }
  void reset() override {
    forget_old_views();
    ask<KvCache, &KvCache::reset>("KvCache::reset");
  }
  void truncate(int length) override {
    forget_old_views();
    ask<KvCache, &KvCache::truncate>("KvCache::truncate", length);
  }

 private:
  /// A view that was returned before shows the new elements, or, where there are more or fewer now, stays as
  /// it was until the next call of a non-const member: another call of keys() does not end it.
  TensorView<const float> keep(Tensor<float>& kept, Tensor<float> now) const {
    if (kept.shape() == now.shape() && kept.size() == now.size()) {
      std::ranges::copy(now.span(), kept.span().begin());
      return kept;
    }
    old_bytes_ += kept.span().size_bytes();
    // Only a worker whose arrays change from call to call gets there.
    if (old_bytes_ > kMostOldBytes)
      throw ProtocolError(
          fmt::format("{}a cache that changes while it is looked at", ProtocolError::kPrefix));
    if (kept.size() > 0) old_views_.push_back(std::move(kept));
    kept = std::move(now);
    return kept;
  }
  void forget_old_views() {
    old_views_.clear();
    old_bytes_ = 0;
  }

  static constexpr std::size_t kMostOldBytes = std::size_t{1} << 30;
  mutable std::optional<KvCacheConfig> config_;
  // What the views that were returned show, by layer.
  mutable std::map<int, Tensor<float>> keys_;
  mutable std::map<int, Tensor<float>> values_;
  mutable std::vector<Tensor<float>> old_views_;
  mutable std::size_t old_bytes_ = 0;
};

class ModelProxy final : public Model, public Remote {
 public:
  using Remote::Remote;

  const ModelConfig& config() const override {
    if (!config_) config_ = ask<Model, &Model::config>("Model::config");
    return *config_;
  }

 protected:
  Tensor<float> run(std::span<const int> tokens, KvCache* cache, Logits which) override {
    using Methods = Interface<Model>;
    return cache == nullptr ? ask<Model, Methods::kForward>("Model::forward", tokens, which)
                            : ask<Model, Methods::kForwardWithCache>("Model::forward", tokens, *cache, which);
  }

 private:
  mutable std::optional<ModelConfig> config_;
};

using RopeKey = std::tuple<int, int, float, std::optional<std::tuple<float, float, float, int>>>;

RopeKey key_of(const Rope& rope) {
  RopeKey key{rope.head_dim(), rope.max_seq_len(), rope.theta(), std::nullopt};
  if (const auto& s = rope.scaling())
    std::get<3>(key) = {s->factor, s->low_freq_factor, s->high_freq_factor, s->original_max_seq_len};
  return key;
}

/// Tables take a while to make, and every layer of every step passes the same.
std::shared_ptr<const Rope> cached_rope(const RopeKey& key) {
  static std::list<std::pair<RopeKey, std::shared_ptr<const Rope>>> recent;
  constexpr std::size_t kMost = 8;
  for (const auto& [known, rope] : recent) {
    if (known == key) return rope;
  }
  const auto& [head_dim, max_seq_len, theta, scaling] = key;
  std::optional<RopeScaling> rope_scaling;
  if (scaling) {
    const auto& [factor, low, high, original] = *scaling;
    rope_scaling = RopeScaling{factor, low, high, original};
  }
  recent.emplace_front(key, std::make_shared<Rope>(head_dim, max_seq_len, theta, rope_scaling));
  if (recent.size() > kMost) recent.pop_back();
  return recent.front().second;
}

}  // namespace

std::unique_ptr<KvCache> Interface<KvCache>::make_proxy(Connection& connection, ObjectId object, bool owns) {
  return std::make_unique<KvCacheProxy>(connection, object, owns);
}

std::unique_ptr<Model> Interface<Model>::make_proxy(Connection& connection, ObjectId object, bool owns) {
  return std::make_unique<ModelProxy>(connection, object, owns);
}

Passing<const Rope&>::Sent::Sent(Writer& writer, const Rope& rope) {
  const auto [head_dim, max_seq_len, theta, scaling] = key_of(rope);
  writer.value(head_dim);
  writer.value(max_seq_len);
  writer.value(theta);
  writer.value(rope.scaling());
}

Passing<const Rope&>::Held::Held(Reader& reader) {
  RopeKey key;
  reader.value(std::get<0>(key));
  reader.value(std::get<1>(key));
  reader.value(std::get<2>(key));
  const auto scaling = reader.value<std::optional<RopeScaling>>();
  if (scaling) {
    std::get<3>(key) = {scaling->factor, scaling->low_freq_factor, scaling->high_freq_factor,
                        scaling->original_max_seq_len};
  }
  // A table that a hostile peer asks for must not fill the memory.
  constexpr std::int64_t kMostNumbers = std::int64_t{1} << 24;
  const std::int64_t head_dim = std::get<0>(key);
  const std::int64_t max_seq_len = std::get<1>(key);
  if (head_dim > kMostNumbers || max_seq_len > kMostNumbers || head_dim * max_seq_len > kMostNumbers) {
    throw ProtocolError(fmt::format("{}a rope for {} positions of {} dimensions", ProtocolError::kPrefix,
                                    max_seq_len, head_dim));
  }
  rope = cached_rope(key);
}

}  // namespace kit::remote
