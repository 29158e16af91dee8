#include "lab06/tree.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kit/parallel.h"
#include "lab06/acceptance.h"
#include "lab06/distribution.h"

namespace lab06 {

namespace {

void check_tree(std::span<const int> parents, std::int64_t n_nodes) {
  KIT_CHECK(!parents.empty() && std::ssize(parents) == n_nodes, "parents of {} nodes, there are {}",
            parents.size(), n_nodes);
  KIT_CHECK(parents[0] == -1, "node 0 has parent {}, want -1: it is the root", parents[0]);
  for (std::size_t i = 1; i < parents.size(); ++i)
    KIT_CHECK(parents[i] >= 0 && parents[i] < static_cast<int>(i), "node {} has parent {}, want 0 .. {}", i,
              parents[i], i - 1);
}

float dot(std::span<const float> a, std::span<const float> b) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

/// Attention of one query to some rows of k and v. scores: scratch of as many.
void attend(std::span<const float> q, kit::TensorView<const float> k, kit::TensorView<const float> v,
            std::int64_t kv_head, std::span<const std::int64_t> visible, std::span<float> scores,
            std::span<float> out) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(q.size()));
  for (std::size_t t = 0; t < visible.size(); ++t) scores[t] = scale * dot(q, k.row(visible[t], kv_head));
  const float max = *std::ranges::max_element(scores);
  float sum = 0.0F;
  std::ranges::fill(out, 0.0F);
  for (std::size_t t = 0; t < visible.size(); ++t) {
    const float weight = std::exp(scores[t] - max);
    const std::span<const float> value = v.row(visible[t], kv_head);
    sum += weight;
#pragma omp simd
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += weight * value[d];
  }
  for (float& x : out) x /= sum;
}

/// The rows that a node sees: the cache's, and those of the path from node 0 to it.
std::vector<std::int64_t> visible_rows(std::span<const int> parents, std::size_t node,
                                       std::int64_t cache_len) {
  std::vector<std::int64_t> rows;
  for (int i = static_cast<int>(node); i >= 0; i = parents[static_cast<std::size_t>(i)])
    if (i == static_cast<int>(node) || i == parents[node]) rows.push_back(cache_len + i);
  for (std::int64_t t = cache_len; t-- > 0;) rows.push_back(t);
  std::ranges::reverse(rows);
  return rows;
}

void check_walk(kit::TensorView<const double> p, kit::TensorView<const double> q, std::span<const int> tokens,
                std::span<const int> parents, std::span<const double> uniforms) {
  KIT_CHECK(p.rank() == 2 && q.shape() == p.shape() && std::ssize(tokens) == p.dim(0) &&
                uniforms.size() == tokens.size(),
            "p {}, q {}, {} tokens, {} uniforms do not fit", p.shape().to_string(), q.shape().to_string(),
            tokens.size(), uniforms.size());
  check_tree(parents, p.dim(0));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    KIT_CHECK(uniforms[i] >= 0.0 && uniforms[i] < 1.0, "uniform {} is {}, want [0, 1)", i, uniforms[i]);
    if (i == 0) continue;
    const int token = tokens[i];
    KIT_CHECK(token >= 0 && token < p.dim(1), "node {}: token {} is not in [0, {})", i, token, p.dim(1));
    KIT_CHECK(q(parents[i], token) > 0.0, "node {}: token {} cannot have been drawn, its q is {}", i, token,
              q(parents[i], token));
    for (std::size_t j = 1; j < i; ++j)
      KIT_CHECK(parents[j] != parents[i] || tokens[j] != token,
                "nodes {} and {} are siblings with the token {}", j, i, token);
  }
}

/// Q after its draw of `token`, from which the next sibling was drawn.
void take_out(std::vector<double>& q, int token) {
  q[static_cast<std::size_t>(token)] = 0.0;
  double sum = 0.0;
  for (const double x : q) sum += x;
  if (sum == 0.0) return;  // that was its last token: there is no next sibling
  for (double& x : q) x /= sum;
}

std::vector<double> row_of(kit::TensorView<const double> rows, std::int64_t i) {
  return {rows.row(i).begin(), rows.row(i).end()};
}

}  // namespace

std::vector<int> tree_depths(std::span<const int> parents) {
  check_tree(parents, std::ssize(parents));
  std::vector<int> depths(parents.size());
  for (std::size_t i = 1; i < parents.size(); ++i)
    depths[i] = depths[static_cast<std::size_t>(parents[i])] + 1;
  return depths;
}

void tree_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                    kit::TensorView<const float> v, std::span<const int> parents,
                    kit::TensorView<float> out) {
  const bool fits = q.rank() == 3 && k.rank() == 3 && v.shape() == k.shape() && out.shape() == q.shape() &&
                    k.dim(2) == q.dim(2) && k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0 && k.dim(0) >= q.dim(0);
  KIT_CHECK(fits, "q {}, k {}, v {}, out {} do not fit", q.shape().to_string(), k.shape().to_string(),
            v.shape().to_string(), out.shape().to_string());
  check_tree(parents, q.dim(0));
  const std::int64_t n_heads = q.dim(1);
  const std::int64_t group = n_heads / k.dim(1);
  const std::int64_t work = n_heads * k.dim(0) * q.dim(2);  // multiply-adds of a node
  // Waking a thread for less than some 64 thousand costs more than it saves.
  kit::parallel_for(
      q.dim(0), 65'536 / std::max<std::int64_t>(work, 1) + 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> scores(static_cast<std::size_t>(k.dim(0)));
        for (std::int64_t i = begin; i < end; ++i) {
          const auto visible = visible_rows(parents, static_cast<std::size_t>(i), k.dim(0) - q.dim(0));
          for (std::int64_t h = 0; h < n_heads; ++h)
            attend(q.row(i, h), k, v, h / group, visible, std::span(scores).first(visible.size()),
                   out.row(i, h));
        }
      });
}

void tree_attention_with_cache(int layer, kit::TensorView<const float> q, kit::TensorView<const float> k,
                               kit::TensorView<const float> v, std::span<const int> parents,
                               const kit::Rope& rope, kit::KvCache& cache, kit::TensorView<float> out) {
  KIT_CHECK(q.rank() == 3 && k.rank() == 3 && k.dim(0) == q.dim(0), "q {}, k {} do not fit",
            q.shape().to_string(), k.shape().to_string());
  check_tree(parents, q.dim(0));
  const std::vector<int> depths = tree_depths(parents);
  const int first_pos = cache.length(layer);
  kit::Tensor<float> rotated_q = clone(q);
  kit::Tensor<float> rotated_k = clone(k);
  for (std::size_t i = 0; i < depths.size(); ++i) {
    const int pos = first_pos + depths[i];
    rope.rotate({rotated_q.row(i, 0).data(), {1, q.dim(1), q.dim(2)}}, pos);
    rope.rotate({rotated_k.row(i, 0).data(), {1, k.dim(1), k.dim(2)}}, pos);
  }
  cache.append(layer, rotated_k, v);
  tree_attention(rotated_q, cache.keys(layer), cache.values(layer), parents, out);
}

AcceptedPath accept_tree(kit::TensorView<const double> p, kit::TensorView<const double> q,
                         std::span<const int> tokens, std::span<const int> parents,
                         std::span<const double> uniforms) {
  check_walk(p, q, tokens, parents, uniforms);
  AcceptedPath path;
  std::vector<double> target = row_of(p, 0);
  std::vector<double> draft = row_of(q, 0);
  int node = 0;
  // Nodes come after their parents, so one pass meets the kept child first and then its children.
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    if (parents[i] != node) continue;
    if (uniforms[i] < acceptance_probability(target, draft, tokens[i])) {
      node = static_cast<int>(i);
      path.nodes.push_back(node);
      target = row_of(p, node);
      draft = row_of(q, node);
    } else {
      target = residual_distribution(target, draft);
      take_out(draft, tokens[i]);
    }
  }
  path.token = sample(target, uniforms[0]);
  return path;
}

void keep_path(kit::KvCache& cache, int first_pos, std::span<const int> nodes) {
  KIT_CHECK(first_pos >= 0, "node 0 at position {}", first_pos);
  KIT_CHECK(!nodes.empty() && nodes[0] == 0, "a path of {} nodes does not begin with node 0", nodes.size());
  for (std::size_t j = 1; j < nodes.size(); ++j)
    KIT_CHECK(nodes[j] > nodes[j - 1], "node {} after node {}: a path rises", nodes[j], nodes[j - 1]);
  const kit::KvCacheConfig config = cache.config();
  const auto n = static_cast<std::int64_t>(nodes.size());
  for (int layer = 0; layer < config.n_layers; ++layer)
    KIT_CHECK(first_pos + nodes.back() < cache.length(layer),
              "node {} is not in layer {}, which has {} tokens", nodes.back(), layer, cache.length(layer));
  // Copies first: truncate() forgets in all layers.
  std::vector<kit::Tensor<float>> kept;
  const auto keep = [&](kit::TensorView<const float> rows) {
    kept.emplace_back(kit::Shape{n, config.n_kv_heads, config.head_dim});
    const std::int64_t size = rows.dim(1) * rows.dim(2);
    for (std::int64_t j = 0; j < n; ++j)
      std::copy_n(rows.data() + (first_pos + nodes[static_cast<std::size_t>(j)]) * size, size,
                  kept.back().data() + j * size);
  };
  for (int layer = 0; layer < config.n_layers; ++layer) {
    keep(cache.keys(layer));
    keep(cache.values(layer));
  }
  cache.truncate(first_pos);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::size_t i = 2 * static_cast<std::size_t>(layer);
    cache.append(layer, kept[i], kept[i + 1]);
  }
}

}  // namespace lab06
