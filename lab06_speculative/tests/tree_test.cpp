#include "lab06/tree.h"

#include <gtest/gtest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "kit/reference.h"
#include "kit/sampling.h"
#include "kit/testing.h"
#include "speculation_reference.h"
#include "tiny_llama.h"
#include "tree_reference.h"

namespace {

using kit::KnownMistake;
using kit::Shape;
using kit::Tensor;
using kit::TensorView;
using kit::testing::make_rng;
using kit::testing::matches;
using kit::testing::nan_tensor;
using kit::testing::random_tensor;
using kit::testing::throws_error;
using lab06::accept_tree;
using lab06::AcceptedPath;
using lab06::keep_path;
using lab06::tree_attention;
using lab06::tree_attention_with_cache;
using lab06::tree_depths;
using lab06_tests::random_tokens;
using lab06_tests::random_tree;
using lab06_tests::tiny_llama;
using lab06_tests::TinyLlama;
using lab06_tests::TreeMask;
using lab06_tests::WalkMistake;
using Ints = std::vector<int>;

const Ints kTwoByTwo = {-1, 0, 0, 1, 1, 2, 2};

// Attention
// --------------------------------------------------------------------------------------------------

// A weighted mean of N(0, 1) values in float, up to 1000 of them: 2^-24 an addition with random signs, and
// scores of size 3 whose rounding the exponential passes on: 1e-6 or so. A wrong key moves it by 1e-2 and
// more.
constexpr kit::Tolerance kAttention{.absolute = 2e-5, .relative = 0.0};

void check_attention(const Ints& parents, int cache_len, int n_heads, int n_kv_heads, int head_dim,
                     kit::Rng& rng) {
  const auto n = std::ssize(parents);
  const Tensor<float> q = random_tensor({n, n_heads, head_dim}, rng);
  const Tensor<float> k = random_tensor({cache_len + n, n_kv_heads, head_dim}, rng);
  const Tensor<float> v = random_tensor({cache_len + n, n_kv_heads, head_dim}, rng);
  Tensor<float> out = nan_tensor(q.shape());
  tree_attention(q, k, v, parents, out);
  const auto with = [&](TreeMask mask) {
    return lab06_tests::reference_tree_attention(q, k, v, parents, mask);
  };
  std::vector<KnownMistake> mistakes;
  mistakes.push_back({"a mask by index: every node before is seen, siblings and other branches too",
                      with(TreeMask::kIndex)});
  mistakes.push_back({"siblings that see each other", with(TreeMask::kSiblings)});
  mistakes.push_back({"nodes that see no ancestor but their parent", with(TreeMask::kParentOnly)});
  mistakes.push_back({"nodes that do not see themselves", with(TreeMask::kNotItself)});
  mistakes.push_back({"nodes that do not see the cache", with(TreeMask::kNoCache)});
  mistakes.push_back({"all nodes seeing all nodes", with(TreeMask::kAll)});
  mistakes.push_back({"scores without 1 / sqrt(head_dim)", with(TreeMask::kNoScale)});
  ASSERT_TRUE(matches(out, with(TreeMask::kRight), kAttention, mistakes))
      << fmt::format("parents {}, {} tokens in the cache", parents, cache_len);
}

TEST(TreeAttention, BranchesDoNotSeeEachOther) {
  kit::Rng rng = make_rng(1000);
  for (const int cache_len : {0, 1, 33}) check_attention(kTwoByTwo, cache_len, 4, 2, 8, rng);
}

TEST(TreeAttention, RandomTreesAndSizes) {
  kit::Rng rng = make_rng(1001);
  for (const int n : {1, 2, 13, 31, 33, 64}) {
    const Ints parents = random_tree(n, rng);
    check_attention(parents, static_cast<int>(rng.below(40)), 6, 2, 10, rng);
    check_attention(parents, static_cast<int>(rng.below(40)), 3, 3, 7, rng);
    check_attention(parents, static_cast<int>(rng.below(40)), 5, 1, 16, rng);
  }
  check_attention(random_tree(9, rng), 1000, 2, 1, 8, rng);
}

TEST(TreeAttention, ChainIsCausalAttention) {
  kit::Rng rng = make_rng(1002);
  Ints chain(17);
  std::iota(chain.begin(), chain.end(), -1);
  const Tensor<float> q = random_tensor({17, 4, 8}, rng);
  const Tensor<float> k = random_tensor({40, 2, 8}, rng);
  const Tensor<float> v = random_tensor({40, 2, 8}, rng);
  Tensor<float> expected(q.shape());
  kit::reference_attention(q, k, v, expected);
  Tensor<float> out = nan_tensor(q.shape());
  tree_attention(q, k, v, chain, out);
  EXPECT_TRUE(matches(out, expected, kAttention));
}

TEST(TreeAttention, RejectsWhatIsNoTree) {
  kit::Rng rng = make_rng(1003);
  const Tensor<float> q = random_tensor({3, 4, 8}, rng);
  const Tensor<float> k = random_tensor({5, 2, 8}, rng);
  Tensor<float> out({3, 4, 8});
  const auto run = [&](const Ints& parents) {
    return [&, parents] { tree_attention(q, k, k, parents, out); };
  };
  EXPECT_TRUE(throws_error(run({-1, 0})));
  EXPECT_TRUE(throws_error(run({0, 0, 0}), "0"));
  EXPECT_TRUE(throws_error(run({-1, 0, 2}), "node 2"));
  EXPECT_TRUE(throws_error(run({-1, -1, 0}), "node 1"));
  EXPECT_TRUE(throws_error(run({-1, 2, 0}), "node 1"));
  EXPECT_TRUE(throws_error([&] {
    tree_attention(q, Tensor<float>({2, 2, 8}), Tensor<float>({2, 2, 8}), Ints{-1, 0, 0}, out);
  })) << "fewer keys than nodes";
  EXPECT_TRUE(throws_error([&] { tree_attention(q, k, Tensor<float>({4, 2, 8}), Ints{-1, 0, 0}, out); }));
  EXPECT_TRUE(throws_error([&] {
    tree_attention(q, Tensor<float>({5, 3, 8}), Tensor<float>({5, 3, 8}), Ints{-1, 0, 0}, out);
  })) << "4 heads over 3";
}

TEST(TreeDepths, StepsFromTheRoot) {
  EXPECT_EQ(tree_depths(Ints{-1}), Ints{0});
  EXPECT_EQ(tree_depths(kTwoByTwo), (Ints{0, 1, 1, 2, 2, 2, 2}));
  EXPECT_EQ(tree_depths(Ints{-1, 0, 1, 0, 2, 3, 5, 1}), (Ints{0, 1, 2, 1, 3, 2, 3, 2}));
  EXPECT_TRUE(throws_error([] { (void)tree_depths({}); }));
  EXPECT_TRUE(throws_error([] { (void)tree_depths(Ints{-1, 1}); }, "node 1"));
}

TEST(TreeAttentionWithCache, RotatesByDepth) {
  kit::Rng rng = make_rng(1010);
  constexpr int n_cached = 11;
  const kit::Rope rope(8, 64, 10000.0F);
  const kit::KvCacheConfig config = {.n_layers = 2, .n_kv_heads = 2, .head_dim = 8, .max_len = 64};
  for (const Ints& parents : {kTwoByTwo, Ints{-1, 0, 1, 0, 2, 3, 5, 1, 1}}) {
    const auto n = std::ssize(parents);
    const Tensor<float> q = random_tensor({n, 4, 8}, rng);
    const Tensor<float> k = random_tensor({n, 2, 8}, rng);
    const Tensor<float> v = random_tensor({n, 2, 8}, rng);
    const auto cache = kit::make_reference_kv_cache(config);
    const Tensor<float> old_k = random_tensor({n_cached, 2, 8}, rng);
    const Tensor<float> old_v = random_tensor({n_cached, 2, 8}, rng);
    cache->append(1, old_k, old_v);
    Tensor<float> out = nan_tensor(q.shape());
    const Tensor<float> q_before = clone(q.view());
    tree_attention_with_cache(1, q, k, v, parents, rope, *cache, out);
    ASSERT_EQ(cache->length(1), n_cached + n);
    ASSERT_EQ(cache->length(0), 0) << "the other layer is not concerned";
    EXPECT_TRUE(matches(q, q_before, {})) << "q must stay as it is";

    // What the positions could be.
    const auto attend = [&](auto position_of) {
      Tensor<float> all_k({n_cached + n, 2, 8});
      std::ranges::copy(old_k.span(), all_k.data());
      std::ranges::copy(k.span(), all_k.row(n_cached, 0).data());
      Tensor<float> all_v({n_cached + n, 2, 8});
      std::ranges::copy(old_v.span(), all_v.data());
      std::ranges::copy(v.span(), all_v.row(n_cached, 0).data());
      Tensor<float> rotated_q = clone(q.view());
      for (std::int64_t i = 0; i < n; ++i) {
        const int pos = position_of(static_cast<int>(i));
        rope.rotate({rotated_q.row(i, 0).data(), {1, 4, 8}}, pos);
        rope.rotate({all_k.row(n_cached + i, 0).data(), {1, 2, 8}}, pos);
      }
      return std::pair(
          lab06_tests::reference_tree_attention(rotated_q, all_k, all_v, parents, TreeMask::kRight),
          std::move(all_k));
    };
    Ints depths(parents.size(), 0);
    for (std::size_t i = 1; i < parents.size(); ++i)
      depths[i] = depths[static_cast<std::size_t>(parents[i])] + 1;
    const auto depth = [&](int i) { return depths[static_cast<std::size_t>(i)]; };
    const auto [expected, expected_k] = attend([&](int i) { return n_cached + depth(i); });
    std::vector<KnownMistake> mistakes;
    mistakes.push_back({"positions by index; siblings share the position of their depth",
                        attend([](int i) { return n_cached + i; }).first});
    mistakes.push_back({"one position for all nodes", attend([](int) { return int{n_cached}; }).first});
    mistakes.push_back({"positions that begin at 0; they follow the cache", attend(depth).first});
    mistakes.push_back({"keys and queries that are not rotated", attend([](int) { return 0; }).first});
    ASSERT_TRUE(matches(out, expected, kAttention, mistakes));
    // The next round reads what this one left in the cache. One rotation of numbers of size 1: 2^-23.
    EXPECT_TRUE(matches(cache->keys(1), expected_k, {.absolute = 1e-6, .relative = 0.0}))
        << "keys in the cache";
    EXPECT_EQ(
        std::ranges::mismatch(cache->values(1).span().last(static_cast<std::size_t>(n * 16)), v.span()).in2,
        v.span().end())
        << "values in the cache";
  }
}

/// Attention of a model that runs trees: what is in `parents` when a layer's turn comes.
kit::AttentionOps tree_ops(const Ints& parents) {
  kit::AttentionOps ops = kit::gathered_attention_ops();
  ops.attention_with_cache = [&parents](int layer, TensorView<const float> q, TensorView<const float> k,
                                        TensorView<const float> v, const kit::Rope& rope, kit::KvCache& cache,
                                        TensorView<float> out) {
    tree_attention_with_cache(layer, q, k, v, parents, rope, cache, out);
  };
  return ops;
}

// Float attention summed in another order: 1e-6 a layer, carried on by two layers and the head. Another
// ancestor or position moves logits by 0.1.
constexpr kit::Tolerance kLogits{.absolute = 2e-4, .relative = 0.0};

TEST(TreeModel, EveryNodeHasTheLogitsOfItsPath) {
  const TinyLlama llama = tiny_llama(1020);
  kit::Rng rng = make_rng(1021);
  Ints parents;
  const auto tree_model = kit::make_llama(llama.config, llama.weights, tree_ops(parents));
  const auto plain = llama.model();
  for (const int n_context : {1, 20}) {
    const Ints context = random_tokens(n_context, llama.config, rng);
    const auto cache = kit::make_reference_kv_cache(llama.config.kv_cache_config(80));
    // A prompt is a chain. Its last token is node 0 of the tree.
    parents.resize(context.size() - 1);
    std::iota(parents.begin(), parents.end(), -1);
    if (n_context > 1) (void)tree_model->forward(std::span(context).first(parents.size()), *cache);
    parents = random_tree(23, rng);
    Ints tokens = random_tokens(23, llama.config, rng);
    tokens[0] = context.back();
    tree_model->reset_stats();
    const Tensor<float> logits = tree_model->forward(tokens, *cache, kit::Logits::kAll);
    ASSERT_EQ(tree_model->calls().size(), 1U) << "one forward pass for the whole tree";
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      Ints path;
      for (int node = static_cast<int>(i); node > 0; node = parents[static_cast<std::size_t>(node)])
        path.insert(path.begin(), tokens[static_cast<std::size_t>(node)]);
      Ints text = context;
      text.insert(text.end(), path.begin(), path.end());
      ASSERT_TRUE(matches({logits.row(i).data(), {1, logits.dim(1)}}, plain->forward(text), kLogits))
          << "node " << i << ", at depth " << path.size();
    }
  }
}

TEST(TreeModel, GreedyTreesWriteWhatTheTargetWrites) {
  const TinyLlama target = tiny_llama(1030);
  const auto draft = noisy_copy(target, 0.4F, 1031).model();
  const auto plain = target.model();
  Ints parents;
  const auto model = kit::make_llama(target.config, target.weights, tree_ops(parents));
  kit::Rng rng = make_rng(1032);
  Ints text = random_tokens(6, target.config, rng);
  const auto cache = kit::make_reference_kv_cache(target.config.kv_cache_config(80));
  parents = {-1, 0, 1, 2, 3};
  (void)model->forward(std::span(text).first(5), *cache);
  model->reset_stats();
  std::size_t n_rounds = 0;
  for (; text.size() < 50; ++n_rounds) {
    const lab06_tests::DraftedTree tree = lab06_tests::best_candidates(*draft, text, {3, 2, 1});
    parents = tree.parents;
    const int first_pos = cache->length(0);
    ASSERT_EQ(first_pos, static_cast<int>(text.size()) - 1);
    const Tensor<float> logits = model->forward(tree.tokens, *cache, kit::Logits::kAll);
    Tensor<double> p(tree.q.shape());
    for (std::int64_t i = 0; i < p.dim(0); ++i)
      std::ranges::copy(lab06_tests::reference_distribution(logits.row(i), {0.0, 0, 1.0}), p.row(i).begin());
    const std::vector<double> uniforms(parents.size(), 0.0);
    const AcceptedPath path = accept_tree(p, tree.q, tree.tokens, parents, uniforms);
    Ints kept = {0};
    Ints written;
    for (const int node : path.nodes) {
      ASSERT_TRUE(node > kept.back() && node < std::ssize(tree.tokens));
      kept.push_back(node);
      written.push_back(tree.tokens[static_cast<std::size_t>(node)]);
    }
    written.push_back(path.token);
    keep_path(*cache, first_pos, kept);
    for (const int token : written) {
      const Tensor<float> expected = plain->forward(text);
      const auto best = std::ranges::max_element(expected.span()) - expected.span().begin();
      if (token != best) {
        // Two logits as near as rounding: either may win, and the texts go different ways.
        ASSERT_TRUE(token >= 0 && token < target.config.vocab_size);
        ASSERT_LT(expected(0, best) - expected(0, token), 1e-3) << "after " << text.size() << " tokens";
        return;
      }
      text.push_back(token);
    }
  }
  EXPECT_EQ(model->calls().size(), n_rounds) << "one forward pass of the target a tree";
  EXPECT_LT(n_rounds, 44U) << "fewer forward passes than tokens";
}

// Acceptance
// -------------------------------------------------------------------------------------------------

/// The mistakes that explain everything that was seen.
class Suspects {
 public:
  /// Whether the result is right.
  bool see(const lab06_tests::Walk& walk, const std::vector<double>& uniforms, const AcceptedPath& got) {
    std::erase_if(left_, [&](const auto& mistake) {
      return lab06_tests::reference_walk(walk, uniforms, mistake.first) != got;
    });
    return got == lab06_tests::reference_walk(walk, uniforms);
  }
  std::string likely_cause() const {
    return left_.empty() ? "" : ". Likely cause: the results match " + left_.front().second;
  }

 private:
  std::vector<std::pair<WalkMistake, std::string>> left_ = lab06_tests::walk_mistakes();
};

TEST(AcceptTree, ByHand) {
  // One child that p and q like as much is always kept, and the token behind it is the target's.
  const Tensor<double> p = lab06_tests::rows_of({{0.5, 0.25, 0.25}, {0.0, 0.0, 1.0}});
  const Tensor<double> q = lab06_tests::rows_of({{0.5, 0.5, 0.0}, {1.0, 0.0, 0.0}});
  EXPECT_EQ(accept_tree(p, q, Ints{0, 0}, Ints{-1, 0}, std::vector{0.3, 0.999}), (AcceptedPath{{1}, 2}));
  // Token 1 has p / q = 1/2; what is left without it is all on token 2.
  EXPECT_EQ(accept_tree(p, q, Ints{0, 1}, Ints{-1, 0}, std::vector{0.3, 0.49}), (AcceptedPath{{1}, 2}));
  EXPECT_EQ(accept_tree(p, q, Ints{0, 1}, Ints{-1, 0}, std::vector{0.3, 0.51}), (AcceptedPath{{}, 2}));
  // A tree without children is plain sampling.
  EXPECT_EQ(accept_tree(p, q, Ints{0, 0}, Ints{-1, 0}, std::vector{0.3, 0.0}).nodes, Ints{1});
  const Tensor<double> root = lab06_tests::rows_of({{0.5, 0.25, 0.25}});
  EXPECT_EQ(accept_tree(root, root, Ints{0}, Ints{-1}, std::vector{0.6}), (AcceptedPath{{}, 1}));
}

TEST(AcceptTree, RandomTreesMatchTheDefinition) {
  kit::Rng rng = make_rng(1040);
  Suspects suspects;
  std::string first_wrong;
  for (int i = 0; i < 60; ++i) {
    const int vocab_size = 3 + static_cast<int>(rng.below(30));
    const Ints parents = random_tree(1 + static_cast<int>(rng.below(20)), rng, vocab_size - 1);
    const lab06_tests::Walk walk = lab06_tests::random_walk(parents, vocab_size, rng);
    for (int j = 0; j < 12; ++j) {
      std::vector<double> uniforms(parents.size());
      for (double& u : uniforms) u = rng.uniform();
      const AcceptedPath got = accept_tree(walk.p, walk.q, walk.tokens, walk.parents, uniforms);
      if (suspects.see(walk, uniforms, got) || !first_wrong.empty()) continue;
      first_wrong = fmt::format("parents {}, tokens {}: got nodes {} and token {}", parents, walk.tokens,
                                got.nodes, got.token);
    }
  }
  EXPECT_TRUE(first_wrong.empty()) << first_wrong << suspects.likely_cause();
}

TEST(AcceptTree, ExactByEnumeration) {
  // Every tree that the draft may propose, with its probability, and every result of accept_tree, with the
  // length of the uniforms that lead to it: the first two tokens have exactly the target's distribution.
  kit::Rng rng = make_rng(1050);
  struct Case {
    int vocab_size;
    Ints parents;
  };
  for (const auto& [vocab_size, parents] : {Case{3, {-1, 0, 1}}, Case{4, {-1, 0, 0, 0}},
                                            Case{3, {-1, 0, 0, 1, 1}}, Case{2, {-1, 0, 0, 1, 2, 2}}}) {
    const lab06_tests::History history = lab06_tests::random_history(vocab_size, rng);
    std::map<std::pair<int, int>, double> emitted;
    Suspects suspects;
    std::string first_wrong;
    bool is_usable = true;
    lab06_tests::for_each_drafted_tree(
        history, parents, [&](const lab06_tests::Walk& walk, double probability) {
          lab06_tests::for_each_cell(
              walk, [&](const std::vector<double>& low, const std::vector<double>& high, double share) {
                // Both corners of the cell, so that a threshold that is elsewhere shows.
                for (const auto* uniforms : {&low, &high}) {
                  const AcceptedPath got = accept_tree(walk.p, walk.q, walk.tokens, walk.parents, *uniforms);
                  if (!suspects.see(walk, *uniforms, got) && first_wrong.empty())
                    first_wrong = fmt::format("tokens {}, uniforms {}: got nodes {} and token {}",
                                              walk.tokens, *uniforms, got.nodes, got.token);
                  is_usable = is_usable && lab06_tests::is_possible(walk, got);
                  if (uniforms == &high && is_usable)
                    lab06_tests::add_two_tokens(history, walk, got, probability * share, emitted);
                }
              });
        });
    ASSERT_TRUE(first_wrong.empty()) << fmt::format("parents {}: {}{}", parents, first_wrong,
                                                    suspects.likely_cause());
    for (int first = 0; first < vocab_size; ++first) {
      for (int second = 0; second < vocab_size; ++second) {
        const double expected = history.p({})[static_cast<std::size_t>(first)] *
                                history.p({first})[static_cast<std::size_t>(second)];
        const double error = std::abs(emitted[{first, second}] - expected);
        // A few thousand products of numbers below 1, each rounded by 2^-53 of itself.
        EXPECT_TRUE(error <= 1e-12) << fmt::format("tokens {} {}: {} instead of {}", first, second,
                                                   emitted[{first, second}], expected);
      }
    }
  }
}

TEST(AcceptTree, ChainIsAnOrdinaryDraft) {
  kit::Rng rng = make_rng(1060);
  Ints chain(6);
  std::iota(chain.begin(), chain.end(), -1);
  for (int i = 0; i < 50; ++i) {
    const lab06_tests::Walk walk = lab06_tests::random_walk(chain, 9, rng);
    std::vector<double> uniforms(6);
    for (double& u : uniforms) u = rng.uniform();
    std::vector<double> in_order(uniforms.begin() + 1, uniforms.end());
    in_order.push_back(uniforms[0]);
    const lab06::AcceptedTokens expected = lab06_tests::reference_accept(
        walk.p, {walk.q.data(), {5, 9}}, std::span(walk.tokens).subspan(1), in_order);
    const AcceptedPath got = accept_tree(walk.p, walk.q, walk.tokens, walk.parents, uniforms);
    Ints nodes(static_cast<std::size_t>(expected.n_accepted));
    std::iota(nodes.begin(), nodes.end(), 1);
    ASSERT_EQ(got.nodes, nodes);
    ASSERT_EQ(got.token, expected.token);
  }
}

TEST(AcceptTree, GreedyTargetsFindTheirTokenAmongTheChildren) {
  kit::Rng rng = make_rng(1070);
  const Ints parents = {-1, 0, 0, 0, 1, 1, 2, 2, 3};
  for (int i = 0; i < 30; ++i) {
    lab06_tests::Walk walk = lab06_tests::random_walk(parents, 6, rng);
    for (std::int64_t row = 0; row < walk.p.dim(0); ++row) {
      std::ranges::fill(walk.p.row(row), 0.0);
      walk.p(row, rng.below(6)) = 1.0;
    }
    const std::vector<double> uniforms(parents.size(), 0.0);
    ASSERT_EQ(accept_tree(walk.p, walk.q, walk.tokens, walk.parents, uniforms),
              lab06_tests::reference_walk(walk, uniforms));
  }
}

TEST(AcceptTree, RejectsWhatCannotBe) {
  const Tensor<double> p = lab06_tests::rows_of({{0.5, 0.5, 0.0}, {1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}});
  const std::vector<double> uniforms(3, 0.5);
  const auto run = [&](const Ints& tokens, const Ints& parents, const std::vector<double>& us) {
    return [&p, tokens, parents, us] { (void)accept_tree(p, p, tokens, parents, us); };
  };
  EXPECT_TRUE(throws_error(run({0, 0}, {-1, 0, 0}, uniforms)));
  EXPECT_TRUE(throws_error(run({0, 0, 1}, {-1, 0, 0}, {0.5, 0.5})));
  EXPECT_TRUE(throws_error(run({0, 0, 1}, {-1, 0, 0}, {0.5, 0.5, 1.0}), "1"));
  EXPECT_TRUE(throws_error(run({0, 0, 1}, {-1, 0, 0}, {0.5, 0.5, std::nan("")}), "nan"));
  EXPECT_TRUE(throws_error(run({0, 0, 1}, {-1, 0, 2}, uniforms), "node 2"));
  EXPECT_TRUE(throws_error(run({0, 0, 3}, {-1, 0, 0}, uniforms), "3"));
  EXPECT_TRUE(throws_error(run({0, -1, 1}, {-1, 0, 0}, uniforms), "-1"));
  EXPECT_TRUE(throws_error(run({0, 0, 2}, {-1, 0, 0}, uniforms), "node 2")) << "q is 0 at its token";
  EXPECT_TRUE(throws_error(run({0, 0, 1}, {-1, 0, 1}, uniforms), "node 2")) << "q is 0 behind node 1";
  EXPECT_TRUE(throws_error(run({0, 1, 1}, {-1, 0, 0}, uniforms), "2")) << "two siblings with the token 1";
  EXPECT_TRUE(throws_error([&] {
    (void)accept_tree(p, lab06_tests::rows_of({{1.0, 0.0, 0.0}}), Ints{0, 0, 1}, Ints{-1, 0, 0}, uniforms);
  }));
}

// The cache afterwards
// ---------------------------------------------------------------------------------------

TEST(KeepPath, LeavesTheCacheOfTheKeptNodes) {
  kit::Rng rng = make_rng(1080);
  const kit::KvCacheConfig config = {.n_layers = 3, .n_kv_heads = 2, .head_dim = 5, .max_len = 20};
  for (const Ints& nodes :
       {Ints{0}, Ints{0, 1}, Ints{0, 2, 5}, Ints{0, 3, 4, 8}, Ints{0, 1, 2, 3, 4, 5, 6, 7, 8}}) {
    for (const int first_pos : {0, 7}) {
      const auto cache = kit::make_reference_kv_cache(config);
      std::vector<Tensor<float>> expected;
      for (int layer = 0; layer < 3; ++layer) {
        const Tensor<float> k = random_tensor({first_pos + 9, 2, 5}, rng);
        const Tensor<float> v = random_tensor({first_pos + 9, 2, 5}, rng);
        cache->append(layer, k, v);
        for (const Tensor<float>* rows : {&k, &v}) {
          Tensor<float> kept({first_pos + std::ssize(nodes), 2, 5});
          std::copy_n(rows->data(), 10 * first_pos, kept.data());
          for (std::size_t j = 0; j < nodes.size(); ++j)
            std::copy_n(rows->data() + 10 * (first_pos + nodes[j]), 10,
                        kept.data() + 10 * (static_cast<std::size_t>(first_pos) + j));
          expected.push_back(std::move(kept));
        }
      }
      keep_path(*cache, first_pos, nodes);
      for (int layer = 0; layer < 3; ++layer) {
        const auto i = static_cast<std::size_t>(2 * layer);
        ASSERT_TRUE(matches(cache->keys(layer), expected[i], {})) << "keys of layer " << layer;
        ASSERT_TRUE(matches(cache->values(layer), expected[i + 1], {})) << "values of layer " << layer;
      }
    }
  }
}

TEST(KeepPath, RejectsNodesThatAreNotThere) {
  kit::Rng rng = make_rng(1090);
  const auto cache =
      kit::make_reference_kv_cache({.n_layers = 2, .n_kv_heads = 1, .head_dim = 2, .max_len = 9});
  const Tensor<float> rows = random_tensor({8, 1, 2}, rng);
  for (int layer = 0; layer < 2; ++layer) cache->append(layer, rows, rows);
  const auto keep = [&](int first_pos, const Ints& nodes) {
    return [&cache, first_pos, nodes] { keep_path(*cache, first_pos, nodes); };
  };
  EXPECT_TRUE(throws_error(keep(-1, {0, 1}), "-1"));
  EXPECT_TRUE(throws_error(keep(4, {}), ""));
  EXPECT_TRUE(throws_error(keep(4, {1, 2}), ""));
  EXPECT_TRUE(throws_error(keep(4, {0, 2, 2}), "2"));
  EXPECT_TRUE(throws_error(keep(4, {0, 3, 1}), "1"));
  EXPECT_TRUE(throws_error(keep(4, {0, 4}), "4"));
  for (int layer = 0; layer < 2; ++layer) EXPECT_TRUE(matches(cache->keys(layer), rows, {})) << "unchanged";
}

}  // namespace
