#include "kit/linear_op.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kit/linear.h"
#include "kit/llama.h"
#include "kit/reference.h"
#include "kit/testing.h"

namespace {

using kit::LinearId;
using kit::LinearKind;
using kit::Tensor;
using kit::TensorView;

kit::ModelConfig tiny_config() {
  kit::ModelConfig config;
  config.vocab_size = 29;
  config.dim = 16;
  config.hidden_dim = 24;
  config.n_layers = 3;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 4;
  config.max_seq_len = 32;
  return config;
}

std::shared_ptr<const kit::LlamaWeights> tiny_weights() {
  kit::Rng rng = kit::testing::make_rng(70);
  return std::make_shared<const kit::LlamaWeights>(kit::random_llama_weights(tiny_config(), rng));
}

const std::vector<int> kTokens = {3, 1, 4, 1, 5, 9, 2, 6};

TEST(LinearOp, SeesEveryLinearInTheOrderOfLinearsOf) {
  const auto weights = tiny_weights();
  std::vector<LinearId> seen;
  const auto watch = [&](LinearId id, TensorView<const float> x, TensorView<const float> w,
                         TensorView<float> y) {
    seen.push_back(id);
    EXPECT_EQ(w.data(), kit::weight_of(*weights, id).data()) << id.to_string();
    EXPECT_EQ(x.dim(0), static_cast<std::int64_t>(kTokens.size()));
    EXPECT_EQ(x.dim(1), w.dim(1));
    EXPECT_EQ(y.dim(1), w.dim(0));
    kit::linear(x, w, y);
  };
  const auto watched = kit::make_llama(tiny_config(), weights, kit::reference_attention_ops(), watch);
  const auto plain = kit::make_llama(tiny_config(), weights, kit::reference_attention_ops());
  EXPECT_TRUE(kit::testing::matches(watched->forward(kTokens), plain->forward(kTokens), {}));
  EXPECT_EQ(seen, kit::linears_of(tiny_config()));
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i].index(), static_cast<int>(i));
}

TEST(LinearOp, ReplacesALinear) {
  const auto weights = tiny_weights();
  const LinearId replaced{1, LinearKind::kDown};
  const auto without = [&](LinearId id, TensorView<const float> x, TensorView<const float> w,
                           TensorView<float> y) {
    kit::linear(x, w, y);
    if (id == replaced) std::fill(y.span().begin(), y.span().end(), 0.0F);
  };
  auto zeroed = std::make_shared<kit::LlamaWeights>(*weights);
  kit::weight_of(*zeroed, replaced) = Tensor<float>(kit::weight_of(*weights, replaced).shape());
  const auto model = kit::make_llama(tiny_config(), weights, kit::reference_attention_ops(), without);
  const auto expected = kit::make_llama(tiny_config(), zeroed, kit::reference_attention_ops());
  EXPECT_TRUE(kit::testing::matches(model->forward(kTokens), expected->forward(kTokens), {}));
}

TEST(LinearOp, NamesLinears) {
  EXPECT_EQ((LinearId{3, LinearKind::kDown}).to_string(), "layer 3 w_down");
  EXPECT_EQ((LinearId{0, LinearKind::kQuery}).to_string(), "layer 0 wq");
  const auto weights = tiny_weights();
  EXPECT_TRUE(kit::testing::throws_error(
      [&] {
        (void)kit::weight_of(*weights, {3, LinearKind::kQuery});
      },
      "layer 3 of a model with 3 layers"));
}

}  // namespace
