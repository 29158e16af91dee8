#pragma once

#include <memory>

#include "kit/kv_cache.h"

/// Lab 04, task 11: keys and values in 8 and in 2 bits. Both caches are a kit::KvCache: append() takes floats
/// and stores codes, keys() and values() give what the codes stand for. Errors as kit::KvCache says, and
/// append() refuses a NaN or an infinity, too (the cache is then unchanged). Both functions throw kit::Error
/// when a field of `config` is not positive.
namespace lab04 {

/// INT8: for each token and each key/value head a symmetric scale of its own, as quantize_symmetric over the
/// head_dim elements, for keys and for values.
std::unique_ptr<kit::KvCache> make_int8_kv_cache(const kit::KvCacheConfig& config);

/// 2 bits, KIVI: keys per channel, values per token, because keys have channels that are large in every
/// token. Codes 0..3 with a scale and a zero point in float: low = min, high = max of the group, scale =
/// (high - low) / 3 (1 when that is less than 2^-126), code = clamp(round((x - low) / scale), 0, 3), value =
/// low + scale * code; ties to even; in float.
/// Values: a group is group_size neighbouring elements of one token and head, stored as 2 bits when appended.
/// Keys: a group is one element (head, d) of group_size consecutive tokens, positions g * group_size on. The
/// tokens of a group that is not full yet are kept as floats, and quantized when its last token arrives,
/// however they were split over calls of append().
/// Source: Liu et al. 2024, "KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache", section 3,
/// without the window of recent values in full precision. Throws kit::Error when group_size is not positive
/// or does not divide head_dim.
std::unique_ptr<kit::KvCache> make_kivi_kv_cache(const kit::KvCacheConfig& config, int group_size);

}  // namespace lab04
