#include "lab02/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace lab02 {

namespace {

/// Softmax and weighted sum in one pass: whenever a larger score comes, what was summed so far shrinks.
struct Running {
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  std::vector<double> value;

  void add(double score, const float* v) {
    const double new_max = std::max(max, score);
    const double shrink = std::exp(max - new_max);
    const double weight = std::exp(score - new_max);
    sum = sum * shrink + weight;
    for (std::size_t d = 0; d < value.size(); ++d) value[d] = value[d] * shrink + weight * v[d];
    max = new_max;
  }
};

void check(kit::TensorView<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
           kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 4, "q {}, k {}", q.shape().to_string(), k.shape().to_string());
  KIT_CHECK(v.shape() == k.shape() && out.shape() == q.shape() && q.dim(2) == k.dim(3), "shapes disagree");
  KIT_CHECK(k.dim(1) > 0 && k.dim(2) > 0 && q.dim(1) % k.dim(2) == 0, "blocks {}", k.shape().to_string());
}

void check_table(std::span<const int> table, std::int64_t len, std::int64_t block_size,
                 std::int64_t n_blocks) {
  for (std::int64_t pos = 0; pos < len; pos += block_size) {
    const auto index = static_cast<std::size_t>(pos / block_size);
    KIT_CHECK(index < table.size() && 0 <= table[index] && table[index] < n_blocks, "position {}", pos);
  }
}

/// One query of one head over positions 0 .. n - 1.
void one_row(std::span<const float> q, std::span<float> out, std::int64_t kv_head, std::int64_t n,
             kit::TensorView<const float> k, kit::TensorView<const float> v, std::span<const int> table) {
  Running running;
  running.value.assign(q.size(), 0.0);
  for (std::int64_t pos = 0; pos < n; ++pos) {
    const int block = table[static_cast<std::size_t>(pos / k.dim(1))];
    double score = 0.0;
    for (std::size_t d = 0; d < q.size(); ++d)
      score += double{q[d]} * k(block, pos % k.dim(1), kv_head, static_cast<std::int64_t>(d));
    running.add(score / std::sqrt(static_cast<double>(q.size())), &v(block, pos % k.dim(1), kv_head, 0));
  }
  for (std::size_t d = 0; d < out.size(); ++d) out[d] = static_cast<float>(running.value[d] / running.sum);
}

}  // namespace

void paged_attention(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                     kit::TensorView<const float> v_blocks, std::span<const int> block_table, int context_len,
                     kit::TensorView<float> out) {
  check(q, k_blocks, v_blocks, out);
  KIT_CHECK(q.dim(0) <= context_len, "context_len {}", context_len);
  check_table(block_table, context_len, k_blocks.dim(1), k_blocks.dim(0));
  for (std::int64_t h = 0; h < q.dim(1); ++h) {
    const std::int64_t kv_head = h * k_blocks.dim(2) / q.dim(1);
    for (std::int64_t i = 0; i < q.dim(0); ++i)
      one_row(q.row(i, h), out.row(i, h), kv_head, context_len - q.dim(0) + i + 1, k_blocks, v_blocks,
              block_table);
  }
}

void paged_decode_attention(kit::TensorView<const float> q, kit::TensorView<const float> k_blocks,
                            kit::TensorView<const float> v_blocks,
                            kit::TensorView<const std::int32_t> block_tables,
                            kit::TensorView<const std::int32_t> context_lens, kit::TensorView<float> out) {
  check(q, k_blocks, v_blocks, out);
  KIT_CHECK(block_tables.rank() == 2 && block_tables.dim(0) == q.dim(0), "block_tables");
  KIT_CHECK(context_lens.rank() == 1 && context_lens.dim(0) == q.dim(0), "context_lens");
  const kit::Shape one{1, q.dim(1), q.dim(2)};
  for (std::int64_t s = 0; s < q.dim(0); ++s) {
    KIT_CHECK(context_lens(s) > 0, "context_len {}", context_lens(s));
    check_table(block_tables.row(s), context_lens(s), k_blocks.dim(1), k_blocks.dim(0));
  }
  for (std::int64_t s = 0; s < q.dim(0); ++s) {
    paged_attention({q.data() + s * one.size(), one}, k_blocks, v_blocks, block_tables.row(s),
                    context_lens(s), {out.data() + s * one.size(), one});
  }
}

}  // namespace lab02
