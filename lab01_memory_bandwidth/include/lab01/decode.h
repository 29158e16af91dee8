#pragma once

#include <cstdint>

/// Lab 01, task 2: the speed that memory allows.
namespace lab01 {

/// One decode step makes one token for every sequence of the batch.
struct DecodeLimit {
  double bytes_per_step = 0.0;
  double ms_per_token = 0.0;  ///< time of a step: how long each sequence waits for its next token
  double tokens_per_s_per_sequence = 0.0;  ///< 1000 / ms_per_token
  double tokens_per_s_total = 0.0;         ///< all sequences together
};

/// The limit that memory sets on decoding: no step is faster than its bytes can be read. A step reads the
/// weights once, whatever the batch is, and the keys and values of every sequence. (Arithmetic, launches and
/// everything else can only make it slower.)
///
/// bandwidth_bytes_per_s: of the device's memory, 1 GB/s = 1e9 bytes/s.
/// weight_bytes: read in a step. kv_bytes_per_sequence: of one sequence; 0 where the cache is not considered.
/// Throws kit::Error that names the parameter and its value when the bandwidth is not positive and finite,
/// weight_bytes or batch is not positive, or kv_bytes_per_sequence is negative. Products may exceed 64 bits:
/// use double.
DecodeLimit decode_limit(double bandwidth_bytes_per_s, std::int64_t weight_bytes,
                         std::int64_t kv_bytes_per_sequence, std::int64_t batch);

}  // namespace lab01
