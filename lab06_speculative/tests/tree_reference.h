#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kit/model.h"
#include "kit/rng.h"
#include "kit/tensor.h"
#include "lab06/tree.h"

/// Drafts that are trees: definitions in double, the classic mistakes beside them, and all outcomes of a
/// walk.
namespace lab06_tests {

/// parents[0] = -1, all others at random; no node has more than max_children.
std::vector<int> random_tree(int n_nodes, kit::Rng& rng, int max_children = 4);

enum class TreeMask { kRight, kIndex, kSiblings, kParentOnly, kNotItself, kNoCache, kAll, kNoScale };

/// Arguments as lab06::tree_attention, which must be right. A node that sees nothing gets zeros.
kit::Tensor<float> reference_tree_attention(kit::TensorView<const float> q, kit::TensorView<const float> k,
                                            kit::TensorView<const float> v, std::span<const int> parents,
                                            TreeMask mask);

/// Rows of the same length as a tensor.
kit::Tensor<double> rows_of(const std::vector<std::vector<double>>& rows);

/// The arguments of accept_tree but for the uniforms.
struct Walk {
  kit::Tensor<double> p, q;  // [n_nodes, vocab_size]
  std::vector<int> tokens, parents;
};
/// Random p and q, some probabilities 0, children drawn from q without replacement.
Walk random_walk(const std::vector<int>& parents, int vocab_size, kit::Rng& rng);

enum class WalkMistake {
  kNone,
  kSiblingsTestedWithP,
  kDraftUnchanged,
  kTokenFromP,
  kFirstChildOnly,
  kAcceptsWithP,
  kOnlyWhereLarger,
};
/// All but kNone, and what each is: completes "the results match ...".
const std::vector<std::pair<WalkMistake, std::string>>& walk_mistakes();

/// What accept_tree must return.
lab06::AcceptedPath reference_walk(const Walk& walk, std::span<const double> uniforms,
                                   WalkMistake mistake = WalkMistake::kNone);

/// Distributions that depend on all tokens before, of two models.
struct History {
  int vocab_size = 0;
  std::vector<std::vector<double>> table;  // random distributions

  std::vector<double> p(const std::vector<int>& tokens) const { return row(tokens, 0); }
  std::vector<double> q(const std::vector<int>& tokens) const { return row(tokens, 1); }

 private:
  std::vector<double> row(const std::vector<int>& tokens, std::size_t which) const;
};
History random_history(int vocab_size, kit::Rng& rng);

/// Every tree of this shape that the draft may propose, children drawn without replacement; visit gets its
/// probability, too.
void for_each_drafted_tree(const History& history, const std::vector<int>& parents,
                           const std::function<void(const Walk& walk, double probability)>& visit);

/// The cells of the uniforms' cube in which the result is the same: visit gets two corners, a little inside,
/// and the cell's volume. Uniforms that have no influence are 0.5.
void for_each_cell(const Walk& walk,
                   const std::function<void(const std::vector<double>& low, const std::vector<double>& high,
                                            double share)>& visit);

/// Whether nodes and token are numbers that can be: nodes on a path of the tree, a token of the vocabulary.
bool is_possible(const Walk& walk, const lab06::AcceptedPath& result);
/// Adds to `emitted` what a result makes of the first two tokens; where it has one alone, the target goes on.
void add_two_tokens(const History& history, const Walk& walk, const lab06::AcceptedPath& result,
                    double probability, std::map<std::pair<int, int>, double>& emitted);

/// A greedy draft that is a tree: at depth d the widths[d] likeliest tokens of the draft model follow each
/// node.
struct DraftedTree {
  std::vector<int> tokens, parents;  // node 0 is the context's last token
  kit::Tensor<double> q;             // [n_nodes, vocab_size]
};
DraftedTree best_candidates(kit::Model& draft, const std::vector<int>& context,
                            const std::vector<int>& widths);

}  // namespace lab06_tests

namespace lab06 {
// NOLINTNEXTLINE(readability-identifier-naming)
void PrintTo(const AcceptedPath& path, std::ostream* out);
}  // namespace lab06
