#include "lab01/operations.h"

#include <gtest/gtest.h>

#include <limits>

#include "kit/model_table.h"
#include "operations_reference.h"

namespace {

using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab01::Bound;
using lab01::Formats;
using lab01::Step;
using lab01::Work;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

using enum kit::NumberFormat;

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each

const std::vector<Formats>& some_formats() {
  static const std::vector<Formats> all = {{{kFp16}, kFp16, kFp16},
                                           {{kInt4, 128}, kInt8, kFp16},
                                           {{kInt8, 64, true}, kFp8, kBf16},
                                           {{kFp32}, kFp32, kFp32}};
  return all;
}

void expect_linear(std::int64_t n, std::int64_t in, std::int64_t out, const Formats& f) {
  SCOPED_TRACE(fmt::format("linear_work of {} tokens, in {}, out {}, weights {}", n, in, out,
                           kit::name(f.weights.number)));
  const Work expected = reference_linear(n, in, out, f);
  const std::int64_t w = reference_weight_bytes(in * out, f.weights);
  const Work got = lab01::linear_work(n, in, out, f);
  EXPECT_TRUE(
      matches_count(got.flops, expected.flops,
                    std::vector<KnownCount>{{"one FLOP for a multiply-add; it is two", expected.flops / 2},
                                            {"one token", expected.flops / n}}))
      << "FLOPs";
  const std::int64_t x = packed(n * in, f.activations);
  const std::int64_t y = packed(n * out, f.activations);
  EXPECT_TRUE(matches_count(
      got.bytes, expected.bytes,
      std::vector<KnownCount>{
          {"the weights read once for every token; all tokens of a step share them", n * w + x + y},
          {"the weights alone: x is read and y is written, too", w},
          {"the codes without their group scales", packed(in * out, f.weights.number) + x + y},
          {"x and y counted in the format of the weights",
           w + packed(n * in, f.weights.number) + packed(n * out, f.weights.number)}}))
      << "bytes";
}

TEST(Operations, LinearReadsItsWeightsOnce) {
  kit::Rng rng = kit::testing::make_rng(30);
  for (const Formats& formats : some_formats()) {
    expect_linear(between(rng, 2, 300), between(rng, 100, 9000), between(rng, 100, 9000), formats);
    expect_linear(1, between(rng, 100, 9000), between(rng, 100, 9000), formats);
  }
  expect_linear(65536, 8192, 28672, some_formats()[0]);  // 3.1e13 FLOPs
}

void expect_attention(const kit::ModelConfig& m, const Step& s, const Formats& f) {
  SCOPED_TRACE(fmt::format("attention_work: batch {}, q_len {}, kv_len {}, cache in {}; {}", s.batch, s.q_len,
                           s.kv_len, kit::name(f.kv), describe(m)));
  const Work expected = reference_attention(m, s, f);
  const Work got = lab01::attention_work(m, s, f);
  const std::int64_t per_pair = std::int64_t{4} * m.n_heads * m.head_dim * s.batch;
  const std::int64_t per_kv_head = per_pair / m.n_heads * m.n_kv_heads;
  const std::int64_t pairs = expected.flops / per_pair;
  EXPECT_TRUE(matches_count(
      got.flops, expected.flops,
      std::vector<KnownCount>{
          {"attention without a causal mask: every query with every key", per_pair * s.q_len * s.kv_len},
          {"half of all pairs; with its own key a query sees one more", per_pair * s.q_len * s.kv_len / 2},
          {"a mask aligned to the first key; the queries are the last positions",
           per_pair * s.q_len * (s.q_len + 1) / 2},
          {"scores without the weighted sum, or one FLOP for a multiply-add", expected.flops / 2},
          {"FLOPs of the key/value heads; every query head computes its own", per_kv_head * pairs},
          {"one sequence: the batch forgotten", expected.flops / s.batch}}))
      << "FLOPs";
  const std::int64_t q = packed(s.batch * s.q_len * m.n_heads * m.head_dim, f.activations);
  const std::int64_t k = packed(s.batch * s.kv_len * m.n_kv_heads * m.head_dim, f.kv);
  const std::int64_t k_of_all = packed(s.batch * s.kv_len * m.n_heads * m.head_dim, f.kv);
  EXPECT_TRUE(
      matches_count(got.bytes, expected.bytes,
                    std::vector<KnownCount>{
                        {"the value with query heads instead of KV heads: heads of a group share one read",
                         2 * q + 2 * k_of_all},
                        {"a value off by the factor 2 of K and V: keys or values alone", 2 * q + k},
                        {"keys and values alone; q is read and the output is written", 2 * k},
                        {"the output not written", q + 2 * k}}))
      << "bytes";
}

TEST(Operations, AttentionOfPrefillDecodeAndChunks) {
  kit::Rng rng = kit::testing::make_rng(31);
  for (const Formats& formats : some_formats()) {
    for (const int group : {1, 4, 8}) {
      const kit::ModelConfig m = random_model(rng, group);
      const int kv_len = between(rng, 100, 3000);
      expect_attention(m, {between(rng, 2, 20), 1, kv_len}, formats);
      expect_attention(m, {between(rng, 2, 20), kv_len, kv_len}, formats);
      expect_attention(m, {between(rng, 2, 20), between(rng, 2, 90), kv_len}, formats);
    }
  }
  expect_attention(kit::find_model("llama2-70b").config, {16, 4096, 4096}, some_formats()[0]);
}

TEST(Operations, MlpHasThreeMatrices) {
  kit::Rng rng = kit::testing::make_rng(32);
  for (const Formats& formats : some_formats()) {
    const kit::ModelConfig m = random_model(rng, 2);
    const std::int64_t n = between(rng, 1, 400);
    SCOPED_TRACE(fmt::format("mlp_work of {} tokens; {}", n, describe(m)));
    const Work expected = reference_mlp(m, n, formats);
    const Work got = lab01::mlp_work(m, n, formats);
    const Work up = reference_linear(n, m.dim, m.hidden_dim, formats);
    const Work down = reference_linear(n, m.hidden_dim, m.dim, formats);
    EXPECT_TRUE(matches_count(
        got.flops, expected.flops,
        std::vector<KnownCount>{{"two matrices; SwiGLU has three: gate, up and down", up.flops + down.flops},
                                {"all layers; this is one", expected.flops * m.n_layers}}))
        << "FLOPs";
    EXPECT_TRUE(matches_count(
        got.bytes, expected.bytes,
        std::vector<KnownCount>{{"two matrices; SwiGLU has three: gate, up and down", up.bytes + down.bytes},
                                {"all layers; this is one", expected.bytes * m.n_layers}}))
        << "bytes";
  }
}

/// The first name, work, intensity, bound or floor of `got` that is not the reference's.
void expect_analysis(const kit::ModelConfig& m, const kit::Device& device, const Step& s, const Formats& f) {
  SCOPED_TRACE(fmt::format("analyse_step on {}: batch {}, q_len {}, kv_len {}; {}", device.name, s.batch,
                           s.q_len, s.kv_len, describe(m)));
  const std::vector<NamedWork> expected = reference_step(m, s, f);
  const std::vector<lab01::Operation> got = lab01::analyse_step(m, device, s, f);
  ASSERT_EQ(got.size(), expected.size());
  const double peak = device.peak_flop_per_s.at(f.activations);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(expected[i].name);
    const Work& work = expected[i].work;
    const auto all_positions = reference_linear(s.batch * s.q_len, m.dim, m.vocab_size, f);
    EXPECT_EQ(got[i].name, expected[i].name);
    EXPECT_TRUE(
        matches_count(got[i].work.flops, work.flops,
                      std::vector<KnownCount>{
                          {"one layer; a step runs all of them", work.flops / m.n_layers},
                          {"logits of every position; only the last of each sequence", all_positions.flops}}))
        << "FLOPs";
    EXPECT_TRUE(matches_count(
        got[i].work.bytes, work.bytes,
        std::vector<KnownCount>{{"one layer; a step runs all of them", work.bytes / m.n_layers}}))
        << "bytes";
    const auto flops = static_cast<double>(work.flops);
    const auto bytes = static_cast<double>(work.bytes);
    const double compute = 1e3 * flops / peak;
    const double memory = 1e3 * bytes / device.bandwidth_bytes_per_s;
    EXPECT_TRUE(matches_value(got[i].intensity, flops / bytes, kExact)) << "intensity";
    EXPECT_EQ(got[i].bound, compute < memory ? Bound::kMemory : Bound::kCompute) << "bound";
    EXPECT_TRUE(
        matches_value(got[i].floor_ms, std::max(compute, memory), kExact,
                      std::vector<KnownValue>{
                          {"the sum of both times; they overlap", compute + memory},
                          {"a peak with sparsity, twice the dense one", std::max(compute / 2, memory)}}))
        << "floor_ms";
  }
}

TEST(Operations, AnalysisOfPrefillAndDecode) {
  kit::Rng rng = kit::testing::make_rng(33);
  for (const char* name : {"a100-80gb", "h100-sxm", "l4"}) {
    const kit::Device& device = kit::find_device(name);
    for (const Formats& formats : some_formats()) {
      const kit::ModelConfig m = random_model(rng, 4);
      const int kv_len = between(rng, 100, 3000);
      expect_analysis(m, device, {between(rng, 1, 64), 1, kv_len}, formats);
      expect_analysis(m, device, {between(rng, 1, 8), kv_len, kv_len}, formats);
    }
  }
}

TEST(Operations, DecodeIsMemoryBoundAndPrefillIsNot) {
  const kit::ModelConfig& m = kit::find_model("llama2-7b").config;
  const kit::Device& device = kit::find_device("a100-80gb");
  for (const auto& operation : lab01::analyse_step(m, device, {1, 1, 1000}, {}))
    EXPECT_EQ(operation.bound, Bound::kMemory) << operation.name << " of one decoded token";
  for (const auto& operation : lab01::analyse_step(m, device, {1, 2048, 2048}, {})) {
    const Bound expected = operation.name == "lm_head" ? Bound::kMemory : Bound::kCompute;
    EXPECT_EQ(operation.bound, expected) << operation.name << " of a prompt of 2048 tokens";
  }
}

void expect_batch(const kit::ModelConfig& m, const kit::Device& device, std::int64_t kv_len,
                  const Formats& f) {
  SCOPED_TRACE(fmt::format("compute_bound_batch on {}, kv_len {}, weights {}; {}", device.name, kv_len,
                           kit::name(f.weights.number), describe(m)));
  const double ridge = device.peak_flop_per_s.at(f.activations) / device.bandwidth_bytes_per_s;
  const std::int64_t expected = reference_batch(m, ridge, kv_len, f);
  const auto got = lab01::compute_bound_batch(m, device, kv_len, f);
  ASSERT_TRUE(got.has_value()) << "a batch of " << expected << " is compute-bound";
  const double bytes_per_weight = static_cast<double>(reference_weight_bytes(1 << 20, f.weights)) / (1 << 20);
  EXPECT_TRUE(matches_count(
      *got, expected,
      std::vector<KnownCount>{{"ridge * bytes of a weight / 2, the batch for the weights alone: activations "
                               "and caches are read, too",
                               static_cast<std::int64_t>(std::ceil(ridge * bytes_per_weight / 2))},
                              {"the batch of a peak with sparsity, twice the dense one",
                               reference_batch(m, 2 * ridge, kv_len, f)},
                              {"the largest batch that is still memory-bound", expected - 1},
                              {"a batch whose weights are read once for each sequence", 1}}));
}

TEST(Operations, BatchThatMakesDecodeComputeBound) {
  kit::Rng rng = kit::testing::make_rng(34);
  const kit::ModelConfig& m = kit::find_model("llama3-8b").config;
  for (const char* name : {"a100-80gb", "a100-40gb", "rtx-4090"}) {
    expect_batch(m, kit::find_device(name), between(rng, 1, 60), {});
    expect_batch(m, kit::find_device(name), between(rng, 1, 60), {{kInt4, 128}, kInt8, kFp16});
  }
  expect_batch(random_model(rng, 4), kit::find_device("a100-80gb"), 3, {});
  // A machine with so little arithmetic that one sequence is enough.
  expect_batch(m, {"slow", "slow", 1, 1e12, {{kFp16, 1e11}}}, 10, {});
}

TEST(Operations, LongCachesKeepDecodeMemoryBound) {
  // A sequence of 4096 tokens brings 2.1 GB of keys and values and 15 GFLOPs: 7 FLOPs a byte, whatever the
  // batch.
  const auto batch = lab01::compute_bound_batch(kit::find_model("llama2-7b").config,
                                                kit::find_device("a100-80gb"), 4096, {});
  EXPECT_FALSE(batch.has_value())
      << "got " << batch.value_or(0)
      << ". Likely cause: the result matches a decode step whose caches are not read";
}

TEST(Operations, RejectsWhatCannotBe) {
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  const kit::ModelConfig& m = kit::find_model("llama2-7b").config;
  const kit::Device& a100 = kit::find_device("a100-80gb");
  EXPECT_TRUE(throws_error([] { (void)lab01::linear_work(0, 1, 1, {}); }, "n_tokens")) << "no tokens";
  EXPECT_TRUE(throws_error([] { (void)lab01::linear_work(1, -4, 1, {}); }, "-4")) << "in -4";
  EXPECT_TRUE(throws_error([] { (void)lab01::linear_work(1, 1, 0, {}); }, "out")) << "out 0";
  EXPECT_TRUE(throws_error([] { (void)lab01::linear_work(kHuge / 2, 8, 8, {}); }, std::to_string(kHuge / 2)))
      << "the FLOPs do not fit 64 bits";
  EXPECT_TRUE(throws_error([&] { (void)lab01::attention_work(m, {0, 1, 1}, {}); }, "batch")) << "batch 0";
  EXPECT_TRUE(throws_error([&] { (void)lab01::attention_work(m, {1, 0, 1}, {}); }, "q_len")) << "q_len 0";
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab01::attention_work(m, {1, 9, 8}, {});
      },
      "9"))
      << "9 queries, 8 keys";
  EXPECT_TRUE(throws_error([&] { (void)lab01::mlp_work(m, -1, {}); }, "-1")) << "-1 tokens";
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab01::analyse_step(m, a100, {1, 9, 8}, {});
      },
      "9"))
      << "9 queries, 8 keys";
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab01::analyse_step(m, a100, {}, {{kFp16}, kFp16, kFp8});
      },
      "fp8"))
      << "an A100 has no fp8 arithmetic";
  EXPECT_TRUE(throws_error([&] { (void)lab01::compute_bound_batch(m, a100, 0, {}); })) << "kv_len 0";
}

}  // namespace
