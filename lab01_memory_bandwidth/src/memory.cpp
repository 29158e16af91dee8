#include "lab01/memory.h"

#include "kit/check.h"

// Task 1. What each function must do is written in include/lab01/memory.h; the chapter is
// docs/01_memory_bound_inference.md.

namespace lab01 {

std::int64_t weight_bytes(std::int64_t n_params, const WeightFormat& format) {
  // kit::bits(format.number) is in bits. How many groups are there, the last one included?
  (void)n_params, (void)format;
  throw kit::NotImplemented("lab01 task 1: weight_bytes");
}

std::int64_t kv_cache_bytes(const kit::ModelConfig& model, std::int64_t batch, std::int64_t kv_len,
                            kit::NumberFormat format) {
  (void)model, (void)batch, (void)kv_len, (void)format;
  throw kit::NotImplemented("lab01 task 1: kv_cache_bytes");
}

std::int64_t activation_bytes(const kit::ModelConfig& model, std::int64_t batch, std::int64_t q_len,
                              kit::NumberFormat format) {
  (void)model, (void)batch, (void)q_len, (void)format;
  throw kit::NotImplemented("lab01 task 1: activation_bytes");
}

}  // namespace lab01
