#include "kit/remote/interfaces.h"

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
    ask<KvCache, &KvCache::append>("KvCache::append", layer, k, v);
  }
  TensorView<const float> keys(int layer) const override {
    return keys_[layer] = ask<KvCache, &KvCache::keys>("KvCache::keys", layer);
  }
  TensorView<const float> values(int layer) const override {
    return values_[layer] = ask<KvCache, &KvCache::values>("KvCache::values", layer);
  }
  int length(int layer) const override { return ask<KvCache, &KvCache::length>("KvCache::length", layer); }
  void reset() override { ask<KvCache, &KvCache::reset>("KvCache::reset"); }

 private:
  mutable std::optional<KvCacheConfig> config_;
  // What the views that were returned show, by layer.
  mutable std::map<int, Tensor<float>> keys_;
  mutable std::map<int, Tensor<float>> values_;
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
  if (scaling) rope_scaling = std::make_from_tuple<RopeScaling>(*scaling);
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
  constexpr int kMostPositions = 1 << 24;
  if (std::get<1>(key) > kMostPositions) throw ProtocolError(fmt::format("{}a rope", ProtocolError::kPrefix));
  rope = cached_rope(key);
}

}  // namespace kit::remote
