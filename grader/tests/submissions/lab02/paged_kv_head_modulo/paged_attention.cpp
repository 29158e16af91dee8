#include "lab02/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kit/parallel.h"
#include "lab02/attention.h"

namespace lab02 {

namespace {

using std::int64_t;

/// The keys and values of one sequence, wherever its blocks are.
struct PagedKv {
  kit::TensorView<const float> k_slots;  // [n_blocks * block_size, n_kv_heads, head_dim]
  kit::TensorView<const float> v_slots;  // the same
  int64_t block_size;
  std::span<const int> block_table;

  /// Calls visit(pos, slot) for the first n positions. One look at the table a block: inside it slots follow
  /// each other.
  template <class Visit>
  void for_each_slot(int64_t n, const Visit& visit) const {
    for (int64_t first_pos = 0; first_pos < n; first_pos += block_size) {
      const auto block = static_cast<std::size_t>(first_pos / block_size);
      const int64_t first_slot = block_table[block] * block_size;
      const int64_t n_here = std::min(block_size, n - first_pos);  // the last block may be partly filled
      for (int64_t i = 0; i < n_here; ++i) visit(first_pos + i, first_slot + i);
    }
  }
};

void check_shapes(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                  kit::TensorView<const float> v_blocks, kit::TensorView<float> out) {
  const bool fits = q.rank() == 3 && k_blocks.rank() == 4 && v_blocks.shape() == k_blocks.shape() &&
                    out.shape() == q.shape() && k_blocks.dim(3) == q.dim(2) && k_blocks.dim(1) > 0 &&
                    k_blocks.dim(2) > 0 && q.dim(1) % k_blocks.dim(2) == 0;
  KIT_CHECK(fits,
            "q {}, k_blocks {}, v_blocks {}, out {}: want q and out [n, n_heads, head_dim], blocks "
            "[n_blocks, block_size, n_kv_heads, head_dim], n_heads a multiple of n_kv_heads",
            q.shape().to_string(), k_blocks.shape().to_string(), v_blocks.shape().to_string(),
            out.shape().to_string());
}

/// The first context_len positions must have blocks. What the table holds behind them is nobody's business.
PagedKv checked_kv(kit::TensorView<const float> k_blocks, kit::TensorView<const float> v_blocks,
                   std::span<const int> block_table, int64_t context_len) {
  const int64_t n_blocks = k_blocks.dim(0);
  const int64_t block_size = k_blocks.dim(1);
  const auto n_needed = static_cast<std::size_t>((context_len + block_size - 1) / block_size);
  KIT_CHECK(n_needed <= block_table.size(), "{} tokens need {} blocks of {}, the table has {}", context_len,
            n_needed, block_size, block_table.size());
  for (std::size_t i = 0; i < n_needed; ++i) {
    KIT_CHECK(block_table[i] >= 0 && block_table[i] < n_blocks,
              "entry {} of the block table, {}, is not in [0, {})", i, block_table[i], n_blocks);
  }
  const kit::Shape slots{n_blocks * block_size, k_blocks.dim(2), k_blocks.dim(3)};
  return {{k_blocks.data(), slots}, {v_blocks.data(), slots}, block_size, block_table};
}

float dot(std::span<const float> a, std::span<const float> b) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

/// out += weight * value.
void add_scaled(std::span<float> out, float weight, std::span<const float> value) {
#pragma omp simd
  for (std::size_t d = 0; d < out.size(); ++d) out[d] += weight * value[d];
}

/// Query i of every head that reads kv_head, over the first n_visible positions of `kv`. As in attention(),
/// all heads of the group meet a key while it is in the processor's cache. weights: [group, >= n_visible],
/// scratch.
void attend(kit::TensorView<const float> q, const PagedKv& kv, int64_t i, int64_t kv_head, int64_t n_visible,
            kit::TensorView<float> weights, kit::TensorView<float> out) {
  const int64_t group = weights.dim(0);
  const int64_t n_kv_heads = kv.k_slots.dim(1);
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.dim(2)));
  kv.for_each_slot(n_visible, [&](int64_t pos, int64_t slot) {
    for (int64_t g = 0; g < group; ++g) {
      weights(g, pos) = scale * dot(q.row(i, g * n_kv_heads + kv_head), kv.k_slots.row(slot, kv_head));
    }
  });
  for (int64_t g = 0; g < group; ++g) {
    softmax(weights.row(g).first(static_cast<std::size_t>(n_visible)));
    std::ranges::fill(out.row(i, g * n_kv_heads + kv_head), 0.0F);
  }
  kv.for_each_slot(n_visible, [&](int64_t pos, int64_t slot) {
    for (int64_t g = 0; g < group; ++g) {
      add_scaled(out.row(i, g * n_kv_heads + kv_head), weights(g, pos), kv.v_slots.row(slot, kv_head));
    }
  });
}

/// Items one thread should take, so that it has at least 64 K multiply-adds to do: waking a thread is not
/// free.
int64_t grain(int64_t multiply_adds_per_item) {
  return 1 + (int64_t{1} << 16) / std::max<int64_t>(multiply_adds_per_item, 1);
}

}  // namespace

void paged_attention(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                     kit::TensorView<const float> v_blocks, std::span<const int> block_table, int context_len,
                     kit::TensorView<float> out) {
  check_shapes(q, k_blocks, v_blocks, out);
  const int64_t q_len = q.dim(0);
  KIT_CHECK(context_len >= q_len, "{} queries in a context of {} tokens", q_len, context_len);
  const PagedKv kv = checked_kv(k_blocks, v_blocks, block_table, context_len);
  const int64_t n_kv_heads = k_blocks.dim(2);
  const int64_t group = q.dim(1) / n_kv_heads;  // query heads that share one key/value head
  const int64_t work = q_len * context_len * group * q.dim(2);
  kit::parallel_for(n_kv_heads, grain(work), [&](int64_t begin, int64_t end) {
    kit::Tensor<float> weights({group, context_len});
    for (int64_t kv_head = begin; kv_head < end; ++kv_head) {
      // The queries are the last q_len positions; what lies behind a query's own is its future.
      for (int64_t i = 0; i < q_len; ++i)
        attend(q, kv, i, kv_head, context_len - q_len + i + 1, weights, out);
    }
  });
}

void paged_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                            kit::TensorView<const float> v_blocks,
                            kit::TensorView<const std::int32_t> block_tables,
                            kit::TensorView<const std::int32_t> context_lens, kit::TensorView<float> out) {
  check_shapes(q, k_blocks, v_blocks, out);
  const int64_t n_seqs = q.dim(0);
  KIT_CHECK(
      block_tables.rank() == 2 && block_tables.dim(0) == n_seqs && context_lens.shape() == kit::Shape{n_seqs},
      "block_tables {} and context_lens {} for {} sequences", block_tables.shape().to_string(),
      context_lens.shape().to_string(), n_seqs);
  std::vector<PagedKv> kv;
  int64_t max_context_len = 0;
  for (int64_t s = 0; s < n_seqs; ++s) {
    KIT_CHECK(context_lens(s) >= 1, "sequence {} has a context of {} tokens", s, context_lens(s));
    kv.push_back(checked_kv(k_blocks, v_blocks, block_tables.row(s), context_lens(s)));
    max_context_len = std::max<int64_t>(max_context_len, context_lens(s));
  }
  const int64_t n_kv_heads = k_blocks.dim(2);
  const int64_t group = q.dim(1) / n_kv_heads;
  const int64_t work = max_context_len * group * q.dim(2);
  kit::parallel_for(n_seqs * n_kv_heads, grain(work), [&](int64_t begin, int64_t end) {
    kit::Tensor<float> weights({group, max_context_len});
    for (int64_t item = begin; item < end; ++item) {
      const int64_t s = item / n_kv_heads;
      attend(q, kv[static_cast<std::size_t>(s)], s, item % n_kv_heads, context_lens(s), weights, out);
    }
  });
}

}  // namespace lab02
