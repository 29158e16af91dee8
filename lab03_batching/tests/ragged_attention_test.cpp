#include "lab03/ragged_attention.h"

#include <gtest/gtest.h>

#include "ragged_batch.h"

namespace {

using kit::Shape;
using kit::Tensor;
using kit::testing::nan_tensor;
using kit::testing::throws_error;
using lab03_tests::attends;
using lab03_tests::ragged_batch;
using lab03_tests::RaggedBatch;
using lab03_tests::RaggedSizes;

// Scores of size 1 carry a few float roundings (6e-8 each) of at most 128 products, in any order: below 5e-6.
// The mistakes are off by 1e-2 and more.
constexpr kit::Tolerance kTolerance{2e-5, 2e-5};

Tensor<float> run(const RaggedBatch& batch) {
  Tensor<float> out = nan_tensor(batch.q.shape());
  lab03::ragged_decode_attention(batch.q, batch.k, batch.v, batch.cu(), out);
  return out;
}

void expect_attends(const RaggedSizes& sizes, std::uint64_t stream) {
  SCOPED_TRACE(to_string(sizes));
  const RaggedBatch batch = ragged_batch(sizes, stream);
  EXPECT_TRUE(attends(run(batch), batch, kTolerance));
}

TEST(RaggedAttention, MatchesTheReference) {
  expect_attends({.kv_lens = {5, 9, 3}}, 3200);
  expect_attends({.kv_lens = {40, 7}, .n_heads = 2, .n_kv_heads = 2, .head_dim = 128}, 3201);
  expect_attends({.kv_lens = {33}, .n_heads = 8, .n_kv_heads = 1, .head_dim = 32}, 3202);
  expect_attends({.kv_lens = {17, 31}, .n_heads = 9, .n_kv_heads = 3, .head_dim = 96}, 3203);
  // The GPU wants a multiple of 32, the CPU takes any.
  expect_attends({.kv_lens = {4, 6}, .n_heads = 6, .n_kv_heads = 2, .head_dim = 5}, 3204);
}

TEST(RaggedAttention, SequencesOfVeryDifferentLengths) {
  expect_attends({.kv_lens = {1, 1000, 2, 31, 32, 33, 1, 257}}, 3205);
}

TEST(RaggedAttention, SequencesDoNotSeeEachOther) {
  // The same query and the same positions give the same output, whoever else is in the batch.
  const RaggedBatch batch = ragged_batch({.kv_lens = {20, 30, 10}}, 3206);
  RaggedBatch others = batch;
  const std::int64_t row_size = batch.k.dim(1) * batch.k.dim(2);
  for (std::int64_t i = 0; i < batch.k.size(); ++i) {
    if (i >= 20 * row_size && i < 50 * row_size) continue;
    others.k.data()[i] += 1.0F;
    others.v.data()[i] += 1.0F;
  }
  const Tensor<float> a = run(batch);
  const Tensor<float> b = run(others);
  const Shape one{a.dim(1), a.dim(2)};
  EXPECT_TRUE(kit::testing::matches({b.data() + one.size(), one}, {a.data() + one.size(), one}, kTolerance))
      << "the output of sequence 1 depends on the keys and values of sequences 0 and 2";
}

TEST(RaggedAttention, ScoresOfAnySize) {
  for (const float shift : {300.0F, -300.0F}) {
    SCOPED_TRACE(fmt::format("scores are near {}", shift));
    RaggedBatch batch = ragged_batch({.kv_lens = {2, 45}}, 3207);
    shift_scores(batch, shift);
    // Products sum up to 300 sqrt(64) = 2400, where a float is exact to 1.2e-4, and a few such roundings over
    // sqrt(64) shift a score by less than 2e-4.
    EXPECT_TRUE(attends(run(batch), batch, {1e-3, 1e-3}))
        << (shift > 0
                ? "Likely cause of a NaN: e^300 is infinite. Subtract the maximum first."
                : "Likely cause of a NaN or 0: a maximum that starts at 0 instead of -infinity, so that "
                  "all weights are e^-300 = 0.");
  }
}

TEST(RaggedAttention, NoSequencesNothingToDo) {
  Tensor<float> out({0, 4, 64});
  const std::vector<std::int32_t> cu = {0};
  EXPECT_NO_THROW(lab03::ragged_decode_attention(Tensor<float>({0, 4, 64}), Tensor<float>({0, 2, 64}),
                                                 Tensor<float>({0, 2, 64}), {cu.data(), {1}}, out));
}

/// Three sequences of 2, 3 and 1 positions, with shapes that a test can bend.
struct Arguments {
  Shape q{3, 4, 64}, k{6, 2, 64}, v{6, 2, 64}, out{3, 4, 64};
  std::vector<std::int32_t> cu = {0, 2, 5, 6};

  ::testing::AssertionResult refused() const {
    Tensor<float> result = nan_tensor(out);
    return throws_error([&] {
      lab03::ragged_decode_attention(Tensor<float>(q), Tensor<float>(k), Tensor<float>(v),
                                     {cu.data(), {static_cast<std::int64_t>(cu.size())}}, result);
    });
  }
};

TEST(RaggedAttention, RejectsShapesThatDisagree) {
  const auto refuses = [](const std::function<void(Arguments&)>& bend) {
    Arguments x;
    bend(x);
    return x.refused();
  };
  EXPECT_TRUE(refuses([](Arguments& x) { x.q = {3, 256}; })) << "q is [n_seqs, n_heads * head_dim]";
  EXPECT_TRUE(refuses([](Arguments& x) { x.out = {2, 4, 64}; })) << "out has one sequence less than q";
  EXPECT_TRUE(refuses([](Arguments& x) { x.v = {6, 4, 64}; })) << "k and v have different shapes";
  EXPECT_TRUE(refuses([](Arguments& x) { x.k = x.v = {6, 2, 32}; })) << "another head_dim in k and v";
  EXPECT_TRUE(refuses([](Arguments& x) { x.k = x.v = {6, 3, 64}; })) << "3 kv heads do not divide 4 heads";
  EXPECT_TRUE(refuses([](Arguments& x) { x.k = x.v = {1, 6, 2, 64}; })) << "k and v have four dimensions";
  EXPECT_TRUE(refuses([](Arguments& x) {
    x.cu = {0, 2, 6};
  })) << "lengths of two sequences, queries of three";
}

TEST(RaggedAttention, RejectsLengthsThatCannotBe) {
  const auto refuses = [](const std::vector<std::int32_t>& cu) {
    Arguments x;
    x.cu = cu;
    return x.refused();
  };
  EXPECT_TRUE(refuses({1, 2, 5, 6})) << "cu_kv_lens begins with 1";
  EXPECT_TRUE(refuses({0, 2, 2, 6})) << "sequence 1 has no position";
  EXPECT_TRUE(refuses({0, 0, 5, 6})) << "sequence 0 has no position";
  EXPECT_TRUE(refuses({0, 5, 2, 6})) << "cu_kv_lens shrinks";
  EXPECT_TRUE(refuses({0, 2, 5, 7})) << "it ends with 7, k has 6 positions";
  EXPECT_TRUE(refuses({0, 2, 4, 5})) << "it ends with 5, k has 6 positions";
}

}  // namespace
