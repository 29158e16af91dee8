#include "lab05/variable_length.h"

#include <algorithm>
#include <string_view>

namespace lab05 {

namespace {

void check_lengths(std::string_view name, std::span<const std::int32_t> cu_seqlens, std::int64_t total) {
  KIT_CHECK(!cu_seqlens.empty(), "{} is empty, want n_seqs + 1 entries", name);
  KIT_CHECK(cu_seqlens.front() == 0, "{}[0] is {}, want 0", name, cu_seqlens.front());
  for (std::size_t s = 1; s < cu_seqlens.size(); ++s) {
    KIT_CHECK(cu_seqlens[s] >= cu_seqlens[s - 1], "{}[{}] is {}, less than {} before it", name, s,
              cu_seqlens[s], cu_seqlens[s - 1]);
  }
  KIT_CHECK(cu_seqlens.back() == total, "{} ends with {}, the array has {} rows", name, cu_seqlens.back(),
            total);
}

/// Rows begin .. end - 1: outer dimensions come first, so they are one piece.
template <class T>
kit::TensorView<T> rows(kit::TensorView<T> x, std::int64_t begin, std::int64_t end) {
  if (x.rank() == 2) return {x.data() + begin * x.dim(1), {end - begin, x.dim(1)}};
  return {x.data() + begin * x.dim(1) * x.dim(2), {end - begin, x.dim(1), x.dim(2)}};
}

}  // namespace

void flash_attention_varlen(kit::TensorView<const float> q, kit::TensorView<const float> k,
                            kit::TensorView<const float> v, std::span<const std::int32_t> cu_seqlens_q,
                            std::span<const std::int32_t> cu_seqlens_k, const FlashConfig& config,
                            std::pmr::memory_resource& scratch, kit::TensorView<float> out,
                            kit::TensorView<float> log_sum_exp) {
  // What is cut into rows must have them; each sequence's call checks the rest.
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                log_sum_exp.rank() == 2 && log_sum_exp.dim(0) == q.dim(0),
            "q {}, k {}, v {}, out {}, log_sum_exp {}: want q and out [total_q, n_heads, head_dim], k and v "
            "[total_k, n_kv_heads, head_dim], log_sum_exp [total_q, n_heads]",
            q.shape().to_string(), k.shape().to_string(), v.shape().to_string(), out.shape().to_string(),
            log_sum_exp.shape().to_string());
  check_lengths("cu_seqlens_q", cu_seqlens_q, q.dim(0));
  check_lengths("cu_seqlens_k", cu_seqlens_k, k.dim(0));
  KIT_CHECK(cu_seqlens_q.size() == cu_seqlens_k.size(), "cu_seqlens_q has {} entries, cu_seqlens_k {}",
            cu_seqlens_q.size(), cu_seqlens_k.size());
  for (std::size_t s = 0; s + 1 < cu_seqlens_q.size(); ++s) {
    const std::int64_t q0 = cu_seqlens_q[s];
    const std::int64_t q1 = cu_seqlens_q[s + 1];
    const std::int64_t k0 = std::min<std::int64_t>(cu_seqlens_q[s], k.dim(0));
    const std::int64_t k1 = std::min<std::int64_t>(cu_seqlens_q[s + 1], k.dim(0));
    flash_attention(rows(q, q0, q1), rows(k, k0, k1), rows(v, k0, k1), config, scratch, rows(out, q0, q1),
                    rows(log_sum_exp, q0, q1));
  }
}

}  // namespace lab05
