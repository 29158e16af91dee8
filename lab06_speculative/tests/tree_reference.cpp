#include "tree_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <ostream>

#include "kit/reference.h"
#include "speculation_reference.h"

namespace lab06_tests {

namespace {

std::vector<double> to_vector(std::span<const double> row) {
  return {row.begin(), row.end()};
}

std::size_t parent_of(std::span<const int> parents, std::size_t node) {
  return static_cast<std::size_t>(parents[node]);
}

bool is_ancestor(std::span<const int> parents, int ancestor, int node) {
  while (node >= 0 && node != ancestor) node = parents[static_cast<std::size_t>(node)];
  return node == ancestor;
}

bool sees(std::span<const int> parents, int i, int j, TreeMask mask) {
  const int parent = parents[static_cast<std::size_t>(i)];
  switch (mask) {
    case TreeMask::kIndex:
      return j <= i;
    case TreeMask::kSiblings:
      return is_ancestor(parents, j, i) || (parent >= 0 && parents[static_cast<std::size_t>(j)] == parent);
    case TreeMask::kParentOnly:
      return j == i || j == parent;
    case TreeMask::kNotItself:
      return j != i && is_ancestor(parents, j, i);
    case TreeMask::kAll:
      return true;
    default:
      return is_ancestor(parents, j, i);
  }
}

std::vector<double> random_distribution(int vocab_size, double zero_rate, kit::Rng& rng) {
  std::vector<double> p(static_cast<std::size_t>(vocab_size));
  for (double& x : p) x = rng.uniform() < zero_rate ? 0.0 : std::exp(1.2 * rng.normal());
  if (std::ranges::all_of(p, [](double x) { return x == 0.0; })) p[0] = 1.0;
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

/// q without `token`, renormalised.
std::vector<double> without(std::vector<double> q, int token) {
  q[static_cast<std::size_t>(token)] = 0.0;
  const double sum = std::accumulate(q.begin(), q.end(), 0.0);
  if (sum > 0.0)
    for (double& x : q) x /= sum;
  return q;
}

/// Tokens on the way from node 0, itself excepted, to a node.
std::vector<int> path_tokens(std::span<const int> tokens, std::span<const int> parents, std::size_t node) {
  std::vector<int> path;
  for (; node != 0; node = parent_of(parents, node)) path.insert(path.begin(), tokens[node]);
  return path;
}

}  // namespace

std::vector<int> random_tree(int n_nodes, kit::Rng& rng, int max_children) {
  std::vector<int> parents = {-1};
  while (std::ssize(parents) < n_nodes) {
    const int parent = static_cast<int>(rng.below(static_cast<std::uint32_t>(parents.size())));
    if (std::ranges::count(parents, parent) < max_children) parents.push_back(parent);
  }
  return parents;
}

kit::Tensor<float> reference_tree_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                                            kit::TensorView<const float> v, std::span<const int> parents,
                                            TreeMask mask) {
  const auto n = static_cast<int>(q.dim(0));
  const std::int64_t head_dim = q.dim(2);
  const std::int64_t cache_len = k.dim(0) - n;
  const double scale = mask == TreeMask::kNoScale ? 1.0 : 1.0 / std::sqrt(static_cast<double>(head_dim));
  kit::Tensor<float> out(q.shape());
  for (int i = 0; i < n; ++i) {
    std::vector<std::int64_t> rows;
    for (std::int64_t t = 0; t < cache_len && mask != TreeMask::kNoCache; ++t) rows.push_back(t);
    for (int j = 0; j < n; ++j)
      if (sees(parents, i, j, mask)) rows.push_back(cache_len + j);
    for (std::int64_t h = 0; h < q.dim(1); ++h) {
      const std::int64_t kv_head = h / (q.dim(1) / k.dim(1));
      std::vector<double> weights;
      double sum = 0.0;
      for (const std::int64_t row : rows) {
        double score = 0.0;
        for (std::int64_t d = 0; d < head_dim; ++d) score += double{q(i, h, d)} * k(row, kv_head, d);
        weights.push_back(std::exp(score * scale));  // of a few tens at most: no overflow in double
        sum += weights.back();
      }
      for (std::int64_t d = 0; d < head_dim; ++d) {
        double total = 0.0;
        for (std::size_t t = 0; t < rows.size(); ++t) total += weights[t] * v(rows[t], kv_head, d);
        out(i, h, d) = rows.empty() ? 0.0F : static_cast<float>(total / sum);
      }
    }
  }
  return out;
}

kit::Tensor<double> rows_of(const std::vector<std::vector<double>>& rows) {
  kit::Tensor<double> all({std::ssize(rows), std::ssize(rows.at(0))});
  for (std::size_t i = 0; i < rows.size(); ++i) std::ranges::copy(rows[i], all.row(i).begin());
  return all;
}

Walk random_walk(const std::vector<int>& parents, int vocab_size, kit::Rng& rng) {
  std::vector<std::vector<double>> p;
  std::vector<std::vector<double>> q;
  std::vector<std::vector<double>> left;  // of q, once the children so far are drawn
  std::vector<int> tokens;
  for (std::size_t i = 0; i < parents.size(); ++i) {
    q.push_back(random_distribution(vocab_size, 0.0, rng));
    p.push_back(rng.below(5) == 0 ? q.back() : random_distribution(vocab_size, 0.25, rng));
    left.push_back(q.back());
    tokens.push_back(0);
    if (i == 0) continue;
    std::vector<double>& rest = left[parent_of(parents, i)];
    tokens[i] = reference_sample(rest, rng.uniform());
    rest = without(rest, tokens[i]);
  }
  return {rows_of(p), rows_of(q), tokens, parents};
}

const std::vector<std::pair<WalkMistake, std::string>>& walk_mistakes() {
  static const std::vector<std::pair<WalkMistake, std::string>> all = {
      {WalkMistake::kSiblingsTestedWithP,
       "siblings tested against p again, and a token sampled from it: after a rejection the residual takes "
       "p's place"},
      // Zeroing the token without the division comes to the same: its P is 0 after the rejection.
      {WalkMistake::kDraftUnchanged,
       "a q that stays as it was, as if children were drawn with replacement: it loses the rejected "
       "sibling's "
       "token, and the rest is renormalised"},
      {WalkMistake::kTokenFromP,
       "a token sampled from p when no child is kept: what is left is the residual"},
      {WalkMistake::kFirstChildOnly, "a walk that ends when the first child is rejected"},
      {WalkMistake::kAcceptsWithP, "children kept with probability P[x] instead of min(1, P[x] / Q[x])"},
      {WalkMistake::kOnlyWhereLarger, "children kept only where P[x] >= Q[x]"}};
  return all;
}

lab06::AcceptedPath reference_walk(const Walk& walk, std::span<const double> uniforms, WalkMistake mistake) {
  using enum WalkMistake;
  lab06::AcceptedPath result;
  for (std::size_t node = 0;;) {
    const std::vector<double> p = to_vector(walk.p.row(node));
    std::vector<double> target = p;
    std::vector<double> draft = to_vector(walk.q.row(node));
    std::size_t kept = 0;
    for (std::size_t i = node + 1; i < walk.parents.size() && kept == 0; ++i) {
      if (parent_of(walk.parents, i) != node) continue;
      const auto x = static_cast<std::size_t>(walk.tokens[i]);
      bool keeps = uniforms[i] < reference_acceptance(target, draft, walk.tokens[i]);
      if (mistake == kAcceptsWithP) keeps = uniforms[i] < target[x];
      if (mistake == kOnlyWhereLarger) keeps = target[x] >= draft[x];
      if (keeps) {
        kept = i;
        break;
      }
      if (mistake != kSiblingsTestedWithP) target = reference_residual(target, draft);
      if (mistake != kDraftUnchanged) draft = without(draft, walk.tokens[i]);
      if (mistake == kFirstChildOnly) break;
    }
    if (kept == 0) {
      result.token = reference_sample(mistake == kTokenFromP ? p : target, uniforms[0]);
      return result;
    }
    result.nodes.push_back(static_cast<int>(kept));
    node = kept;
  }
}

History random_history(int vocab_size, kit::Rng& rng) {
  History history;
  history.vocab_size = vocab_size;
  for (int i = 0; i < 64; ++i) {
    // Even rows are for p, odd ones for q, which needs all tokens: siblings are different.
    history.table.push_back(random_distribution(vocab_size, i % 2 == 0 ? 0.15 : 0.0, rng));
  }
  return history;
}

std::vector<double> History::row(const std::vector<int>& tokens, std::size_t which) const {
  std::size_t hash = 1;
  for (const int token : tokens) hash = (hash * 7 + static_cast<std::size_t>(token) + 1) % 31;
  return table[2 * hash + which];
}

void for_each_drafted_tree(const History& history, const std::vector<int>& parents,
                           const std::function<void(const Walk& walk, double probability)>& visit) {
  std::vector<int> tokens(parents.size(), 0);
  const std::function<void(std::size_t, double)> choose = [&](std::size_t node, double probability) {
    if (node == parents.size()) {
      std::vector<std::vector<double>> p;
      std::vector<std::vector<double>> q;
      for (std::size_t i = 0; i < parents.size(); ++i) {
        p.push_back(history.p(path_tokens(tokens, parents, i)));
        q.push_back(history.q(path_tokens(tokens, parents, i)));
      }
      visit({rows_of(p), rows_of(q), tokens, parents}, probability);
      return;
    }
    const std::size_t parent = parent_of(parents, node);
    std::vector<double> left = history.q(path_tokens(tokens, parents, parent));
    for (std::size_t i = 1; i < node; ++i)
      if (parents[i] == parents[node]) left = without(left, tokens[i]);
    for (int token = 0; token < history.vocab_size; ++token) {
      const double share = left[static_cast<std::size_t>(token)];
      if (share == 0.0) continue;
      tokens[node] = token;
      choose(node + 1, probability * share);
    }
  };
  choose(1, 1.0);
}

namespace {

/// One uniform's part of a cell.
struct Interval {
  double low = 0.0;
  double high = 1.0;
};

class Cells {
 public:
  using Visit = std::function<void(const std::vector<double>&, const std::vector<double>&, double)>;
  Cells(const Walk& walk, const Visit& visit)
      : walk_(&walk), visit_(&visit), low_(walk.tokens.size(), 0.5), high_(low_) {}

  /// The walk is at `node`; of its children those up to `tested` were rejected.
  void go(std::size_t node, std::size_t tested, std::vector<double> target, const std::vector<double>& draft,
          double share) {
    std::size_t child = tested + 1;
    while (child < walk_->parents.size() && parent_of(walk_->parents, child) != node) ++child;
    if (child == walk_->parents.size()) return end(target, share);
    const int token = walk_->tokens[child];
    const double threshold = reference_acceptance(target, draft, token);
    with(child, {0.0, threshold}, share, [&](double part) {
      go(child, child, to_vector(walk_->p.row(child)), to_vector(walk_->q.row(child)), part);
    });
    with(child, {threshold, 1.0}, share, [&](double part) {
      go(node, child, reference_residual(target, draft), without(draft, token), part);
    });
  }

 private:
  void end(const std::vector<double>& target, double share) {
    double sum = 0.0;
    for (const double x : target) {
      with(0, {sum, sum + x}, share, [&](double part) { (*visit_)(low_, high_, part); });
      sum += x;
    }
  }

  template <class Next>
  void with(std::size_t node, Interval interval, double share, const Next& next) {
    const double length = interval.high - interval.low;
    if (length < 1e-14) return;
    // A little inside, where rounding cannot reach; a short interval has its middle alone.
    const double margin = std::min(1e-9, length / 2);
    low_[node] = std::max(interval.low + margin, 0.0);
    high_[node] = std::max(interval.high - margin, 0.0);
    next(share * length);
    low_[node] = high_[node] = 0.5;
  }

  const Walk* walk_;
  const Visit* visit_;
  std::vector<double> low_;
  std::vector<double> high_;
};

}  // namespace

void for_each_cell(const Walk& walk,
                   const std::function<void(const std::vector<double>& low, const std::vector<double>& high,
                                            double share)>& visit) {
  Cells(walk, visit).go(0, 0, to_vector(walk.p.row(0)), to_vector(walk.q.row(0)), 1.0);
}

bool is_possible(const Walk& walk, const lab06::AcceptedPath& result) {
  std::size_t at = 0;
  for (const int node : result.nodes) {
    if (node <= 0 || node >= std::ssize(walk.parents)) return false;
    if (parent_of(walk.parents, static_cast<std::size_t>(node)) != at) return false;
    at = static_cast<std::size_t>(node);
  }
  return result.token >= 0 && result.token < walk.p.dim(1);
}

void add_two_tokens(const History& history, const Walk& walk, const lab06::AcceptedPath& result,
                    double probability, std::map<std::pair<int, int>, double>& emitted) {
  std::vector<int> tokens;
  for (const int node : result.nodes) tokens.push_back(walk.tokens.at(static_cast<std::size_t>(node)));
  tokens.push_back(result.token);
  if (tokens.size() >= 2) {
    emitted[{tokens[0], tokens[1]}] += probability;
    return;
  }
  const std::vector<double> next = history.p(tokens);
  for (int second = 0; second < history.vocab_size; ++second)
    emitted[{tokens[0], second}] += probability * next[static_cast<std::size_t>(second)];
}

DraftedTree best_candidates(kit::Model& draft, const std::vector<int>& context,
                            const std::vector<int>& widths) {
  std::vector<std::vector<double>> q;
  DraftedTree tree{.tokens = {context.back()}, .parents = {-1}, .q = {}};
  std::vector<std::size_t> depths = {0};
  for (std::size_t node = 0; node < tree.tokens.size(); ++node) {
    std::vector<int> text = context;
    const std::vector<int> path = path_tokens(tree.tokens, tree.parents, node);
    text.insert(text.end(), path.begin(), path.end());
    const kit::Tensor<float> logits = draft.forward(text);
    q.push_back(reference_distribution(logits.span(), {1.0, 0, 1.0}));
    if (depths[node] >= widths.size()) continue;
    std::vector<int> order(q.back().size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::ranges::greater(),
                             [&](int token) { return q.back()[static_cast<std::size_t>(token)]; });
    for (int i = 0; i < widths[depths[node]]; ++i) {
      tree.tokens.push_back(order[static_cast<std::size_t>(i)]);
      tree.parents.push_back(static_cast<int>(node));
      depths.push_back(depths[node] + 1);
    }
  }
  tree.q = rows_of(q);
  return tree;
}

}  // namespace lab06_tests

namespace lab06 {

// NOLINTNEXTLINE(readability-identifier-naming)
void PrintTo(const AcceptedPath& path, std::ostream* out) {
  *out << "nodes";
  for (const int node : path.nodes) *out << ' ' << node;
  *out << ", token " << path.token;
}

}  // namespace lab06
