#include "lab01/decode.h"

#include "kit/check.h"

// Task 2.

namespace lab01 {

DecodeLimit decode_limit(double bandwidth_bytes_per_s, std::int64_t weight_bytes,
                         std::int64_t kv_bytes_per_sequence, std::int64_t batch) {
  // What is read once a step, and what once a sequence?
  (void)bandwidth_bytes_per_s, (void)weight_bytes, (void)kv_bytes_per_sequence, (void)batch;
  throw kit::NotImplemented("lab01 task 2: decode_limit");
}

}  // namespace lab01
