#include "lab01/decode.h"

#include <cmath>

#include "kit/check.h"

namespace lab01 {

DecodeLimit decode_limit(double bandwidth_bytes_per_s, std::int64_t weight_bytes,
                         std::int64_t kv_bytes_per_sequence, std::int64_t batch) {
  KIT_CHECK(bandwidth_bytes_per_s > 0 && std::isfinite(bandwidth_bytes_per_s),
            "bandwidth_bytes_per_s is {}, must be positive and finite", bandwidth_bytes_per_s);
  KIT_CHECK(weight_bytes > 0, "weight_bytes is {}, must be positive", weight_bytes);
  KIT_CHECK(kv_bytes_per_sequence >= 0, "kv_bytes_per_sequence is {}, must not be negative",
            kv_bytes_per_sequence);
  KIT_CHECK(batch > 0, "batch is {}, must be positive", batch);

  DecodeLimit limit;
  // The batch shares one pass over the weights. Nobody shares a cache.
  limit.bytes_per_step = static_cast<double>(weight_bytes);
  const double seconds = limit.bytes_per_step / bandwidth_bytes_per_s;
  limit.ms_per_token = 1e3 * seconds;
  limit.tokens_per_s_per_sequence = 1.0 / seconds;
  limit.tokens_per_s_total = static_cast<double>(batch) / seconds;
  return limit;
}

}  // namespace lab01
