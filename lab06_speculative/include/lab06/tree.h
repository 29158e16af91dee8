#pragma once

#include <span>
#include <vector>

#include "kit/kv_cache.h"
#include "kit/rope.h"
#include "kit/tensor.h"

/// Lab 06, task 10 (stretch): drafts that are trees, verified in one forward pass of the target.
///
/// A tree is a list of nodes, one token each. Node 0 is the last token of the context, whose keys and values
/// are not in the cache yet; parents[0] = -1. For all others 0 <= parents[i] < i: a token that might follow
/// its parent's. The children of a node are its siblings' rivals, tried in the order of the list. A chain
/// (parents[i] = i - 1) is an ordinary draft, or a prompt.
///
/// Sources: Miao et al. 2023, "SpecInfer: Accelerating Large Language Model Serving with Tree-based
/// Speculative Inference and Verification", section 4; children without replacement: Chen et al. 2024,
/// "Sequoia: Scalable, Robust, and Hardware-aware Speculative Decoding", and Jeon et al. 2024, "Recursive
/// Speculative Decoding: Accelerating LLM Inference via Sampling Without Replacement". All functions throw
/// kit::Error when `parents` is empty or no tree as above (naming the node), and on shapes that do not fit.
namespace lab06 {

/// Steps from node 0, which has depth 0, to each node: [n_nodes]. A node's position in the text is that of
/// node 0 plus its depth: siblings are candidates for the same position.
std::vector<int> tree_depths(std::span<const int> parents);

/// Attention of all nodes at once. Node i attends to the whole cache (the first cache_len keys), to its
/// ancestors and to itself; to no sibling and no other branch. Scores are scaled by 1 / sqrt(head_dim); query
/// head h reads key/value head h / (n_heads / n_kv_heads).
/// q, out: [n_nodes, n_heads, head_dim], rotated; k, v: [cache_len + n_nodes, n_kv_heads, head_dim], where
/// row cache_len + i is node i's; parents: [n_nodes].
void tree_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                    kit::TensorView<const float> v, std::span<const int> parents, kit::TensorView<float> out);

/// The same for a model's layer, as kit::AttentionOps::attention_with_cache: q and k are not rotated yet.
/// Rotates each node's q and k by its position, cache.length(layer) + depth, appends k and v to the layer in
/// the order of the nodes, and attends. The arguments q and k stay as they are.
/// q, out: [n_nodes, n_heads, head_dim]; k, v: [n_nodes, n_kv_heads, head_dim]; parents: [n_nodes].
void tree_attention_with_cache(int layer, kit::TensorView<const float> q, kit::TensorView<const float> k,
                               kit::TensorView<const float> v, std::span<const int> parents,
                               const kit::Rope& rope, kit::KvCache& cache, kit::TensorView<float> out);

/// What the target keeps of a tree.
struct AcceptedPath {
  std::vector<int> nodes;  ///< from a child of node 0 downwards; empty when no child is kept
  int token = 0;           ///< what follows: sampled from what is left of the target's distribution

  bool operator==(const AcceptedPath&) const = default;
};

/// Walks down from node 0. At a node, P = p[node] and Q = q[node]; for each child i in order, with token x:
///   kept when uniforms[i] < min(1, P[x] / Q[x]): the walk goes on at the child;
///   else P becomes the residual norm(max(0, P - Q)), and Q loses x: Q[x] = 0, renormalised.
/// When no child is kept (or there is none) it ends: the token is sampled from P with uniforms[0], by
/// lab06::sample. Where the children of every node were drawn from its q without replacement, the tokens have
/// exactly the target's distribution; so also at temperature 0 (p one-hot) with any children.
///   p, q: [n_nodes, vocab_size], row i: after node i; a leaf's q is not looked at
///   tokens, parents: [n_nodes]; tokens[0] is not looked at
///   uniforms: [n_nodes], in [0, 1), one a node: the walk uses those of the children it tests, and
///   uniforms[0]
/// Throws kit::Error, too, on a uniform outside [0, 1), a token outside the vocabulary, a child whose token
/// has q = 0 after its parent, and two siblings with the same token (naming the node).
AcceptedPath accept_tree(kit::TensorView<const double> p, kit::TensorView<const double> q,
                         std::span<const int> tokens, std::span<const int> parents,
                         std::span<const double> uniforms);

/// Makes the cache what it would be had only the kept nodes been run: in every layer the entry of nodes[j],
/// at first_pos + nodes[j], moves to first_pos + j, and what is behind is forgotten. first_pos is node 0's
/// position; nodes: node 0, then AcceptedPath::nodes. Keys were rotated by depth, so they fit their new
/// place. Throws kit::Error, the cache unchanged, when first_pos is negative, nodes do not rise strictly from
/// 0 on, or a layer has no such entry.
void keep_path(kit::KvCache& cache, int first_pos, std::span<const int> nodes);

}  // namespace lab06
