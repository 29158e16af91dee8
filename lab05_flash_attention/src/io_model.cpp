#include "lab05/io_model.h"

#include "kit/check.h"

namespace lab05 {

std::int64_t attention_flops(const AttentionShape& /*shape*/) {
  throw kit::NotImplemented("lab05 task 5: attention_flops");
}

std::int64_t compulsory_bytes(const AttentionShape& /*shape*/) {
  throw kit::NotImplemented("lab05 task 5: compulsory_bytes");
}

std::int64_t standard_attention_bytes(const AttentionShape& /*shape*/) {
  throw kit::NotImplemented("lab05 task 5: standard_attention_bytes");
}

std::int64_t flash_tile_pairs(const AttentionShape& /*shape*/, const TileSizes& /*tiles*/) {
  throw kit::NotImplemented("lab05 task 5: flash_tile_pairs");
}

std::int64_t flash_attention_bytes(const AttentionShape& /*shape*/, const TileSizes& /*tiles*/) {
  throw kit::NotImplemented("lab05 task 5: flash_attention_bytes");
}

std::int64_t tile_bytes(const TileSizes& /*tiles*/, int /*head_dim*/, int /*element_bytes*/) {
  throw kit::NotImplemented("lab05 task 5: tile_bytes");
}

TileSizes tile_sizes(std::int64_t /*on_chip_bytes*/, int /*head_dim*/, int /*element_bytes*/) {
  throw kit::NotImplemented("lab05 task 5: tile_sizes");
}

double traffic_ratio(const AttentionShape& /*shape*/, const TileSizes& /*tiles*/) {
  throw kit::NotImplemented("lab05 task 5: traffic_ratio");
}

double flash_intensity(const AttentionShape& /*shape*/, const TileSizes& /*tiles*/) {
  throw kit::NotImplemented("lab05 task 5: flash_intensity");
}

}  // namespace lab05
