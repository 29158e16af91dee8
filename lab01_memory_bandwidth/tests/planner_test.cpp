#include "lab01/planner.h"

#include <gtest/gtest.h>

#include "kit/model_table.h"
#include "reference.h"

namespace {

using kit::testing::matches_count;
using kit::testing::matches_value;
using kit::testing::throws_error;
using lab01::Change;
using lab01::Configuration;
using lab01::Formats;
using lab01::Suggestion;
using namespace lab01_tests;  // NOLINT(google-build-using-namespace): the lab's own test helpers

using enum kit::NumberFormat;

constexpr double kExact = 1e-12;  // a handful of double operations, 1e-16 each

std::int64_t divided(std::int64_t bytes, std::int64_t n) {
  return (bytes + n - 1) / n;
}

/// Parameters of the Llama architecture, from its matrices.
std::int64_t parameters(const kit::ModelConfig& m) {
  const std::int64_t layer = 2 * std::int64_t{m.dim} * m.n_heads * m.head_dim +
                             2 * std::int64_t{m.dim} * m.n_kv_heads * m.head_dim +
                             3 * std::int64_t{m.dim} * m.hidden_dim + 2 * m.dim;
  const std::int64_t table = std::int64_t{m.vocab_size} * m.dim;
  return m.n_layers * layer + m.dim + (m.tie_word_embeddings ? 1 : 2) * table;
}

lab01::Footprint reference_footprint(const kit::ModelConfig& m, const Configuration& c) {
  lab01::Footprint f;
  f.weight_bytes = divided(reference_weight_bytes(parameters(m), c.formats.weights), c.n_devices);
  f.kv_bytes = divided(reference_kv_bytes(m, c.batch, c.seq_len, c.formats.kv), c.n_devices);
  f.activation_bytes = std::max(
      reference_activation_bytes(m, c.batch, 1, c.formats.activations),
      reference_activation_bytes(m, 1, std::min<std::int64_t>(c.seq_len, 512), c.formats.activations));
  f.total_bytes = f.weight_bytes + f.kv_bytes + f.activation_bytes;
  return f;
}

bool reference_fits(const kit::ModelConfig& m, const kit::Device& d, const Configuration& c) {
  return reference_footprint(m, c).total_bytes <= d.memory_bytes;
}

void expect_footprint(const lab01::Footprint& got, const kit::ModelConfig& m, const Configuration& c) {
  const lab01::Footprint want = reference_footprint(m, c);
  const std::int64_t shared = m.n_heads / m.n_kv_heads;
  const std::int64_t whole_prompt = reference_activation_bytes(m, c.batch, c.seq_len, c.formats.activations);
  EXPECT_TRUE(
      matches_count(got.weight_bytes, want.weight_bytes,
                    std::vector<KnownCount>{{"the weights of all devices", want.weight_bytes * c.n_devices},
                                            {"bits taken for bytes", want.weight_bytes * 8}}))
      << "weight_bytes";
  EXPECT_TRUE(matches_count(
      got.kv_bytes, want.kv_bytes,
      std::vector<KnownCount>{{"the value with query heads instead of KV heads", want.kv_bytes * shared},
                              {"a value off by the factor 2 of K and V", want.kv_bytes / 2},
                              {"the caches of all devices", want.kv_bytes * c.n_devices}}))
      << "kv_bytes";
  EXPECT_TRUE(matches_count(
      got.activation_bytes, want.activation_bytes,
      std::vector<KnownCount>{
          {"activations of all prompts at once; they run in chunks, one sequence at a time", whole_prompt},
          {"activations of a decode step alone; a prefill chunk needs more",
           reference_activation_bytes(m, c.batch, 1, c.formats.activations)}}))
      << "activation_bytes";
  EXPECT_TRUE(matches_count(got.total_bytes, want.total_bytes)) << "total_bytes";
}

/// Numbers of a configuration, and whether it fits.
void expect_assessment(const lab01::Assessment& got, const kit::ModelConfig& m, const kit::Device& d,
                       const Configuration& c) {
  SCOPED_TRACE(fmt::format("{} devices {}, batch {}, seq_len {}, weights {}, cache {}", c.n_devices, d.name,
                           c.batch, c.seq_len, kit::name(c.formats.weights.number), kit::name(c.formats.kv)));
  EXPECT_EQ(got.configuration.batch, c.batch);
  EXPECT_EQ(got.configuration.seq_len, c.seq_len);
  EXPECT_EQ(got.configuration.n_devices, c.n_devices);
  EXPECT_EQ(kit::name(got.configuration.formats.weights.number), kit::name(c.formats.weights.number));
  EXPECT_EQ(got.configuration.formats.weights.group_size, c.formats.weights.group_size);
  EXPECT_EQ(kit::name(got.configuration.formats.kv), kit::name(c.formats.kv));
  expect_footprint(got.per_device, m, c);
  EXPECT_EQ(got.fits, reference_fits(m, d, c));

  const std::int64_t table = m.tie_word_embeddings ? 0 : std::int64_t{m.vocab_size} * m.dim;
  const auto all_weights = static_cast<double>(reference_weight_bytes(parameters(m), c.formats.weights));
  const auto weights = static_cast<double>(reference_weight_bytes(parameters(m) - table, c.formats.weights));
  const auto caches = static_cast<double>(reference_kv_bytes(m, c.batch, c.seq_len, c.formats.kv));
  const double bandwidth = d.bandwidth_bytes_per_s * static_cast<double>(c.n_devices);
  const auto rate = [&](double bytes) { return static_cast<double>(c.batch) * bandwidth / bytes; };
  EXPECT_TRUE(matches_value(
      got.limit.tokens_per_s_total, rate(weights + caches), kExact,
      std::vector<KnownValue>{
          {"a limit that ignores the traffic of the KV cache", rate(weights)},
          {"a step that reads the embedding table; it looks up one row a token", rate(all_weights + caches)},
          {"the bandwidth of one device", rate(weights + caches) / static_cast<double>(c.n_devices)},
          {"one sequence", rate(weights + caches) / static_cast<double>(c.batch)}}))
      << "limit.tokens_per_s_total";
}

/// The largest value up to `most` that `set` makes fit; tried one after the other.
template <class Set>
std::int64_t largest_that_fits(const kit::ModelConfig& m, const kit::Device& d, Configuration c,
                               std::int64_t most, const Set& set) {
  std::int64_t best = 0;
  for (std::int64_t n = 1; n <= most; ++n) {
    set(c, n);
    if (!reference_fits(m, d, c)) break;
    best = n;
  }
  return best;
}

std::int64_t reference_max_batch(const kit::ModelConfig& m, const kit::Device& d, const Configuration& c) {
  return largest_that_fits(m, d, c, 1'000'000, [](Configuration& x, std::int64_t n) { x.batch = n; });
}

std::int64_t reference_max_seq_len(const kit::ModelConfig& m, const kit::Device& d, const Configuration& c) {
  return largest_that_fits(m, d, c, m.max_seq_len, [](Configuration& x, std::int64_t n) { x.seq_len = n; });
}

struct Expected {
  Change change;
  Configuration configuration;
};

/// Reduces one number in the formats as asked, or else in the narrowest.
template <class Largest, class Set>
void add_reduced(std::vector<Expected>& all, Change change, const Configuration& asked,
                 const Formats& narrowest, std::int64_t asked_value, const Largest& largest, const Set& set) {
  for (const Formats& formats : {asked.formats, narrowest}) {
    Configuration c = asked;
    c.formats = formats;
    const std::int64_t n = largest(c);
    if (n == 0) continue;
    set(c, n);
    if (n < asked_value) all.push_back({change, c});
    return;
  }
}

/// What the contract says about suggestions, written down once more.
std::vector<Expected> reference_suggestions(const kit::ModelConfig& m, const kit::Device& d,
                                            const Configuration& asked) {
  std::vector<Expected> all;
  Formats narrowest = asked.formats;
  const std::int64_t asked_bytes = reference_weight_bytes(parameters(m), asked.formats.weights);
  for (const lab01::WeightFormat& weights :
       {lab01::WeightFormat{kInt8, 128}, lab01::WeightFormat{kInt4, 128}}) {
    if (reference_weight_bytes(parameters(m), weights) >= asked_bytes) continue;
    narrowest.weights = weights;
    all.push_back({Change::kNarrowerWeights, asked});
    all.back().configuration.formats.weights = weights;
  }
  if (bits_of(asked.formats.kv) > 8) {
    const bool both = !all.empty();
    all.push_back({Change::kNarrowerCache, asked});
    all.back().configuration.formats.kv = narrowest.kv = kInt8;
    if (both) all.push_back({Change::kNarrowerBoth, asked});
    if (both) all.back().configuration.formats = narrowest;
  }
  add_reduced(
      all, Change::kFewerSequences, asked, narrowest, asked.batch,
      [&](const Configuration& c) { return reference_max_batch(m, d, c); },
      [](Configuration& c, std::int64_t n) { c.batch = n; });
  add_reduced(
      all, Change::kShorterContext, asked, narrowest, asked.seq_len,
      [&](const Configuration& c) { return reference_max_seq_len(m, d, c); },
      [](Configuration& c, std::int64_t n) { c.seq_len = n; });
  for (Configuration c = asked; ++c.n_devices <= m.n_kv_heads;) {
    if (m.n_kv_heads % c.n_devices != 0 || !reference_fits(m, d, c)) continue;
    all.push_back({Change::kMoreDevices, c});
    break;
  }
  return all;
}

void expect_plan(const kit::ModelConfig& m, const kit::Device& d, const Configuration& asked) {
  SCOPED_TRACE(fmt::format("plan for batch {}, seq_len {}, weights {}, cache {} on {} {}; {}", asked.batch,
                           asked.seq_len, kit::name(asked.formats.weights.number),
                           kit::name(asked.formats.kv), asked.n_devices, d.name, describe(m)));
  const lab01::Plan plan = lab01::make_plan(m, d, asked);
  expect_assessment(plan.asked, m, d, asked);
  EXPECT_TRUE(matches_count(plan.max_batch, reference_max_batch(m, d, asked))) << "max_batch";
  EXPECT_TRUE(matches_count(plan.max_seq_len, reference_max_seq_len(m, d, asked))) << "max_seq_len";
  if (reference_fits(m, d, asked)) {
    EXPECT_TRUE(plan.suggestions.empty()) << "it fits: there is nothing to change";
    return;
  }
  const std::vector<Expected> expected = reference_suggestions(m, d, asked);
  ASSERT_EQ(plan.suggestions.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(fmt::format("suggestion {}", i));
    EXPECT_EQ(plan.suggestions[i].change, expected[i].change);
    expect_assessment(plan.suggestions[i].assessment, m, d, expected[i].configuration);
  }
}

/// A device on which `share` of what is asked finds room.
kit::Device device_for(const kit::ModelConfig& m, const Configuration& c, double share) {
  kit::Device d = kit::find_device("a100-80gb");
  d.memory_bytes =
      static_cast<std::int64_t>(share * static_cast<double>(reference_footprint(m, c).total_bytes));
  return d;
}

TEST(Planner, FootprintAddsWeightsCacheAndActivations) {
  kit::Rng rng = kit::testing::make_rng(40);
  for (const int group : {1, 4, 8}) {
    kit::ModelConfig m = random_model(rng, group);
    m.tie_word_embeddings = group == 4;
    for (const Formats& formats : {Formats{}, Formats{{kInt4, 128}, kInt8, kBf16}}) {
      const Configuration c{between(rng, 2, 60), between(rng, 10, 4000), formats, m.n_kv_heads};
      for (const std::int64_t n_devices : {std::int64_t{1}, c.n_devices}) {
        SCOPED_TRACE(
            fmt::format("batch {}, seq_len {}, {} devices; {}", c.batch, c.seq_len, n_devices, describe(m)));
        const Configuration one{c.batch, c.seq_len, formats, n_devices};
        expect_footprint(lab01::footprint(m, one), m, one);
      }
    }
  }
}

TEST(Planner, FitsToTheLastByte) {
  kit::Rng rng = kit::testing::make_rng(41);
  for (int i = 0; i < 10; ++i) {
    const kit::ModelConfig m = random_model(rng, 4);
    const Configuration c{between(rng, 2, 60), between(rng, 10, 4000), {}, 1};
    const std::int64_t total = reference_footprint(m, c).total_bytes;
    kit::Device d = kit::find_device("a100-40gb");
    d.memory_bytes = total;
    EXPECT_TRUE(lab01::fits(m, d, c.batch, c.seq_len, c.formats))
        << total << " bytes fit into " << d.memory_bytes;
    d.memory_bytes = total - 1;
    EXPECT_FALSE(lab01::fits(m, d, c.batch, c.seq_len, c.formats))
        << total << " bytes do not fit into " << d.memory_bytes;
    d.memory_bytes = static_cast<std::int64_t>(static_cast<double>(total) / 1.05);
    EXPECT_FALSE(lab01::fits(m, d, c.batch, c.seq_len, c.formats))
        << total << " bytes do not fit into " << d.memory_bytes
        << ". Likely cause: the result matches a memory in GiB; memory_bytes is in bytes, and 1 GB = 1e9 "
           "bytes";
  }
}

TEST(Planner, Llama70bOn40Gigabytes) {
  // 137.95 GB of weights and 21.47 GB of cache: what do you do?
  const kit::ModelConfig& m = kit::find_model("llama2-70b").config;
  expect_plan(m, kit::find_device("a100-40gb"), {16, 4096, {}, 1});
  const lab01::Plan plan = lab01::make_plan(m, kit::find_device("a100-40gb"), {16, 4096, {}, 1});
  EXPECT_EQ(plan.asked.per_device.weight_bytes, 137'953'296'384);
  EXPECT_EQ(plan.asked.per_device.kv_bytes, 21'474'836'480);
  EXPECT_EQ(plan.max_batch, 0) << "the weights alone do not fit";
}

TEST(Planner, RandomModels) {
  kit::Rng rng = kit::testing::make_rng(42);
  for (int i = 0; i < 12; ++i) {
    kit::ModelConfig m = random_model(rng, 1 + i % 4);
    m.max_seq_len = 5000;
    m.tie_word_embeddings = i % 3 == 0;
    const std::vector<Formats> formats = {
        {}, {{kInt8, 128}, kFp16, kFp16}, {{kInt4, 128}, kInt8, kFp16}, {{kFp32}, kFp8, kFp32}};
    const Configuration asked{between(rng, 4, 60), between(rng, 100, 4000),
                              formats[static_cast<std::size_t>(i % 4)], 1};
    // From "a third of it fits" to "all of it fits".
    expect_plan(m, device_for(m, asked, 0.3 + 0.075 * i), asked);
  }
}

TEST(Planner, KnownModelsOnKnownDevices) {
  expect_plan(kit::find_model("llama2-7b").config, kit::find_device("rtx-4090"), {8, 4096, {}, 1});
  expect_plan(kit::find_model("llama3-70b").config, kit::find_device("h100-sxm"), {4, 8192, {}, 2});
  expect_plan(kit::find_model("mistral-7b").config, kit::find_device("l4"), {1, 32768, {}, 1});
  expect_plan(kit::find_model("target").config, kit::find_device("l4"), {1, 512, {}, 1});
}

TEST(Planner, RejectsWhatCannotBe) {
  const kit::ModelConfig& m = kit::find_model("llama2-70b").config;
  const kit::Device& d = kit::find_device("a100-40gb");
  EXPECT_TRUE(throws_error([&] { (void)lab01::footprint(m, {0, 1, {}, 1}); }, "batch")) << "batch 0";
  EXPECT_TRUE(throws_error([&] { (void)lab01::footprint(m, {1, -3, {}, 1}); }, "-3")) << "seq_len -3";
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab01::make_plan(m, d, {1, 4097, {}, 1});
      },
      "4097"))
      << "the model has 4096 positions";
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab01::make_plan(m, d, {1, 10, {}, 3});
      },
      "n_devices"))
      << "3 devices cannot share 8 heads";
  EXPECT_TRUE(throws_error(
      [&] {
        (void)lab01::make_plan(m, d, {1, 10, {}, 0});
      },
      "n_devices"))
      << "no devices";
  EXPECT_TRUE(throws_error([&] { (void)lab01::fits(m, d, std::int64_t{1} << 60, 4096, {}); },
                           std::to_string(std::int64_t{1} << 60)))
      << "the product does not fit 64 bits";
}

}  // namespace
