#pragma once

#include "kit/number_format.h"
#include "kit/remote/passing.h"
#include "lab02/kv_memory.h"
#include "lab02/prefix_cache.h"

/// Lab 02's structures as messages.
namespace kit::remote {

template <>
struct LastEnumerator<NumberFormat> {
  static constexpr NumberFormat kValue = NumberFormat::kInt4;
};
template <>
struct LastEnumerator<lab02::HeadSharing> {
  static constexpr lab02::HeadSharing kValue = lab02::HeadSharing::kMultiQuery;
};

}  // namespace kit::remote

namespace lab02 {

template <class Archive>
void serialize(Archive& archive, PrefixCacheConfig& x) {
  auto& [block_size, hash_bits] = x;
  archive(block_size, hash_bits);
}

}  // namespace lab02
