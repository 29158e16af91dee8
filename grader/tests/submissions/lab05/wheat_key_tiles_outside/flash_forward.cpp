#include "lab05/flash_forward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kit/parallel.h"

// Dao et al. 2022, algorithm 1, as it is written there: a tile of keys meets all queries before the next one
// is looked at. out holds o, divided by l only at the end.

namespace lab05 {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Keys {
  std::int64_t first, end;
};

Keys visible_keys(std::int64_t i, std::int64_t q_len, std::int64_t kv_len, const FlashConfig& config) {
  if (!config.causal) return {0, kv_len};
  const std::int64_t position = i + kv_len - q_len;
  const std::int64_t first = config.window > 0 ? position - config.window + 1 : 0;
  return {std::max<std::int64_t>(first, 0), std::max<std::int64_t>(position + 1, 0)};
}

/// One query against the keys of one tile that it sees; p has room for them.
void meet(std::span<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
          std::int64_t kv_head, Keys keys, std::span<float> p, float& m, float& l, std::span<float> o) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.size()));
  float tile_m = -kInfinity;
  for (std::int64_t j = keys.first; j < keys.end; ++j) {
    float sum = 0.0F;
    const std::span<const float> key = k.row(j, kv_head);
    for (std::size_t d = 0; d < q.size(); ++d) sum += q[d] * key[d];
    p[static_cast<std::size_t>(j - keys.first)] = sum * scale;
    tile_m = std::max(tile_m, sum * scale);
  }
  const float new_m = std::max(m, tile_m);
  const float alpha = std::exp(m - new_m);  // m may be -infinity, new_m is finite
  l *= alpha;
  for (float& x : o) x *= alpha;
  for (std::int64_t j = keys.first; j < keys.end; ++j) {
    const float weight = std::exp(p[static_cast<std::size_t>(j - keys.first)] - new_m);
    const std::span<const float> value = v.row(j, kv_head);
    for (std::size_t d = 0; d < o.size(); ++d) o[d] += weight * value[d];
    l += weight;
  }
  m = new_m;
}

}  // namespace

void flash_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                     kit::TensorView<const float> v, const FlashConfig& config,
                     std::pmr::memory_resource& scratch, kit::TensorView<float> out,
                     kit::TensorView<float> log_sum_exp) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                k.dim(2) == q.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0 &&
                log_sum_exp.shape() == kit::Shape({q.dim(0), q.dim(1)}),
            "q {}, k {}, v {}, out {}, log_sum_exp {}", q.shape().to_string(), k.shape().to_string(),
            v.shape().to_string(), out.shape().to_string(), log_sum_exp.shape().to_string());
  KIT_CHECK(config.br > 0 && config.bc > 0 && config.window >= 0 && (config.causal || config.window == 0),
            "br {}, bc {}, window {}, causal {}", config.br, config.bc, config.window, config.causal);
  const std::int64_t q_len = q.dim(0);
  const std::int64_t kv_len = k.dim(0);
  const std::int64_t n_heads = q.dim(1);
  const std::int64_t bc = std::min<std::int64_t>(config.bc, std::max<std::int64_t>(kv_len, 1));
  std::pmr::vector<float> l(static_cast<std::size_t>(q_len * n_heads), 0.0F, &scratch);
  std::pmr::vector<float> tiles(static_cast<std::size_t>(n_heads * bc), &scratch);  // [n_heads, bc]
  std::ranges::fill(out.span(), 0.0F);
  std::ranges::fill(log_sum_exp.span(), -kInfinity);  // m, until the end

  kit::parallel_for(n_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h) {
      const std::int64_t kv_head = h / (n_heads / k.dim(1));
      const std::span<float> p =
          std::span(tiles).subspan(static_cast<std::size_t>(h * bc), static_cast<std::size_t>(bc));
      for (std::int64_t j0 = 0; j0 < kv_len; j0 += bc) {
        for (std::int64_t i = 0; i < q_len; ++i) {
          const Keys all = visible_keys(i, q_len, kv_len, config);
          const Keys keys{std::max(all.first, j0), std::min(all.end, std::min(j0 + bc, kv_len))};
          if (keys.first >= keys.end) continue;
          meet(q.row(i, h), k, v, kv_head, keys, p, log_sum_exp(i, h),
               l[static_cast<std::size_t>(i * n_heads + h)], out.row(i, h));
        }
      }
      for (std::int64_t i = 0; i < q_len; ++i) {
        const float sum = l[static_cast<std::size_t>(i * n_heads + h)];
        if (sum == 0.0F) continue;  // no key was seen
        for (float& x : out.row(i, h)) x /= sum;
        log_sum_exp(i, h) += std::log(sum);
      }
    }
  });
}

}  // namespace lab05
