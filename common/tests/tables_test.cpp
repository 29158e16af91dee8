#include <gtest/gtest.h>

#include <limits>

#include "kit/checked.h"
#include "kit/device_table.h"
#include "kit/llama.h"
#include "kit/model_table.h"
#include "kit/number_format.h"
#include "kit/testing.h"

// The tables of models and devices, and the arithmetic about them.

namespace {

using kit::NumberFormat;
using kit::testing::throws_error;

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

TEST(Checked, ProductsAndSums) {
  EXPECT_EQ(kit::checked_product("bytes", {70'000'000'000, 4096}), 286'720'000'000'000);
  EXPECT_EQ(kit::checked_product("bytes", {}), 1);
  EXPECT_EQ(kit::checked_sum("bytes", {kLargest - 1, 1}), kLargest);
  EXPECT_EQ(kit::divide_round_up(kLargest, 2), kLargest / 2 + 1);
  EXPECT_EQ(kit::divide_round_up(8, 4), 2);
  EXPECT_EQ(kit::divide_round_up(0, 4), 0);
}

TEST(Checked, NamesWhatOverflowed) {
  EXPECT_TRUE(throws_error(
      [] {
        (void)kit::checked_product("cache bytes", {1LL << 40, 1LL << 30});
      },
      "cache bytes of 1099511627776 * 1073741824 does not fit 64 bits"));
  EXPECT_TRUE(throws_error([] { (void)kit::checked_sum("total", {kLargest, 1}); }, "does not fit 64 bits"));
  EXPECT_TRUE(throws_error([] { (void)kit::checked_product("bytes", {3, -2}); }, "-2 is negative"));
  EXPECT_TRUE(throws_error([] { (void)kit::checked_sum("bytes", {3, -2}); }, "-2 is negative"));
}

TEST(NumberFormat, NamesAndBits) {
  using enum NumberFormat;
  for (const NumberFormat format : {kFp32, kFp16, kBf16, kFp8, kInt8, kInt4})
    EXPECT_EQ(kit::parse_number_format(kit::name(format)), format);
  EXPECT_EQ(kit::bits(kFp32), 32);
  EXPECT_EQ(kit::bits(kBf16), 16);
  EXPECT_EQ(kit::bits(kInt4), 4);
  EXPECT_TRUE(throws_error([] { (void)kit::parse_number_format("int7"); },
                           "no number format 'int7'; there are fp32, fp16, bf16, fp8, int8, int4"));
}

TEST(ModelTable, ParametersAreThePublishedCounts) {
  // Numbers of elements in the published weight files.
  EXPECT_EQ(kit::n_parameters(kit::find_model("llama2-7b").config), 6'738'415'616);
  EXPECT_EQ(kit::n_parameters(kit::find_model("llama2-13b").config), 13'015'864'320);
  EXPECT_EQ(kit::n_parameters(kit::find_model("llama2-70b").config), 68'976'648'192);
  EXPECT_EQ(kit::n_parameters(kit::find_model("llama3-8b").config), 8'030'261'248);
  EXPECT_EQ(kit::n_parameters(kit::find_model("llama3-70b").config), 70'553'706'496);
  EXPECT_EQ(kit::n_parameters(kit::find_model("mistral-7b").config), 7'241'732'096);
  EXPECT_EQ(kit::n_parameters(kit::find_model("target").config), 4'656'384);
  EXPECT_EQ(kit::n_parameters(kit::find_model("draft").config), 557'696);
}

TEST(ModelTable, ShippedPairIsWhatIsShipped) {
  for (const char* name : {"target", "draft"}) {
    SCOPED_TRACE(name);
    const kit::ModelConfig& row = kit::find_model(name).config;
    const auto folder = kit::testing::models_dir() / name;
    const kit::ModelConfig file = kit::load_config(folder);
    EXPECT_EQ(row.vocab_size, file.vocab_size);
    EXPECT_EQ(row.dim, file.dim);
    EXPECT_EQ(row.hidden_dim, file.hidden_dim);
    EXPECT_EQ(row.n_layers, file.n_layers);
    EXPECT_EQ(row.n_heads, file.n_heads);
    EXPECT_EQ(row.n_kv_heads, file.n_kv_heads);
    EXPECT_EQ(row.head_dim, file.head_dim);
    EXPECT_EQ(row.max_seq_len, file.max_seq_len);
    EXPECT_EQ(row.tie_word_embeddings, file.tie_word_embeddings);
    EXPECT_EQ(kit::n_parameters(row), kit::load_llama_weights(folder, file).size());
  }
}

TEST(ModelTable, EmbeddingIsReadOnlyWhereTheHeadUsesIt) {
  const kit::ModelConfig& untied = kit::find_model("llama2-7b").config;
  EXPECT_EQ(kit::n_parameters_read(untied), 6'738'415'616 - 32000 * 4096);
  const kit::ModelConfig& tied = kit::find_model("target").config;
  EXPECT_EQ(kit::n_parameters_read(tied), kit::n_parameters(tied));
}

TEST(ModelTable, EveryRowIsValidAndFoundByName) {
  for (const kit::KnownModel& model : kit::models()) {
    model.config.validate();
    EXPECT_EQ(kit::find_model(model.name).title, model.title);
  }
  EXPECT_TRUE(throws_error([] { (void)kit::find_model("gpt-5"); },
                           "no model 'gpt-5'; there are llama2-7b, llama2-13b"));
}

TEST(ModelTable, CountsThatDoNotFitAreRefused) {
  kit::ModelConfig config = kit::find_model("llama2-7b").config;
  config.dim = config.hidden_dim = config.n_layers = 2'000'000'000;
  EXPECT_TRUE(throws_error([&] { (void)kit::n_parameters(config); }, "number of parameters"));
  config.dim = 0;
  EXPECT_TRUE(throws_error([&] { (void)kit::n_parameters(config); }, "dim is 0"));
}

TEST(DeviceTable, RowsAreSane) {
  for (const kit::Device& device : kit::devices()) {
    SCOPED_TRACE(device.name);
    EXPECT_EQ(kit::find_device(device.name).title, device.title);
    EXPECT_GT(device.memory_bytes, 20'000'000'000);
    EXPECT_GT(device.bandwidth_bytes_per_s, 1e11);
    const double fp16 = kit::peak_flop_per_s(device, NumberFormat::kFp16);
    EXPECT_GT(fp16, kit::peak_flop_per_s(device, NumberFormat::kFp32));
    EXPECT_EQ(fp16, kit::peak_flop_per_s(device, NumberFormat::kBf16));
    // FLOPs a byte. A peak "with sparsity" by mistake would double it: the A100's would be over 300, the
    // H100's 590.
    EXPECT_GT(fp16 / device.bandwidth_bytes_per_s, 100);
    EXPECT_LT(fp16 / device.bandwidth_bytes_per_s, 410) << "the L4 has the highest, 403";
  }
}

TEST(DeviceTable, RidgePointsOfTheA100) {
  const auto ridge = [](const char* name) {
    const kit::Device& device = kit::find_device(name);
    return kit::peak_flop_per_s(device, NumberFormat::kFp16) / device.bandwidth_bytes_per_s;
  };
  // 156 FLOP/byte is what a round 2 TB/s would give.
  EXPECT_NEAR(ridge("a100-80gb"), 312.0 / 2.039, 1e-9);
  EXPECT_NEAR(ridge("a100-40gb"), 312.0 / 1.555, 1e-9);
}

TEST(DeviceTable, UnknownNamesAndFormatsAreNamed) {
  EXPECT_TRUE(
      throws_error([] { (void)kit::find_device("b9000"); }, "no device 'b9000'; there are a100-40gb"));
  EXPECT_TRUE(
      throws_error([] { (void)kit::peak_flop_per_s(kit::find_device("a100-40gb"), NumberFormat::kFp8); },
                   "a100-40gb does not multiply in fp8; its formats are fp32, fp16, bf16, int8, int4"));
}

TEST(DeviceTable, ThisMachineIsWhatWasMeasured) {
  kit::MachineCeilings ceilings;
  ceilings.read_gb_per_s = 35.0;
  ceilings.peak_gflop_per_s = 420.0;
  ceilings.n_threads = 2;
  const kit::Device device = kit::this_machine(ceilings);
  EXPECT_EQ(device.name, "this-machine");
  EXPECT_EQ(device.bandwidth_bytes_per_s, 35e9);
  EXPECT_EQ(kit::peak_flop_per_s(device, NumberFormat::kFp32), 420e9);
  EXPECT_GT(device.memory_bytes, 100'000'000);
}

}  // namespace
