#include "lab02/paged_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "kit/llama.h"
#include "kit/paged_sequence.h"
#include "kit/reference.h"
#include "kit/sampling.h"
#include "kit/testing.h"
#include "plain_tables.h"

// What is paged here was laid out by the tests; allocator, tables and cache of tasks 5 and 6 take no part.

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::matches;
using kit::testing::nan_tensor;
using kit::testing::random_tensor;
using kit::testing::throws_error;

constexpr kit::Tolerance kTolerance{2e-5, 2e-5};  // see attention_test.cpp
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// What unused slots hold where a wrong number shall show: finite, and large enough to rule every softmax.
constexpr float kForeign = 50.0F;

struct Sizes {
  int q_len, context_len, block_size, n_heads, n_kv_heads, head_dim;
};

/// A sequence twice: contiguous, and scattered over blocks.
struct Paged {
  Tensor<float> q;               // [q_len, n_heads, head_dim]
  Tensor<float> k;               // [context_len, n_kv_heads, head_dim]
  Tensor<float> v;               // the same
  Tensor<float> k_blocks;        // [n_blocks, block_size, n_kv_heads, head_dim]
  Tensor<float> v_blocks;        // the same
  std::vector<int> block_table;  // with entries behind the last one needed, which mean nothing
};

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

/// All n_blocks in random order; where that is possible, no block at the place of its number.
std::vector<int> shuffled_blocks(int n_blocks, kit::Rng& rng) {
  std::vector<int> blocks(static_cast<std::size_t>(n_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  for (std::size_t i = blocks.size(); i > 1; --i)
    std::swap(blocks[i - 1], blocks[rng.below(static_cast<std::uint32_t>(i))]);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] == static_cast<int>(i)) std::swap(blocks[i], blocks[(i + 1) % blocks.size()]);
  }
  return blocks;
}

/// Every slot that does not belong to the sequence holds `unused`, or, when that is missing, another
/// sequence's random data.
Paged random_paged(const Sizes& s, std::uint64_t stream, std::optional<float> unused) {
  kit::Rng rng = kit::testing::make_rng(stream);
  const int n_needed = ceil_div(s.context_len, s.block_size);
  const Shape kv{s.context_len, s.n_kv_heads, s.head_dim};
  const Shape blocks{n_needed + 3, s.block_size, s.n_kv_heads, s.head_dim};
  Paged p{random_tensor({s.q_len, s.n_heads, s.head_dim}, rng),
          random_tensor(kv, rng),
          random_tensor(kv, rng),
          unused ? Tensor<float>(blocks, *unused) : random_tensor(blocks, rng),
          unused ? Tensor<float>(blocks, *unused) : random_tensor(blocks, rng),
          shuffled_blocks(n_needed + 3, rng)};
  p.block_table.resize(static_cast<std::size_t>(n_needed));
  const std::int64_t row = kv[1] * kv[2];
  for (int pos = 0; pos < s.context_len; ++pos) {
    const std::int64_t slot =
        std::int64_t{p.block_table[static_cast<std::size_t>(pos / s.block_size)]} * s.block_size +
        pos % s.block_size;
    std::copy_n(p.k.data() + pos * row, row, p.k_blocks.data() + slot * row);
    std::copy_n(p.v.data() + pos * row, row, p.v_blocks.data() + slot * row);
  }
  for (const int garbage : {-1, std::numeric_limits<int>::max(), n_needed + 3, -12345})
    p.block_table.push_back(garbage);
  return p;
}

Tensor<float> student(const Paged& p) {
  Tensor<float> out = nan_tensor(p.q.shape());
  lab02::paged_attention(p.q, p.k_blocks, p.v_blocks, p.block_table, static_cast<int>(p.k.dim(0)), out);
  return out;
}

Tensor<float> dense(const Tensor<float>& q, const Tensor<float>& k, const Tensor<float>& v,
                    const kit::AttentionVariant& variant = {}) {
  Tensor<float> out = nan_tensor(q.shape());
  kit::reference_attention(q, k, v, out, variant);
  return out;
}

/// Where a wrong rule finds the vector of (position, kv head): its index in blocks seen as [.., head_dim].
using Rule = std::function<std::int64_t(int pos, int kv_head)>;

/// Dense attention over the first `len` positions as `rule` finds them; nothing when it leaves the arrays.
void add_rule(std::vector<kit::KnownMistake>& mistakes, const Paged& p, const std::string& cause, int len,
              const Rule& rule) {
  const std::int64_t n_vectors = p.k_blocks.size() / p.k.dim(2);
  Tensor<float> k({len, p.k.dim(1), p.k.dim(2)});
  Tensor<float> v(k.shape());
  for (int pos = 0; pos < len; ++pos) {
    for (int kv_head = 0; kv_head < k.dim(1); ++kv_head) {
      const std::int64_t from = rule(pos, kv_head);
      if (from < 0 || from >= n_vectors) return;
      std::copy_n(p.k_blocks.data() + from * k.dim(2), k.dim(2), k.row(pos, kv_head).begin());
      std::copy_n(p.v_blocks.data() + from * k.dim(2), k.dim(2), v.row(pos, kv_head).begin());
    }
  }
  mistakes.push_back({cause, dense(p.q, k, v)});
}

/// Attention through the table, done wrong.
void add_table_mistakes(std::vector<kit::KnownMistake>& mistakes, const Paged& p) {
  const auto len = static_cast<int>(p.k.dim(0));
  const auto n_kv_heads = static_cast<int>(p.k.dim(1));
  const auto block_size = static_cast<int>(p.k_blocks.dim(1));
  const auto block = [&](int index) { return std::int64_t{p.block_table[static_cast<std::size_t>(index)]}; };
  add_rule(mistakes, p,
           "/ and % exchanged: position p read from place p / block_size of block_table[p % block_size]", len,
           [&](int pos, int kv_head) {
             if (pos % block_size >= static_cast<int>(p.block_table.size()) || block(pos % block_size) < 0)
               return std::int64_t{-1};
             return (block(pos % block_size) * block_size + pos / block_size) * n_kv_heads + kv_head;
           });
  add_rule(mistakes, p, "the block table ignored: position p read from slot p", len,
           [&](int pos, int kv_head) { return std::int64_t{pos} * n_kv_heads + kv_head; });
  const int filled_up = ceil_div(len, block_size) * block_size;
  if (filled_up > len) {
    add_rule(mistakes, p, "the last block read to its end, past context_len", filled_up,
             [&](int pos, int kv_head) {
               return (block(pos / block_size) * block_size + pos % block_size) * n_kv_heads + kv_head;
             });
  }
  add_rule(mistakes, p, "blocks read as [n_blocks, n_kv_heads, block_size, head_dim]", len,
           [&](int pos, int kv_head) {
             return (block(pos / block_size) * n_kv_heads + kv_head) * block_size + pos % block_size;
           });
}

std::vector<kit::KnownMistake> known_mistakes(const Paged& p) {
  std::vector<kit::KnownMistake> mistakes;
  const auto add = [&](const char* cause, const kit::AttentionVariant& variant) {
    mistakes.push_back({cause, dense(p.q, p.k, p.v, variant)});
  };
  add("attention without the 1/sqrt(head_dim) scale", {.scale = false});
  add("attention without a causal mask: every query of a chunk sees the whole context", {.causal = false});
  add("a causal mask that lets each query see one key of the future", {.mask_shift = 1});
  add("a causal mask that hides each query's own key", {.mask_shift = -1});
  add("a causal mask aligned to the first key (query i sees keys 0..i) although the queries are the last "
      "positions",
      {.top_left = true});
  add("query head h reading kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads)",
      {.kv_head_modulo = true});
  add_table_mistakes(mistakes, p);
  return mistakes;
}

void expect_equals_dense(const Sizes& s, std::uint64_t stream, std::optional<float> unused = {}) {
  SCOPED_TRACE(fmt::format("q_len {}, context_len {}, block_size {}, {} heads, {} kv heads, head_dim {}",
                           s.q_len, s.context_len, s.block_size, s.n_heads, s.n_kv_heads, s.head_dim));
  const Paged p = random_paged(s, stream, unused);
  EXPECT_TRUE(matches(student(p), dense(p.q, p.k, p.v), kTolerance, known_mistakes(p)));
}

TEST(PagedAttention, MatchesDenseForAnyBlockSize) {
  constexpr int kContext = 37;
  std::uint64_t stream = 800;
  // Four blocks of four: / and % stay in range when they are exchanged.
  expect_equals_dense({14, 14, 4, 4, 2, 8}, ++stream);
  for (const int block_size : {1, 2, 3, 16, kContext, kContext + 7}) {
    expect_equals_dense({1, kContext, block_size, 4, 4, 16}, ++stream);
    expect_equals_dense({kContext, kContext, block_size, 4, 2, 8}, ++stream);
  }
}

TEST(PagedAttention, MatchesDenseWhenLastBlockIsPartial) {
  std::uint64_t stream = 820;
  for (const int context_len : {1, 15, 17, 31, 33}) {
    expect_equals_dense({1, context_len, 16, 4, 2, 16}, ++stream, kForeign);
    expect_equals_dense({std::min(context_len, 5), context_len, 16, 4, 2, 16}, ++stream, kForeign);
  }
}

TEST(PagedAttention, MatchesDenseWhenLastBlockIsFull) {
  expect_equals_dense({1, 16, 16, 4, 2, 16}, 840);
  expect_equals_dense({1, 32, 16, 4, 2, 16}, 841);
  expect_equals_dense({7, 48, 16, 4, 2, 16}, 842);
}

TEST(PagedAttention, NeverReadsWhatIsNotTheSequences) {
  std::uint64_t stream = 850;
  for (const int context_len : {1, 2, 16, 17, 31, 33}) {
    const Paged p = random_paged({1, context_len, 16, 4, 2, 16}, ++stream, kNan);
    EXPECT_TRUE(matches(student(p), dense(p.q, p.k, p.v), kTolerance, known_mistakes(p)))
        << context_len
        << " tokens in blocks of 16. Slots behind them and blocks of other sequences hold NaN: where "
        << "NaN comes out, one of those was read.";
  }
}

TEST(PagedAttention, QueriesAreTheLastPositions) {
  std::uint64_t stream = 860;
  for (const int q_len : {1, 2, 5, 16, 20}) expect_equals_dense({q_len, 37, 16, 4, 4, 16}, ++stream);
  expect_equals_dense({20, 20, 8, 3, 3, 5}, ++stream);
}

TEST(PagedAttention, GroupedAndMultiQuery) {
  expect_equals_dense({3, 19, 4, 8, 4, 16}, 870);
  expect_equals_dense({9, 21, 4, 6, 2, 8}, 871);
  expect_equals_dense({1, 33, 16, 4, 1, 32}, 872);
  expect_equals_dense({1, 1, 1, 1, 1, 1}, 873);
}

TEST(PagedAttention, SequencesMayShareBlocks) {
  // Two sequences with one beginning: the same first two blocks, then each its own.
  const Paged p = random_paged({1, 12, 4, 4, 2, 8}, 880, {});
  Paged other = p;
  kit::Rng rng = kit::testing::make_rng(881);
  const std::int64_t row = p.k.dim(1) * p.k.dim(2);
  const auto n_blocks = static_cast<int>(p.k_blocks.dim(0));
  for (int block = 0; block < n_blocks; ++block) {
    if (std::find(p.block_table.begin(), p.block_table.begin() + 3, block) == p.block_table.begin() + 3)
      other.block_table[2] = block;
  }
  other.q = random_tensor(p.q.shape(), rng);
  std::copy_n(p.k_blocks.data() + other.block_table[2] * 4 * row, 4 * row, other.k.data() + 8 * row);
  std::copy_n(p.v_blocks.data() + other.block_table[2] * 4 * row, 4 * row, other.v.data() + 8 * row);
  EXPECT_TRUE(matches(student(p), dense(p.q, p.k, p.v), kTolerance, known_mistakes(p)));
  EXPECT_TRUE(matches(student(other), dense(other.q, other.k, other.v), kTolerance, known_mistakes(other)));
}

TEST(PagedAttention, RejectsBadInput) {
  const auto refuses = [](const Shape& q, const Shape& k, const Shape& v, const std::vector<int>& table,
                          int context_len, const Shape& out) {
    return throws_error([&] {
      Tensor<float> result(out);
      lab02::paged_attention(Tensor<float>(q), Tensor<float>(k), Tensor<float>(v), table, context_len,
                             result);
    });
  };
  const Shape q{2, 4, 8};
  const Shape blocks{5, 4, 2, 8};
  const std::vector<int> table = {3, 1, 4};
  EXPECT_TRUE(refuses(q, {5, 4, 3, 8}, {5, 4, 3, 8}, table, 10, q))
      << "n_heads 4 is not a multiple of n_kv_heads 3";
  EXPECT_TRUE(refuses(q, {5, 4, 2, 7}, {5, 4, 2, 7}, table, 10, q)) << "head_dim of q is 8, of the blocks 7";
  EXPECT_TRUE(refuses(q, blocks, {5, 3, 2, 8}, table, 10, q)) << "k_blocks and v_blocks differ in block_size";
  EXPECT_TRUE(refuses(q, {20, 2, 8}, {20, 2, 8}, table, 10, q)) << "blocks must have four dimensions";
  EXPECT_TRUE(refuses({2, 32}, blocks, blocks, table, 10, {2, 32})) << "q must have three dimensions";
  EXPECT_TRUE(refuses(q, blocks, blocks, table, 10, {2, 2, 8})) << "out must have the shape of q";
  EXPECT_TRUE(refuses(q, blocks, blocks, table, 1, q)) << "2 queries in a context of 1";
  EXPECT_TRUE(refuses(q, blocks, blocks, table, 13, q)) << "13 tokens need 4 blocks of 4, the table has 3";
  EXPECT_TRUE(refuses(q, blocks, blocks, {3, 1, 5}, 10, q)) << "block 5 of 5 is needed for position 8";
  EXPECT_TRUE(refuses(q, blocks, blocks, {3, -1, 4}, 10, q)) << "block -1 is needed for position 4";
}

/// The sequences of a batch in one set of blocks, whose other slots hold NaN.
struct Batch {
  Tensor<float> k_blocks;
  Tensor<float> v_blocks;
  Tensor<std::int32_t> block_tables;  // [n_seqs, max_blocks]
  Tensor<std::int32_t> context_lens;  // [n_seqs]
  Tensor<float> q;                    // [n_seqs, n_heads, head_dim]
  Tensor<float> expected;             // the same
  Tensor<float> of_first_sequence;    // expected, had every sequence the first one's table and length
};

Batch random_batch(const std::vector<int>& context_lens, const Sizes& s, std::uint64_t stream) {
  const auto n_seqs = static_cast<std::int64_t>(context_lens.size());
  const int max_blocks = ceil_div(std::ranges::max(context_lens), s.block_size) + 1;
  int n_blocks = 2;
  for (const int len : context_lens) n_blocks += ceil_div(len, s.block_size);
  kit::Rng rng = kit::testing::make_rng(stream);
  const std::vector<int> order = shuffled_blocks(n_blocks, rng);
  Batch b{Tensor<float>({n_blocks, s.block_size, s.n_kv_heads, s.head_dim}, kNan),
          Tensor<float>({n_blocks, s.block_size, s.n_kv_heads, s.head_dim}, kNan),
          Tensor<std::int32_t>({n_seqs, max_blocks}, -1),
          Tensor<std::int32_t>({n_seqs}),
          random_tensor({n_seqs, s.n_heads, s.head_dim}, rng),
          nan_tensor({n_seqs, s.n_heads, s.head_dim}),
          nan_tensor({n_seqs, s.n_heads, s.head_dim})};
  const std::int64_t block_floats = std::int64_t{s.block_size} * s.n_kv_heads * s.head_dim;
  const Shape one{1, s.n_heads, s.head_dim};
  std::size_t next = 0;
  Tensor<float> first_k;
  Tensor<float> first_v;
  for (std::int64_t seq = 0; seq < n_seqs; ++seq) {
    const int len = context_lens[static_cast<std::size_t>(seq)];
    b.context_lens(seq) = len;
    const Tensor<float> k = random_tensor({len, s.n_kv_heads, s.head_dim}, rng);
    const Tensor<float> v = random_tensor(k.shape(), rng);
    for (int i = 0; i < ceil_div(len, s.block_size); ++i) {
      const int block = b.block_tables(seq, i) = order[next++];
      const std::int64_t n = std::min(block_floats, k.size() - i * block_floats);
      std::copy_n(k.data() + i * block_floats, n, b.k_blocks.data() + block * block_floats);
      std::copy_n(v.data() + i * block_floats, n, b.v_blocks.data() + block * block_floats);
    }
    if (seq == 0) first_k = k, first_v = v;
    const kit::TensorView<const float> q(b.q.data() + seq * one.size(), one);
    kit::reference_attention(q, k, v, {b.expected.data() + seq * one.size(), one});
    kit::reference_attention(q, first_k, first_v, {b.of_first_sequence.data() + seq * one.size(), one});
  }
  return b;
}

TEST(PagedDecodeAttention, EachSequenceHasItsOwnTableAndLength) {
  const Sizes s{.q_len = 1, .context_len = 0, .block_size = 8, .n_heads = 6, .n_kv_heads = 2, .head_dim = 16};
  for (const std::vector<int>& lens :
       {std::vector<int>{9}, std::vector<int>{8, 1, 31, 16, 33}, std::vector<int>{40, 3, 7}}) {
    const Batch b = random_batch(lens, s, 890 + lens.size());
    Tensor<float> out = nan_tensor(b.q.shape());
    lab02::paged_decode_attention(b.q, b.k_blocks, b.v_blocks, b.block_tables, b.context_lens, out);
    const std::vector<kit::KnownMistake> mistakes = {
        {"every sequence attending to the first one's context", b.of_first_sequence}};
    EXPECT_TRUE(matches(out, b.expected, kTolerance, mistakes))
        << lens.size() << " sequences. Slots that belong to none hold NaN, tables are padded with -1.";
  }
}

TEST(PagedDecodeAttention, RejectsBadInput) {
  const Shape q{2, 4, 8};
  const Shape blocks{5, 4, 2, 8};
  const auto refuses = [&](const std::vector<std::int32_t>& tables, const Shape& tables_shape,
                           const std::vector<std::int32_t>& lens, const Shape& out) {
    return throws_error([&] {
      Tensor<float> result(out);
      lab02::paged_decode_attention(Tensor<float>(q), Tensor<float>(blocks), Tensor<float>(blocks),
                                    {tables.data(), tables_shape},
                                    {lens.data(), {static_cast<std::int64_t>(lens.size())}}, result);
    });
  };
  EXPECT_TRUE(refuses({0, 1, 2}, {3, 1}, {4, 4}, q)) << "tables of 3 sequences, queries of 2";
  EXPECT_TRUE(refuses({0, 1}, {2, 1}, {4, 4, 4}, q)) << "lengths of 3 sequences, queries of 2";
  EXPECT_TRUE(refuses({0, 1}, {2, 1}, {4, 5}, q))
      << "5 tokens need 2 blocks of 4, the tables have room for 1";
  EXPECT_TRUE(refuses({0, 5}, {2, 1}, {4, 4}, q)) << "sequence 1 needs block 5 of 5";
  EXPECT_TRUE(refuses({0, 1}, {2, 1}, {4, 0}, q)) << "a context of 0 tokens has nothing to attend to";
  EXPECT_TRUE(refuses({0, 1}, {2, 1}, {4, 4}, {2, 2, 8})) << "out must have the shape of q";
}

/// Rotates, writes to the sequence's blocks, and attends through the table, as a paged engine does.
void attend_in_blocks(int layer, kit::TensorView<const float> q, kit::TensorView<const float> k,
                      kit::TensorView<const float> v, const kit::Rope& rope, kit::KvCache& cache,
                      kit::TensorView<float> out) {
  auto& sequence = dynamic_cast<kit::PagedSequence&>(cache);
  Tensor<float> rotated_q = kit::clone(q);
  Tensor<float> rotated_k = kit::clone(k);
  rope.rotate(rotated_q, sequence.length(layer));
  rope.rotate(rotated_k, sequence.length(layer));
  sequence.append(layer, rotated_k, v);
  const kit::KvBlockStorage& storage = sequence.storage();
  lab02::paged_attention(rotated_q, storage.keys(layer), storage.values(layer), sequence.block_table(),
                         sequence.length(layer), out);
}

std::vector<int> greedy_tokens(kit::Model& model, std::span<const int> prompt, kit::KvCache& cache, int n) {
  kit::Rng rng(1);
  std::vector<int> tokens = {kit::sample(model.forward(prompt, cache).span(), 0.0F, rng)};
  while (static_cast<int>(tokens.size()) < n)
    tokens.push_back(kit::sample(model.forward(std::span(&tokens.back(), 1), cache).span(), 0.0F, rng));
  return tokens;
}

TEST(PagedAttention, RealModelWritesTheSameTokens) {
  const auto directory = kit::testing::models_dir() / "target";
  const kit::ModelConfig config = kit::load_config(directory);
  const auto weights = std::make_shared<kit::LlamaWeights>(kit::load_llama_weights(directory, config));
  const auto reference = kit::make_llama(config, weights, kit::reference_attention_ops());
  kit::AttentionOps ops = kit::reference_attention_ops();
  ops.attention_with_cache = attend_in_blocks;
  const auto model = kit::make_llama(config, weights, ops);

  kit::Rng rng = kit::testing::make_rng(899);
  std::vector<int> prompt(13);
  for (int& token : prompt)
    token = static_cast<int>(rng.below(static_cast<std::uint32_t>(config.vocab_size)));
  constexpr int kNewTokens = 21;  // 33 cached in the end: two full blocks of 16 and one token
  const kit::PagedKvConfig paged{config.n_layers, config.n_kv_heads, config.head_dim, 16, 8};
  const auto allocator = std::shared_ptr(kit::make_reference_block_allocator(paged.n_blocks));
  for (const int block :
       allocator->allocate(6)) {  // blocks 1, 4 and 5 are free, and so the table is not 0, 1, 2
    if (block == 1 || block == 4 || block == 5) allocator->release(block);
  }
  lab02_tests::PlainTables tables(paged.block_size, allocator);
  kit::KvBlockStorage storage(paged);
  kit::PagedSequence sequence(tables, tables.add_sequence(), storage);
  const auto cache = kit::make_reference_kv_cache(config.kv_cache_config(64));
  EXPECT_EQ(greedy_tokens(*model, prompt, sequence, kNewTokens),
            greedy_tokens(*reference, prompt, *cache, kNewTokens))
      << "the shipped model chose other tokens through block table [1, 4, 5] than with a contiguous cache";
}

}  // namespace
