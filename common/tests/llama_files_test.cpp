#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/testing.h"
#include "test_files.h"

namespace kit::testing {
namespace {

using Json = nlohmann::json;

Json valid_config() {
  return {{"model_type", "llama"},    {"vocab_size", 11},
          {"hidden_size", 8},         {"intermediate_size", 12},
          {"num_hidden_layers", 1},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 16},
          {"rms_norm_eps", 1e-5},     {"tie_word_embeddings", false},
          {"eos_token_id", 3}};
}

ModelConfig read(const Json& json) {
  const TempDirectory directory;
  directory.write("config.json", json.dump());
  return load_config(directory.path());
}

/// valid_config() with one field changed; null removes nothing, it is written.
ModelConfig read_with(const char* name, const Json& value) {
  Json json = valid_config();
  json[name] = value;
  return read(json);
}

ModelConfig read_without(const char* name) {
  Json json = valid_config();
  json.erase(name);
  return read(json);
}

::testing::AssertionResult rejects(const char* name, const Json& value, const std::string& needle) {
  const auto result = throws_error([&] { read_with(name, value); }, needle);
  return result ? throws_error([&] { read_with(name, value); }, "config.json") : result;
}

TEST(LlamaConfig, ReadsEveryField) {
  const ModelConfig c = read(valid_config());
  EXPECT_EQ(c.vocab_size, 11);
  EXPECT_EQ(c.dim, 8);
  EXPECT_EQ(c.hidden_dim, 12);
  EXPECT_EQ(c.n_layers, 1);
  EXPECT_EQ(c.n_heads, 4);
  EXPECT_EQ(c.n_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 2);
  EXPECT_EQ(c.max_seq_len, 16);
  EXPECT_EQ(c.rms_norm_eps, 1e-5F);
  EXPECT_EQ(c.rope_theta, 10000.0F);
  EXPECT_FALSE(c.rope_scaling.has_value());
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_EQ(c.eos_token_ids, std::vector<int>{3});
}

TEST(LlamaConfig, FillsInWhatMayBeMissing) {
  EXPECT_EQ(read_without("num_key_value_heads").n_kv_heads, 4);
  EXPECT_EQ(read_with("num_key_value_heads", nullptr).n_kv_heads, 4);
  EXPECT_EQ(read_with("head_dim", 6).head_dim, 6);
  EXPECT_EQ(read_with("head_dim", nullptr).head_dim, 2);
  EXPECT_EQ(read_without("rms_norm_eps").rms_norm_eps, 1e-6F);
  EXPECT_TRUE(read_without("eos_token_id").eos_token_ids.empty());
  EXPECT_TRUE(read_with("eos_token_id", nullptr).eos_token_ids.empty());
  EXPECT_EQ(read_with("eos_token_id", {1, 5}).eos_token_ids, (std::vector<int>{1, 5}));
  EXPECT_TRUE(read_with("tie_word_embeddings", true).tie_word_embeddings);
}

TEST(LlamaConfig, ReadsRopeInBothLayouts) {
  EXPECT_EQ(read_with("rope_theta", 500000).rope_theta, 500000.0F);
  EXPECT_FALSE(read_with("rope_scaling", nullptr).rope_scaling.has_value());
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  const ModelConfig old_layout = read_with("rope_scaling", llama3);
  ASSERT_TRUE(old_layout.rope_scaling.has_value());
  EXPECT_EQ(old_layout.rope_scaling->factor, 8.0F);
  EXPECT_EQ(old_layout.rope_scaling->original_max_seq_len, 64);
  Json parameters = llama3;
  parameters["rope_theta"] = 20000.0;
  const ModelConfig new_layout = read_with("rope_parameters", parameters);
  EXPECT_EQ(new_layout.rope_theta, 20000.0F);
  ASSERT_TRUE(new_layout.rope_scaling.has_value());
  EXPECT_EQ(new_layout.rope_scaling->high_freq_factor, 4.0F);
  EXPECT_FALSE(
      read_with("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e4}}).rope_scaling.has_value());
}

TEST(LlamaConfig, NamesWhatItDoesNotSupport) {
  EXPECT_TRUE(rejects("model_type", "gpt2", "model_type \"gpt2\""));
  EXPECT_TRUE(rejects("hidden_act", "gelu", "hidden_act \"gelu\""));
  EXPECT_TRUE(rejects("attention_bias", true, "attention_bias true"));
  EXPECT_TRUE(rejects("mlp_bias", true, "mlp_bias true"));
  EXPECT_TRUE(rejects("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}, "rope_type \"yarn\""));
  EXPECT_TRUE(rejects("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}, "rope_type \"linear\""));
  EXPECT_TRUE(rejects("rope_parameters", {{"rope_type", "dynamic"}}, "rope_type \"dynamic\""));
  EXPECT_TRUE(rejects("quantization_config", Json::object(), "quantization_config"));
}

TEST(LlamaConfig, NamesTheFieldThatIsWrong) {
  EXPECT_TRUE(rejects("hidden_size", "big", "\"hidden_size\" is \"big\""));
  EXPECT_TRUE(rejects("hidden_size", 0, "\"hidden_size\" is 0"));
  EXPECT_TRUE(rejects("vocab_size", -5, "\"vocab_size\" is -5"));
  EXPECT_TRUE(rejects("num_hidden_layers", 3000000000LL, "\"num_hidden_layers\" is 3000000000"));
  EXPECT_TRUE(rejects("num_hidden_layers", 1.5, "\"num_hidden_layers\" is 1.5"));
  EXPECT_TRUE(rejects("num_attention_heads", 3, "hidden_size 8 is not a multiple of num_attention_heads 3"));
  EXPECT_TRUE(rejects("num_key_value_heads", 3, "n_heads 4 is not a multiple of n_kv_heads 3"));
  EXPECT_TRUE(rejects("head_dim", 3, "head_dim 3"));
  EXPECT_TRUE(rejects("eos_token_id", 11, "eos token 11"));
  EXPECT_TRUE(rejects("eos_token_id", {1, "x"}, "\"eos_token_id\" is \"x\""));
  EXPECT_TRUE(rejects("tie_word_embeddings", 1, "\"tie_word_embeddings\" is 1"));
  EXPECT_TRUE(rejects("rope_theta", -1.0, "theta -1"));
  EXPECT_TRUE(rejects("rope_scaling", 4, "\"rope_scaling\" is 4"));
  EXPECT_TRUE(rejects("rope_scaling", {{"rope_type", "llama3"}}, "\"factor\" is missing"));
  EXPECT_TRUE(rejects("rms_norm_eps", -1.0, "rms_norm_eps is -1"));
  EXPECT_TRUE(throws_error([] { read_without("hidden_size"); }, "\"hidden_size\" is missing"));
  EXPECT_TRUE(throws_error([] { read_without("model_type"); }, "\"model_type\" is missing"));
}

TEST(LlamaConfig, NamesAFileThatIsMissingOrNoJson) {
  const TempDirectory directory;
  EXPECT_TRUE(throws_error([&] { load_config(directory.path()); }, "config.json: no such file"));
  directory.write("config.json", "{\"model_type\": \"llama\",");
  EXPECT_TRUE(throws_error([&] { load_config(directory.path()); }, "config.json: not valid JSON"));
  directory.write("config.json", "[]");
  EXPECT_TRUE(throws_error([&] { load_config(directory.path()); }, "not an object"));
  directory.write("config.json", R"({"vocab_size": 1, "vocab_size": 2})");
  EXPECT_TRUE(throws_error([&] { load_config(directory.path()); }, "\"vocab_size\" appears twice"));
}

/// Every tensor of valid_config(), by name.
std::map<std::string, Tensor<float>> valid_tensors() {
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"model.embed_tokens.weight", {11, 8}},
      {"model.layers.0.input_layernorm.weight", {8}},
      {"model.layers.0.self_attn.q_proj.weight", {8, 8}},
      {"model.layers.0.self_attn.k_proj.weight", {4, 8}},
      {"model.layers.0.self_attn.v_proj.weight", {4, 8}},
      {"model.layers.0.self_attn.o_proj.weight", {8, 8}},
      {"model.layers.0.post_attention_layernorm.weight", {8}},
      {"model.layers.0.mlp.gate_proj.weight", {12, 8}},
      {"model.layers.0.mlp.up_proj.weight", {12, 8}},
      {"model.layers.0.mlp.down_proj.weight", {8, 12}},
      {"model.norm.weight", {8}},
      {"lm_head.weight", {11, 8}}};
  Rng rng = make_rng(600);
  std::map<std::string, Tensor<float>> tensors;
  for (const auto& [name, shape] : shapes) tensors[name] = random_tensor(shape, rng);
  return tensors;
}

std::string file_of(const std::map<std::string, Tensor<float>>& tensors) {
  SafetensorsWriter writer;
  for (const auto& [name, tensor] : tensors) writer.add(name, tensor);
  return writer.bytes();
}

LlamaWeights load(const std::map<std::string, Tensor<float>>& tensors) {
  const TempDirectory directory;
  directory.write("model.safetensors", file_of(tensors));
  return load_llama_weights(directory.path(), read(valid_config()));
}

TEST(LlamaWeights, ReadsEveryTensorAndCountsParameters) {
  auto tensors = valid_tensors();
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = Tensor<float>({1});  // in old files; ignored
  const LlamaWeights weights = load(tensors);
  EXPECT_TRUE(matches(weights.layers[0].w_down, tensors["model.layers.0.mlp.down_proj.weight"], {}));
  EXPECT_TRUE(matches(weights.lm_head, tensors["lm_head.weight"], {}));
  EXPECT_EQ(weights.size(), 2 * 88 + 8 * 3 + 2 * 64 + 2 * 32 + 3 * 96);
}

TEST(LlamaWeights, NamesFileAndTensorOnEveryProblem) {
  for (const auto& [name, tensor] : valid_tensors()) {
    auto tensors = valid_tensors();
    tensors.erase(name);
    EXPECT_TRUE(
        throws_error([&] { load(tensors); }, "model.safetensors: tensor \"" + name + "\" is missing"));
    tensors[name] = Tensor<float>({3, 3});
    EXPECT_TRUE(
        throws_error([&] { load(tensors); }, "model.safetensors: tensor \"" + name + "\" has shape [3, 3]"));
  }
  auto tensors = valid_tensors();
  tensors["model.layers.1.mlp.up_proj.weight"] = Tensor<float>({12, 8});
  EXPECT_TRUE(throws_error([&] { load(tensors); }, "\"model.layers.1.mlp.up_proj.weight\" does not belong"));
}

TEST(LlamaWeights, NamesATensorOfTheWrongDtype) {
  const TempDirectory directory;
  SafetensorsWriter writer;
  for (const auto& [name, tensor] : valid_tensors()) writer.add(name, tensor);
  auto& entry = writer.header()["model.norm.weight"];
  entry["dtype"] = "I64";
  directory.write("model.safetensors", writer.bytes());
  const ModelConfig config = read(valid_config());
  EXPECT_TRUE(throws_error([&] { load_llama_weights(directory.path(), config); },
                           "tensor \"model.norm.weight\": dtype \"I64\" is not supported"));
}

TEST(LlamaWeights, NamesTheFolderWithoutWeights) {
  const TempDirectory directory;
  const ModelConfig config = read(valid_config());
  EXPECT_TRUE(throws_error([&] { load_llama_weights(directory.path(), config); }, "model.safetensors"));
}

/// A checkpoint in two shards whose index can be damaged.
class ShardedWeights : public ::testing::Test {
 protected:
  ShardedWeights() {
    std::map<std::string, Tensor<float>> shards[2];
    int i = 0;
    for (const auto& [name, tensor] : valid_tensors()) {
      index_["weight_map"][name] = fmt::format("model-{}.safetensors", i % 2);
      shards[i++ % 2][name] = tensor;
    }
    directory_.write("model-0.safetensors", file_of(shards[0]));
    directory_.write("model-1.safetensors", file_of(shards[1]));
  }

  LlamaWeights load_sharded() {
    directory_.write("model.safetensors.index.json", index_.dump());
    return load_llama_weights(directory_.path(), read(valid_config()));
  }
  ::testing::AssertionResult fails(const std::string& needle) {
    return throws_error([&] { load_sharded(); }, needle);
  }

  TempDirectory directory_;
  Json index_;
};

TEST_F(ShardedWeights, AreTheSameAsInOneFile) {
  const LlamaWeights sharded = load_sharded();
  EXPECT_TRUE(matches(sharded.layers[0].wk, load(valid_tensors()).layers[0].wk, {}));
}

TEST_F(ShardedWeights, MustBePlainFileNames) {
  for (const char* bad : {"../model-0.safetensors", "/etc/passwd", "a/b.safetensors", "", "..", "."}) {
    index_["weight_map"]["lm_head.weight"] = bad;
    EXPECT_TRUE(
        fails(fmt::format("shard \"{}\" of tensor \"lm_head.weight\" is not a plain file name", bad)));
  }
  index_["weight_map"]["lm_head.weight"] = 5;
  EXPECT_TRUE(fails("\"lm_head.weight\" is 5"));
}

TEST_F(ShardedWeights, MustHoldWhatTheIndexSays) {
  const std::string shard = index_["weight_map"]["lm_head.weight"];
  index_["weight_map"]["lm_head.weight"] =
      shard == "model-0.safetensors" ? "model-1.safetensors" : "model-0.safetensors";
  EXPECT_TRUE(fails("there is no tensor \"lm_head.weight\""));
  index_["weight_map"]["lm_head.weight"] = "model-2.safetensors";
  EXPECT_TRUE(fails("model-2.safetensors"));
  index_["weight_map"].erase("lm_head.weight");
  EXPECT_TRUE(fails("index.json: tensor \"lm_head.weight\" is missing"));
  index_.erase("weight_map");
  EXPECT_TRUE(fails("\"weight_map\" is missing"));
}

}  // namespace
}  // namespace kit::testing
