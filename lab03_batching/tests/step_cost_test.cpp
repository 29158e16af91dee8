#include "lab03/step_cost.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "kit/model_table.h"
#include "kit/testing.h"
#include "step_reference.h"

namespace {

using kit::NumberFormat;
using kit::SequenceStep;
using kit::testing::KnownCount;
using kit::testing::KnownValue;
using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab03::BatchLimit;
using lab03::BestBatch;
using lab03::StepBound;
using lab03::StepCost;
using lab03::StepFormats;
using namespace lab03_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<KnownCount> flop_mistakes(const kit::ModelConfig& m, const StepFormats& f,
                                      std::span<const SequenceStep> batch) {
  const auto with = [&](const StepMistake& wrong) { return reference_work(m, f, batch, wrong).flops; };
  return {
      {"the output head for every token; only the last of a sequence needs logits",
       with({.head_for_every_token = true})},
      {"no causal mask: q_len * kv_len pairs, of which queries do not see all", with({.all_pairs = true})},
      {"one FLOP for a multiply-add; it is two", with({.multiply_adds = true})},
      {"no output head", with({.no_head = true})}};
}

std::vector<KnownCount> byte_mistakes(const kit::ModelConfig& m, const StepFormats& f,
                                      std::span<const SequenceStep> batch) {
  const auto with = [&](const StepMistake& wrong) { return reference_work(m, f, batch, wrong).bytes; };
  const std::int64_t table = head_weights(m) * bits_of(f.weights) / 8;
  return {{"weights read for every sequence; the batch shares one pass over them",
           with({.weights_for_every_sequence = true})},
          {"keys and values of query heads (n_heads); the cache has n_kv_heads",
           with({.kv_with_query_heads = true})},
          {"keys without values", with({.keys_only = true})},
          {"no keys and values written", with({.kv_not_written = true})},
          {"no output head", with({.no_head = true})},
          {"the embedding table read, too; a step looks up single rows", with({}) + table}};
}

void expect_cost(const kit::ModelConfig& m, const kit::Device& device, const StepFormats& f,
                 std::span<const SequenceStep> batch) {
  const StepWork expected = reference_work(m, f, batch);
  const StepCost got = lab03::step_cost(m, device, f, batch);
  const std::string what =
      fmt::format("{} sequences, the first q_len {} and kv_len {}, weights {}, kv {}: {}", batch.size(),
                  batch[0].q_len, batch[0].kv_len, kit::name(f.weights), kit::name(f.kv), describe(m));
  EXPECT_TRUE(matches_count(got.flops, expected.flops, flop_mistakes(m, f, batch))) << "FLOPs, " << what;
  EXPECT_TRUE(matches_count(got.bytes, expected.bytes, byte_mistakes(m, f, batch))) << "bytes, " << what;
}

/// Sizes so small that everything can be done by hand.
kit::ModelConfig tiny_model() {
  kit::ModelConfig m;
  m.n_layers = 2, m.dim = 8, m.n_heads = 2, m.n_kv_heads = 1, m.head_dim = 4, m.hidden_dim = 16;
  m.vocab_size = 32, m.max_seq_len = 100;
  return m;
}

kit::Device device_with(double bandwidth_bytes_per_s, double peak_flop_per_s) {
  return {.name = "some-device",
          .title = "some device",
          .memory_bytes = 1'000'000'000,
          .bandwidth_bytes_per_s = bandwidth_bytes_per_s,
          .peak_flop_per_s = {{NumberFormat::kFp16, peak_flop_per_s}}};
}

// W = 2 * (2*8*2*4 + 2*8*1*4 + 3*8*16) = 2 * (128 + 64 + 384) = 1152, H = 32 * 8 = 256.
// One sequence writes its 5th token; another runs the last 3 of 7 prompt tokens.
//   tokens 1 + 3 = 4, sequences 2, pairs 5 + (5 + 6 + 7) = 23, positions read 5 + 7, written 1 + 3
//   FLOPs  2*1152*4 + 2*256*2 + 4*2*2*4*23 = 9216 + 1024 + 1472 = 11712
//   bytes  (1152 + 256) * 2 = 2816 in FP16; a position is 2*2*1*4 = 16 numbers, in INT8 16 bytes:
//          2816 + 16 * (12 + 4) = 3072
//   11712 / 3072 = 3.8125 FLOP/byte. At 1 GB/s 3.072 us; at 4 GFLOP/s 2.928 us: memory.
TEST(StepCost, ByHand) {
  const kit::ModelConfig m = tiny_model();
  const StepFormats f = {.weights = NumberFormat::kFp16, .kv = NumberFormat::kInt8};
  const std::vector<SequenceStep> batch = {{1, 5}, {3, 7}};
  const StepCost got = lab03::step_cost(m, device_with(1e9, 4e9), f, batch);
  EXPECT_TRUE(matches_count(got.flops, 11712, flop_mistakes(m, f, batch)));
  EXPECT_TRUE(matches_count(got.bytes, 3072, byte_mistakes(m, f, batch)));
  EXPECT_TRUE(
      matches_value(got.intensity, 3.8125, kExact, std::vector<KnownValue>{{"bytes per FLOP", 1 / 3.8125}}));
  EXPECT_TRUE(matches_value(got.ms, 3.072e-3, kExact,
                            std::vector<KnownValue>{{"the sum of both times; they overlap", 6.0e-3},
                                                    {"the faster of the two", 2.928e-3},
                                                    {"seconds", 3.072e-6}}));
  EXPECT_EQ(got.bound, StepBound::kMemory);
}

TEST(StepCost, DecodeReadsTheWeightsOnceForTheBatch) {
  kit::Rng rng = kit::testing::make_rng(40);
  const kit::Device device = random_device(rng);
  for (const int batch : {1, 2, 31, 33, 256}) {
    expect_cost(random_model(rng, 4), device, {}, decode_batch(batch, between(rng, 1, 3000)));
  }
}

TEST(StepCost, EverySequenceBringsItsOwnCache) {
  kit::Rng rng = kit::testing::make_rng(41);
  const kit::Device device = random_device(rng);
  for (const int group : {1, 3, 8}) {
    std::vector<SequenceStep> batch(17, {1, 0});
    for (SequenceStep& step : batch) step.kv_len = between(rng, 1, 4000);
    expect_cost(random_model(rng, group), device, {}, batch);
  }
}

TEST(StepCost, PrefillCountsCausalPairs) {
  kit::Rng rng = kit::testing::make_rng(42);
  const kit::Device device = random_device(rng);
  for (const int prompt_len : {1, 2, 31, 33, 1000}) {
    const kit::ModelConfig m = random_model(rng, 4);
    expect_cost(m, device, {}, std::vector<SequenceStep>{{prompt_len, prompt_len}});
    expect_cost(m, device, {}, std::vector<SequenceStep>{{prompt_len, prompt_len + between(rng, 1, 500)}});
  }
}

TEST(StepCost, PrefillAndDecodeShareAStep) {
  kit::Rng rng = kit::testing::make_rng(43);
  const kit::Device device = random_device(rng);
  for (int i = 0; i < 10; ++i) {
    std::vector<SequenceStep> batch;
    for (int s = between(rng, 2, 40); s > 0; --s) {
      const int q_len = rng.below(2) == 0 ? 1 : between(rng, 1, 600);
      batch.push_back({q_len, q_len + between(rng, 0, 1500)});
    }
    expect_cost(random_model(rng, between(rng, 1, 8)), device, {}, batch);
  }
}

// Chunks add up to the whole prompt but for the output head, which each chunk pays again, and each chunk
// reads weights and earlier keys again.
TEST(StepCost, ChunksAddUpInFlopsAndNotInBytes) {
  kit::Rng rng = kit::testing::make_rng(44);
  const kit::Device device = random_device(rng);
  const kit::ModelConfig m = random_model(rng, 4);
  const auto cost = [&](int q_len, int kv_len) {
    return lab03::step_cost(m, device, {}, std::vector<SequenceStep>{{q_len, kv_len}});
  };
  const StepCost whole = cost(1000, 1000);
  const StepCost first = cost(300, 300), second = cost(333, 633), third = cost(367, 1000);
  EXPECT_EQ(first.flops + second.flops + third.flops, whole.flops + 2 * 2 * head_weights(m))
      << "each pair of a query and a key is computed once, however a prompt is cut";
  const std::int64_t position = 2 * 2 * std::int64_t{m.n_layers} * m.n_kv_heads * m.head_dim;  // FP16
  EXPECT_EQ(first.bytes + second.bytes + third.bytes,
            whole.bytes + 2 * 2 * (linear_weights(m) + head_weights(m)) + position * (300 + 633))
      << "two more passes over the weights, and the cache of 300 and of 633 positions read again";
}

TEST(StepCost, EveryFormat) {
  kit::Rng rng = kit::testing::make_rng(45);
  const kit::Device device = random_device(rng);
  for (const NumberFormat weights : {NumberFormat::kFp32, NumberFormat::kFp16, NumberFormat::kBf16,
                                     NumberFormat::kFp8, NumberFormat::kInt8, NumberFormat::kInt4}) {
    for (const NumberFormat kv :
         {NumberFormat::kFp32, NumberFormat::kFp16, NumberFormat::kInt8, NumberFormat::kInt4}) {
      expect_cost(random_model(rng, 2), device, {.weights = weights, .kv = kv}, decode_batch(5, 777));
    }
  }
}

// 1 layer, dim 1, one head of 1, hidden_dim 1, a vocabulary of 2: W = 2 + 2 + 3 = 7, H = 2, together 9
// numbers. In INT4 36 bits; one position of the cache is 2 numbers, at kv_len 2 read 2 and written 1: 6
// numbers, 24 bits in INT4. 60 bits are 7.5 bytes: 8.
TEST(StepCost, BitsAreRoundedUpOnce) {
  kit::ModelConfig m;
  m.n_layers = m.dim = m.n_heads = m.n_kv_heads = m.head_dim = m.hidden_dim = 1;
  m.vocab_size = 2;
  const StepFormats int4 = {.weights = NumberFormat::kInt4, .kv = NumberFormat::kInt4};
  const StepCost got = lab03::step_cost(m, device_with(1e9, 1e9), int4, std::vector<SequenceStep>{{1, 2}});
  EXPECT_TRUE(matches_count(got.bytes, 8,
                            std::vector<KnownCount>{{"bits of a byte that is not full cut off", 7},
                                                    {"bits taken for bytes", 60},
                                                    {"4 bits taken for a byte", 15}}));
}

TEST(StepCost, PeakIsThatOfTheComputeFormat) {
  const kit::Device& h100 = kit::find_device("h100-sxm");
  const kit::ModelConfig& m = kit::find_model("llama3-8b").config;
  const std::vector<SequenceStep> prompt = {{2048, 2048}};
  for (const NumberFormat compute :
       {NumberFormat::kFp32, NumberFormat::kFp16, NumberFormat::kFp8, NumberFormat::kInt8}) {
    const StepFormats f = {.weights = NumberFormat::kInt4, .kv = NumberFormat::kFp8, .compute = compute};
    const StepCost got = lab03::step_cost(m, h100, f, prompt);
    const StepWork work = reference_work(m, f, prompt);
    EXPECT_TRUE(matches_value(got.ms, compute_ms(h100, f, work), kExact))
        << "computed in " << kit::name(compute);
    EXPECT_EQ(got.bound, StepBound::kCompute);
  }
  EXPECT_TRUE(throws_error([&] { (void)lab03::step_cost(m, h100, {.compute = NumberFormat::kInt4}, prompt); },
                           "int4"))
      << "an H100 does not multiply in INT4";
}

TEST(StepCost, TimeIsThatOfTheLongerOfBoth) {
  kit::Rng rng = kit::testing::make_rng(47);
  int n_compute = 0, n_memory = 0;
  for (int i = 0; i < 60; ++i) {
    const kit::Device device = random_device(rng);
    const kit::ModelConfig m = random_model(rng, 4);
    const int q_len = i % 2 == 0 ? 1 : between(rng, 1, 2000);
    const std::vector<SequenceStep> batch(static_cast<std::size_t>(between(rng, 1, 8)), {q_len, q_len + 100});
    const StepWork work = reference_work(m, {}, batch);
    const double memory = memory_ms(device, work), compute = compute_ms(device, {}, work);
    const StepCost got = lab03::step_cost(m, device, {}, batch);
    EXPECT_TRUE(
        matches_value(got.ms, std::max(memory, compute), kExact,
                      std::vector<KnownValue>{{"the sum of both times; they overlap", memory + compute},
                                              {"the faster of the two", std::min(memory, compute)},
                                              {"seconds", std::max(memory, compute) / 1e3}}));
    EXPECT_TRUE(matches_value(got.intensity,
                              static_cast<double>(work.flops) / static_cast<double>(work.bytes), kExact));
    EXPECT_EQ(got.bound, compute > memory ? StepBound::kCompute : StepBound::kMemory)
        << memory << " ms of reading, " << compute << " ms of arithmetic";
    (compute > memory ? n_compute : n_memory) += 1;
  }
  EXPECT_GT(n_compute, 0) << "this test should have seen both";
  EXPECT_GT(n_memory, 0) << "this test should have seen both";
  // 3072 bytes at 3072 B/s and 11712 FLOPs at 11712 FLOP/s (ByHand): a second each.
  const StepCost equal = lab03::step_cost(tiny_model(), device_with(3072, 11712), {.kv = NumberFormat::kInt8},
                                          std::vector<SequenceStep>{{1, 5}, {3, 7}});
  EXPECT_EQ(equal.ms, 1000.0);
  EXPECT_EQ(equal.bound, StepBound::kMemory) << "equal times: memory";
}

/// The smallest size from 1 on at which a step is compute-bound.
template <class Batch>
std::optional<int> first_compute_bound(const kit::ModelConfig& m, const Batch& batch_of, int most) {
  const kit::Device& a100 = kit::find_device("a100-80gb");
  for (int size = 1; size <= most; ++size) {
    if (lab03::step_cost(m, a100, {}, batch_of(size)).bound == StepBound::kCompute) return size;
  }
  return std::nullopt;
}

// An A100 (80 GB SXM) does 312e12 / 2.039e12 = 153.02 FLOPs in the time of a byte.
//   LLaMA-2-70B: W + H = 68,713,185,280 numbers. At 1024 positions a token has 2 * 68,713,185,280 + 4 * 80 *
//   64 * 128 * 1024 = 140,110,725,120 FLOPs, a sequence 1025 * 327,680 = 335,872,000 bytes of cache.
//   B * 140,110,725,120 > 153.02 * (137,426,370,560 + B * 335,872,000)  <=>  B > 237.03: 238.
//   LLaMA-2-7B, W + H = 6,607,077,376: 13,751,025,664 FLOPs, but 537,395,200 bytes a sequence, whose share of
//   153.02 FLOPs each is 82e9: never.
TEST(StepCost, DecodeTurnsComputeBoundWithTheBatchOrNever) {
  const auto decode = [](int batch) { return decode_batch(batch, 1024); };
  EXPECT_EQ(first_compute_bound(kit::find_model("llama2-70b").config, decode, 300), 238);
  EXPECT_EQ(first_compute_bound(kit::find_model("llama2-7b").config, decode, 300), std::nullopt);
}

// Without attention and cache a prompt of P tokens has 2 W P + 2 H FLOPs for 2 (W + H) bytes: the ridge of
// 153.02 is passed at P = 154 to 165, depending on how large the head is, which only one token uses.
TEST(StepCost, PrefillTurnsComputeBoundWithTheRidge) {
  const auto prompt = [](int prompt_len) { return std::vector<SequenceStep>{{prompt_len, prompt_len}}; };
  EXPECT_EQ(first_compute_bound(kit::find_model("llama2-70b").config, prompt, 200), 154);
  EXPECT_EQ(first_compute_bound(kit::find_model("llama2-7b").config, prompt, 200), 158);
  EXPECT_EQ(first_compute_bound(kit::find_model("llama3-8b").config, prompt, 200), 165);
}

// The figure of the report: Llama-3-8B in FP16 with 2048 cached tokens a sequence, on an H100. Intensity
// grows in proportion to the batch while the weights' bytes dominate, and tends to (FLOPs a token) / (cache
// bytes of a sequence) = 16,083,058,688 / 268,566,528 = 59.9, a fifth of the ridge of 295.
TEST(StepCost, IntensityGrowsWithTheBatchAndFlattens) {
  const kit::Device& h100 = kit::find_device("h100-sxm");
  const kit::ModelConfig& m = kit::find_model("llama3-8b").config;
  std::vector<double> batches, intensity, tokens_per_s, ridge;
  for (int batch = 1; batch <= 1024; batch *= 2) {
    const StepCost got = lab03::step_cost(m, h100, {}, decode_batch(batch, 2048));
    batches.push_back(batch);
    intensity.push_back(got.intensity);
    tokens_per_s.push_back(1e3 * batch / got.ms);
    ridge.push_back(kit::peak_flop_per_s(h100, NumberFormat::kFp16) / h100.bandwidth_bytes_per_s);
  }
  kit::testing::record_series("batch", batches);
  kit::testing::record_series("intensity", intensity);
  kit::testing::record_series("tokens_per_s", tokens_per_s);
  kit::testing::record_series("ridge", ridge);

  // (W + H) * 2 / 268,566,528 = 55.9 sequences bring as many bytes as the weights.
  EXPECT_GT(intensity[3] / intensity[0], 7.0) << "8 sequences: nearly 8 times the FLOPs for each byte";
  EXPECT_LT(intensity[10] / intensity[9], 1.1) << "from 512 to 1024 there is little left to share";
  const double limit = 16'083'058'688.0 / 268'566'528.0;
  for (const double x : intensity) EXPECT_LT(x, limit) << "every sequence brings its own cache";
  EXPECT_GT(intensity[10], 0.9 * limit);
  EXPECT_TRUE(matches_value(tokens_per_s[6], 64e3 / memory_ms(h100, decode_work(m, {}, 64, 2048)), kExact,
                            std::vector<KnownValue>{{"weights read for every sequence", tokens_per_s[0]}}));
}

// 4e9 tokens a step do not fit 32 bits, nor do 70e9 weights; 64 bits are enough for both.
TEST(StepCost, ProductsMayExceed32Bits) {
  const kit::ModelConfig& m = kit::find_model("llama2-70b").config;
  const kit::Device& h200 = kit::find_device("h200-sxm");
  const std::vector<SequenceStep> batch = {{100'000, 1'000'000}, {1, 2'000'000}};
  // pairs: 100,000 * 1,000,000 - 100,000 * 99,999 / 2 + 2,000,000 = 95,002,050,000
  const StepCost got = lab03::step_cost(m, h200, {}, batch);
  EXPECT_EQ(got.flops,
            2 * 68'451'041'280 * 100'001 + 2 * 262'144'000LL * 2 + 4 * 80 * 64 * 128 * 95'002'050'000LL);
  EXPECT_EQ(got.bytes, 2 * 68'713'185'280 + 327'680LL * (3'000'000 + 100'001));
}

TEST(StepCost, RejectsWhatDoesNotFit64Bits) {
  kit::ModelConfig m = kit::find_model("llama2-70b").config;
  const kit::Device& h200 = kit::find_device("h200-sxm");
  // 2 * 68e9 FLOPs times 2e9 tokens are 2.7e20, more than 9.2e18.
  EXPECT_TRUE(throws_error([&] {
    (void)lab03::step_cost(m, h200, {}, std::vector<SequenceStep>{{2'000'000'000, 2'000'000'000}});
  })) << "FLOPs of 2e9 tokens";
  m.n_layers = m.dim = m.hidden_dim = 2'000'000'000;
  EXPECT_TRUE(throws_error([&] { (void)lab03::step_cost(m, h200, {}, decode_batch(1, 10)); }))
      << "2.4e28 weights";
}

TEST(StepCost, RejectsWhatCannotBe) {
  const kit::ModelConfig good = tiny_model();
  const kit::Device device = device_with(1e9, 1e9);
  const auto batch = [&](SequenceStep step) {
    return [&, step] { (void)lab03::step_cost(good, device, {}, std::vector<SequenceStep>{{1, 1}, step}); };
  };
  EXPECT_TRUE(throws_error([&] { (void)lab03::step_cost(good, device, {}, {}); })) << "an empty batch";
  EXPECT_TRUE(throws_error(batch({0, 5}), "0")) << "no query";
  EXPECT_TRUE(throws_error(batch({-4, 5}), "-4")) << "-4 queries";
  EXPECT_TRUE(throws_error(batch({1, 0}), "0")) << "a cache without the new token";
  EXPECT_TRUE(throws_error(batch({1, -5}), "-5")) << "a cache of -5";
  EXPECT_TRUE(throws_error(batch({9, 8}), "9")) << "9 queries at 8 positions";
  for (int kit::ModelConfig::*count :
       {&kit::ModelConfig::vocab_size, &kit::ModelConfig::dim, &kit::ModelConfig::hidden_dim,
        &kit::ModelConfig::n_layers, &kit::ModelConfig::n_heads, &kit::ModelConfig::n_kv_heads,
        &kit::ModelConfig::head_dim}) {
    for (const int value : {0, -6}) {
      kit::ModelConfig m = good;
      m.*count = value;
      EXPECT_TRUE(throws_error([&] { (void)lab03::step_cost(m, device, {}, decode_batch(1, 4)); },
                               std::to_string(value)))
          << "a count of " << value;
    }
  }
}

/// Tries every batch.
BestBatch brute_force(const kit::ModelConfig& m, const kit::Device& device, const StepFormats& f, int kv_len,
                      double max_step_ms, std::int64_t budget) {
  const std::int64_t kv_bytes =
      2 * std::int64_t{m.n_layers} * m.n_kv_heads * m.head_dim * kv_len * bits_of(f.kv) / 8;
  BestBatch best;
  for (std::int64_t batch = 1; batch < 1'000'000; ++batch) {
    const double ms = roofline_ms(device, f, decode_work(m, f, batch, kv_len));
    const bool fits = batch * kv_bytes <= budget;
    best.limit = fits ? BatchLimit::kLatency : BatchLimit::kMemory;
    if (!fits || ms > max_step_ms) return best;
    best.batch = batch, best.step_ms = ms, best.tokens_per_s = 1e3 * static_cast<double>(batch) / ms;
  }
  return best;
}

const char* name(BatchLimit limit) {
  return limit == BatchLimit::kMemory ? "memory" : "latency";
}

/// Where the batch is wrong: the usual reasons, computed only then, since some take many steps.
std::vector<KnownCount> batch_mistakes(const kit::ModelConfig& m, const kit::Device& device,
                                       const StepFormats& f, int kv_len, double max_step_ms,
                                       std::int64_t budget, std::int64_t expected) {
  const std::int64_t group = m.n_heads / m.n_kv_heads;
  const double alone_ms = roofline_ms(device, f, decode_work(m, f, 1, kv_len));
  return {{"a budget in which every query head has keys and values of its own",
           brute_force(m, device, f, kv_len, max_step_ms, budget / group).batch},
          {"the latency limit without the budget",
           brute_force(m, device, f, kv_len, max_step_ms, std::int64_t{1} << 60).batch},
          {"the budget without the latency limit", brute_force(m, device, f, kv_len, 1e30, budget).batch},
          {"a batch for which weights are read for every sequence",
           static_cast<std::int64_t>(max_step_ms / alone_ms)},
          {"one more than allowed", expected + 1},
          {"one fewer than allowed", expected - 1}};
}

void expect_best(const kit::ModelConfig& m, const kit::Device& device, const StepFormats& f, int kv_len,
                 double max_step_ms, std::int64_t budget, BatchLimit limit) {
  const BestBatch expected = brute_force(m, device, f, kv_len, max_step_ms, budget);
  ASSERT_STREQ(name(expected.limit), name(limit)) << "the test's own case is another";
  const BestBatch got = lab03::best_batch(m, device, f, kv_len, max_step_ms, budget);
  std::vector<KnownCount> mistakes;
  if (got.batch != expected.batch)
    mistakes = batch_mistakes(m, device, f, kv_len, max_step_ms, budget, expected.batch);
  EXPECT_TRUE(matches_count(got.batch, expected.batch, mistakes))
      << fmt::format("kv_len {}, at most {} ms, {} bytes: {}", kv_len, max_step_ms, budget, describe(m));
  EXPECT_TRUE(matches_value(got.step_ms, expected.step_ms, kExact,
                            std::vector<KnownValue>{{"the time of one sequence alone",
                                                     roofline_ms(device, f, decode_work(m, f, 1, kv_len))}}));
  EXPECT_TRUE(
      matches_value(got.tokens_per_s, expected.tokens_per_s, kExact,
                    std::vector<KnownValue>{{"tokens a second of one sequence", 1e3 / expected.step_ms},
                                            {"tokens a millisecond", expected.tokens_per_s / 1e3}}));
  EXPECT_STREQ(name(got.limit), name(expected.limit))
      << "what forbids " << got.batch + 1 << " sequences; memory when both do";
}

// Cache of one sequence: 2 * 2 * 1 * 4 numbers * 5 positions * 2 bytes = 160 bytes. Weights: (1152 + 256) * 2
// = 2816 bytes. A step of B reads and writes 2816 + B * 32 * 6 bytes: at 1 MB/s 2.816 ms + B * 0.192 ms.
//   3.9 ms allow (3.9 - 2.816) / 0.192 = 5.6: 5 sequences; 1000 bytes of cache allow 6, 700 bytes 4.
//   B * (2*1152 + 2*256 + 4*2*2*4 * 5) = B * 3136 FLOPs: at 1 GFLOP/s nothing.
TEST(BestBatch, ByHand) {
  const kit::Device device = device_with(1e6, 1e9);
  const BestBatch by_latency = lab03::best_batch(tiny_model(), device, {}, 5, 3.9, 1000);
  EXPECT_EQ(by_latency.batch, 5);
  EXPECT_TRUE(matches_value(by_latency.step_ms, 3.776, kExact));
  EXPECT_TRUE(matches_value(by_latency.tokens_per_s, 5 / 3.776e-3, kExact,
                            std::vector<KnownValue>{{"tokens a second of one sequence", 1 / 3.776e-3}}));
  EXPECT_STREQ(name(by_latency.limit), "latency");
  const BestBatch by_memory = lab03::best_batch(tiny_model(), device, {}, 5, 3.9, 700);
  EXPECT_EQ(by_memory.batch, 4);
  EXPECT_STREQ(name(by_memory.limit), "memory");
  const BestBatch by_both = lab03::best_batch(tiny_model(), device, {}, 5, 3.9, 800);
  EXPECT_EQ(by_both.batch, 5);
  EXPECT_STREQ(name(by_both.limit), "memory") << "a sixth would be too slow AND would not fit: memory";
}

TEST(BestBatch, LatencyLimits) {
  kit::Rng rng = kit::testing::make_rng(48);
  for (int i = 0; i < 20; ++i) {
    const kit::ModelConfig m = random_model(rng, between(rng, 1, 8));
    const kit::Device device = random_device(rng);
    const int kv_len = between(rng, 1, 2000);
    // Between the time of one batch and the next, so that rounding decides nothing.
    const int wanted = between(rng, 1, 300);
    const double low = roofline_ms(device, {}, decode_work(m, {}, wanted, kv_len));
    const double high = roofline_ms(device, {}, decode_work(m, {}, wanted + 1, kv_len));
    expect_best(m, device, {}, kv_len, (low + high) / 2, 1'000'000'000'000'000, BatchLimit::kLatency);
  }
}

TEST(BestBatch, MemoryLimits) {
  kit::Rng rng = kit::testing::make_rng(49);
  for (int i = 0; i < 20; ++i) {
    const kit::ModelConfig m = random_model(rng, between(rng, 2, 8));
    const StepFormats f = {.kv = i % 2 == 0 ? NumberFormat::kFp16 : NumberFormat::kInt4};
    const int kv_len = between(rng, 1, 2000);
    const std::int64_t sequence =
        2 * std::int64_t{m.n_layers} * m.n_kv_heads * m.head_dim * kv_len * bits_of(f.kv) / 8;
    const std::int64_t wanted = between(rng, 1, 300);
    const kit::Device device = random_device(rng);
    expect_best(m, device, f, kv_len, 1e6, wanted * sequence, BatchLimit::kMemory);  // to the last byte
    expect_best(m, device, f, kv_len, 1e6, (wanted + 1) * sequence - 1, BatchLimit::kMemory);
  }
}

// 2^30 bytes/s, and times of whole bytes in it: exact in double, so a step that takes just as long as allowed
// is allowed.
TEST(BestBatch, ExactlyAsLongAsAllowedIsAllowed) {
  const kit::Device device = device_with(1024.0 * 1024 * 1024, 1e15);
  const kit::ModelConfig m = tiny_model();
  for (const int wanted : {1, 2, 7, 64, 100}) {
    const double ms = memory_ms(device, decode_work(m, {}, wanted, 9));
    const BestBatch got = lab03::best_batch(m, device, {}, 9, ms, 1'000'000'000);
    EXPECT_EQ(got.batch, wanted) << ms << " ms";
    EXPECT_EQ(got.step_ms, ms);
    EXPECT_STREQ(name(got.limit), "latency");
  }
}

// Llama-3-8B in FP16 on an H100 with 60 GB for caches of 2048 tokens, 268,435,456 bytes each: 223 fit.
TEST(BestBatch, Llama8bOnAnH100) {
  const kit::ModelConfig& m = kit::find_model("llama3-8b").config;
  const kit::Device& h100 = kit::find_device("h100-sxm");
  expect_best(m, h100, {}, 2048, 10.0, 60'000'000'000, BatchLimit::kLatency);  // 68
  expect_best(m, h100, {}, 2048, 20.0, 60'000'000'000, BatchLimit::kLatency);  // 193
  expect_best(m, h100, {}, 2048, 50.0, 60'000'000'000, BatchLimit::kMemory);   // 223, whatever the users bear
  // A short text of many users is bound by arithmetic, and the latency limits there, too.
  expect_best(m, h100, {}, 32, 50.0, 60'000'000'000, BatchLimit::kLatency);
  EXPECT_EQ(lab03::best_batch(m, h100, {}, 2048, 50.0, 60'000'000'000).batch, 223);
  EXPECT_EQ(lab03::best_batch(m, h100, {}, 2048, 10.0, 60'000'000'000).batch, 68);
}

TEST(BestBatch, RejectsWhatCannotBe) {
  const kit::ModelConfig m = tiny_model();
  const kit::Device device = device_with(1e6, 1e9);  // one sequence: 3.008 ms and 160 bytes of cache
  const auto best = [&](int kv_len, double max_step_ms, std::int64_t budget) {
    return [&, kv_len, max_step_ms, budget] {
      (void)lab03::best_batch(m, device, {}, kv_len, max_step_ms, budget);
    };
  };
  EXPECT_TRUE(throws_error(best(5, 3.0, 1000), "max_step_ms")) << "too slow even for one";
  EXPECT_TRUE(throws_error(best(5, 10.0, 159), "kv_budget_bytes")) << "too large even for one";
  EXPECT_TRUE(throws_error(best(5, 10.0, 0), "kv_budget_bytes")) << "no memory";
  EXPECT_TRUE(throws_error(best(5, 10.0, -7), "kv_budget_bytes")) << "-7 bytes";
  EXPECT_TRUE(throws_error(best(5, 0.0, 1000), "max_step_ms")) << "0 ms";
  EXPECT_TRUE(throws_error(best(5, -1.0, 1000), "max_step_ms")) << "-1 ms";
  EXPECT_TRUE(throws_error(best(5, kNan, 1000), "max_step_ms")) << "NaN ms";
  EXPECT_TRUE(throws_error(best(0, 10.0, 1000), "0")) << "no position";
  EXPECT_TRUE(throws_error(best(-5, 10.0, 1000), "-5")) << "-5 positions";
  kit::ModelConfig headless = m;
  headless.n_kv_heads = 0;
  EXPECT_TRUE(throws_error([&] { (void)lab03::best_batch(headless, device, {}, 5, 10.0, 1000); }, "0"))
      << "no key/value heads";
}

}  // namespace
