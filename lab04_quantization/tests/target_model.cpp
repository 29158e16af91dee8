#include "target_model.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kit/linear.h"
#include "kit/step_executor.h"
#include "kit/testing.h"

namespace lab04_tests {
namespace {

using kit::KvCache;
using kit::KvCacheConfig;
using kit::LinearId;
using kit::LinearKind;
using kit::LlamaLayerWeights;
using kit::LlamaWeights;
using kit::ModelQuality;
using kit::Tensor;
using kit::TensorView;

using SharedWeights = std::shared_ptr<const LlamaWeights>;

// 16 texts of 192 tokens: 3,056 comparisons, whose KL has a standard error of 2 to 4 %.
constexpr int kTokens = 192;
// 3,072 rows of calibration inputs, almost five times what the widest linear has inputs.
constexpr int kCalibrationTexts = 16;
constexpr int kCalibrationTokens = 192;
// With 4 channels AWQ's gain is 0.38 to 0.70 of rounding's KL, whichever they are; with 12 it is 0.18 to
// 0.35.
constexpr int kOutlierChannels = 12;
constexpr float kOutlierFactor = 30.0F;

const kit::TokenSequences& texts() {
  static const kit::TokenSequences sampled = [] {
    kit::Rng rng = kit::testing::make_rng(4000);
    return kit::sample_texts(target_config(), target_weights(), kTexts, kTokens, rng);
  }();
  return sampled;
}

std::unique_ptr<kit::Model> make_model(SharedWeights weights, kit::LinearOp linear = {}) {
  return kit::make_llama(target_config(), std::move(weights), kit::gathered_attention_ops(),
                         std::move(linear));
}

/// Logits of the first n_texts texts; those of more texts are added when they are asked for.
const std::vector<Tensor<float>>& target_logits(int n_texts) {
  static std::vector<Tensor<float>> known;
  const auto model = make_model(target_weights());
  for (auto i = known.size(); i < static_cast<std::size_t>(n_texts); ++i) {
    known.push_back(model->forward(texts()[i], kit::Logits::kAll));
  }
  return known;
}

ModelQuality compare(int n_texts,
                     const std::function<Tensor<float>(const std::vector<int>& text)>& logits_of) {
  KIT_CHECK(n_texts >= 1 && n_texts <= kTexts, "{} texts of {}", n_texts, kTexts);
  const kit::TokenSequences some(texts().begin(), texts().begin() + n_texts);
  const std::vector<Tensor<float>>& known = target_logits(n_texts);
  std::vector<Tensor<float>> candidate;
  for (const std::vector<int>& text : some) candidate.push_back(logits_of(text));
  return kit::model_quality(some, {known.begin(), known.begin() + n_texts}, candidate);
}

void fold_group(LlamaWeights& weights, int layer, const NormGroup& group, const Fold& fold) {
  std::vector<Tensor<float>*> parts;
  std::int64_t n_rows = 0;
  for (const LinearKind kind : group.kinds) {
    parts.push_back(&kit::weight_of(weights, {layer, kind}));
    n_rows += parts.back()->dim(0);
  }
  Tensor<float> w({n_rows, parts.front()->dim(1)});  // one below the other
  float* row = w.data();
  for (const Tensor<float>* part : parts) row = std::copy(part->span().begin(), part->span().end(), row);
  fold({layer, group.kinds.front()}, (weights.layers[static_cast<std::size_t>(layer)].*group.gain).span(), w);
  const float* folded = w.data();
  for (Tensor<float>* part : parts) {
    std::copy_n(folded, part->size(), part->data());
    folded += part->size();
  }
}

}  // namespace

const std::array<NormGroup, 2>& norm_groups() {
  static const std::array<NormGroup, 2> groups = {
      {{&LlamaLayerWeights::attention_norm, {LinearKind::kQuery, LinearKind::kKey, LinearKind::kValue}},
       {&LlamaLayerWeights::mlp_norm, {LinearKind::kGate, LinearKind::kUp}}}};
  return groups;
}

const kit::ModelConfig& target_config() {
  static const kit::ModelConfig config = kit::load_config(kit::testing::models_dir() / "target");
  return config;
}

SharedWeights target_weights() {
  static const SharedWeights weights = std::make_shared<const LlamaWeights>(
      kit::load_llama_weights(kit::testing::models_dir() / "target", target_config()));
  return weights;
}

SharedWeights target_with_outliers() {
  static const SharedWeights weights = [] {
    kit::Rng rng = kit::testing::make_rng(4001);
    return std::make_shared<const LlamaWeights>(
        kit::with_outliers(*target_weights(), kOutlierChannels, kOutlierFactor, rng));
  }();
  return weights;
}

SharedWeights with_weights(const LlamaWeights& weights, const QuantizeWeight& quantize) {
  auto changed = std::make_shared<LlamaWeights>(weights);
  for (const LinearId id : kit::linears_of(target_config())) {
    Tensor<float>& w = kit::weight_of(*changed, id);
    Tensor<float> quantized = quantize(id, w);
    KIT_CHECK(quantized.shape() == w.shape(), "{}: {} instead of {}", id.to_string(),
              quantized.shape().to_string(), w.shape().to_string());
    w = std::move(quantized);
  }
  return changed;
}

SharedWeights with_folded_norms(const LlamaWeights& weights, const Fold& fold) {
  auto folded = std::make_shared<LlamaWeights>(weights);
  for (int layer = 0; layer < target_config().n_layers; ++layer) {
    for (const NormGroup& group : norm_groups()) fold_group(*folded, layer, group, fold);
  }
  return folded;
}

Tensor<float> every_nth_row(TensorView<const float> x, std::int64_t n_rows) {
  Tensor<float> rows({n_rows, x.dim(1)});
  for (std::int64_t i = 0; i < n_rows; ++i) {
    std::ranges::copy(x.row(i * (x.dim(0) / n_rows)), rows.row(i).begin());
  }
  return rows;
}

ModelQuality quality(SharedWeights weights, kit::LinearOp linear, int n_texts) {
  const auto model = make_model(std::move(weights), std::move(linear));
  return compare(n_texts,
                 [&](const std::vector<int>& text) { return model->forward(text, kit::Logits::kAll); });
}

ModelQuality quality_with_cache(
    const std::function<std::unique_ptr<KvCache>(const KvCacheConfig&)>& make_cache, int n_texts) {
  const auto model = make_model(target_weights());
  return compare(n_texts, [&](const std::vector<int>& text) {
    const auto cache = make_cache(target_config().kv_cache_config(kTokens));
    return model->forward(text, *cache, kit::Logits::kAll);
  });
}

void calibrate(const SharedWeights& weights, std::uint64_t seed, const OnInput& on_input) {
  kit::Rng rng(kit::testing::seed(), 4100 + seed);
  const kit::TokenSequences sampled =
      kit::sample_texts(target_config(), target_weights(), kCalibrationTexts, kCalibrationTokens, rng);
  const std::vector<LinearId> ids = kit::linears_of(target_config());
  std::vector<Tensor<float>> inputs(ids.size());
  std::int64_t first_row = 0;
  const auto record = [&](LinearId id, TensorView<const float> x, TensorView<const float> w,
                          TensorView<float> y) {
    Tensor<float>& input = inputs[static_cast<std::size_t>(id.index())];
    if (input.size() == 0) input = Tensor<float>({kCalibrationTexts * kCalibrationTokens, x.dim(1)});
    std::copy(x.span().begin(), x.span().end(), input.data() + first_row * x.dim(1));
    kit::linear(x, w, y);
  };
  const auto model = make_model(weights, record);
  for (const std::vector<int>& text : sampled) {
    (void)model->forward(text);
    first_row += kCalibrationTokens;
  }
  for (const LinearId id : ids) on_input(id, inputs[static_cast<std::size_t>(id.index())]);
}

}  // namespace lab04_tests
