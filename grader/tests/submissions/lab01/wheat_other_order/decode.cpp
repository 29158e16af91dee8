#include "lab01/decode.h"

#include <cmath>

#include "kit/check.h"

namespace lab01 {

DecodeLimit decode_limit(double bandwidth_bytes_per_s, std::int64_t weight_bytes,
                         std::int64_t kv_bytes_per_sequence, std::int64_t batch) {
  KIT_CHECK(std::isnormal(bandwidth_bytes_per_s) && bandwidth_bytes_per_s > 0, "bandwidth_bytes_per_s: {}",
            bandwidth_bytes_per_s);
  KIT_CHECK(weight_bytes >= 1, "weight_bytes: {}", weight_bytes);
  KIT_CHECK(kv_bytes_per_sequence >= 0, "kv_bytes_per_sequence: {}", kv_bytes_per_sequence);
  KIT_CHECK(batch >= 1, "batch: {}", batch);
  const long double weights_ms = 1e3L * weight_bytes / bandwidth_bytes_per_s;
  const long double cache_ms = 1e3L * kv_bytes_per_sequence / bandwidth_bytes_per_s;
  const long double step_ms = weights_ms + batch * cache_ms;
  return {.bytes_per_step = static_cast<double>(step_ms * bandwidth_bytes_per_s / 1e3L),
          .ms_per_token = static_cast<double>(step_ms),
          .tokens_per_s_per_sequence = static_cast<double>(1e3L / step_ms),
          .tokens_per_s_total = static_cast<double>(1e3L * batch / step_ms)};
}

}  // namespace lab01
