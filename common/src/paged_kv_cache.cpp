#include "kit/paged_kv_cache.h"

#include <limits>

namespace kit {

KvBlockStorage::KvBlockStorage(const PagedKvConfig& config) : config_(config) {
  KIT_CHECK(config.n_layers > 0 && config.n_kv_heads > 0 && config.head_dim > 0 && config.block_size > 0 &&
                config.n_blocks > 0,
            "n_layers {}, n_kv_heads {}, head_dim {}, block_size {}, n_blocks {}: all must be positive",
            config.n_layers, config.n_kv_heads, config.head_dim, config.block_size, config.n_blocks);
  const Shape shape{config.n_blocks, config.block_size, config.n_kv_heads, config.head_dim};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    keys_.emplace_back(shape, std::numeric_limits<float>::quiet_NaN());
    values_.emplace_back(shape, std::numeric_limits<float>::quiet_NaN());
  }
}

namespace {

template <class Tensors>
auto& layer_of(Tensors& tensors, int layer) {
  KIT_CHECK(layer >= 0 && static_cast<std::size_t>(layer) < tensors.size(), "layer {} is not in [0, {})",
            layer, tensors.size());
  return tensors[static_cast<std::size_t>(layer)];
}

}  // namespace

TensorView<float> KvBlockStorage::keys(int layer) {
  return layer_of(keys_, layer);
}
TensorView<const float> KvBlockStorage::keys(int layer) const {
  return layer_of(keys_, layer);
}
TensorView<float> KvBlockStorage::values(int layer) {
  return layer_of(values_, layer);
}
TensorView<const float> KvBlockStorage::values(int layer) const {
  return layer_of(values_, layer);
}

}  // namespace kit
