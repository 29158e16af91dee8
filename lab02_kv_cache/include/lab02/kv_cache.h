#pragma once

#include <memory>

#include "kit/kv_cache.h"

/// Lab 02, task 2: the contiguous cache of keys and values.
namespace lab02 {

/// An empty cache of `config.max_len` tokens for every layer. What each member must do, and when it throws,
/// is written at kit::KvCache in common/include/kit/kv_cache.h.
///
/// All memory is allocated here; append only writes. (Why that wastes memory, and what to do, is the paged
/// part.) Throws kit::Error naming the value when a field of `config` is not positive.
std::unique_ptr<kit::KvCache> make_kv_cache(const kit::KvCacheConfig& config);

}  // namespace lab02
