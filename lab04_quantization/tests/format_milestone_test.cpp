#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kit/testing.h"
#include "lab04/fp8.h"
#include "lab04/kv_quantization.h"
#include "reference_formats.h"
#include "target_model.h"

// The target with its linears in FP8, and with its keys and values in INT8. The checker decodes the FP8 codes
// itself. A cache shows floats, so the checker makes sure that they are what 8 bits can stand for.

namespace {

using kit::KvCache;
using kit::KvCacheConfig;
using kit::ModelQuality;
using kit::Tensor;
using kit::TensorView;
using kit::testing::record_value;
using lab04::Fp8Format;
using lab04_tests::quality_with_cache;

std::string describe(const ModelQuality& q) {
  return fmt::format("KL {:.3g} +- {:.1g} nats a token, top-1 agreement {:.2f} %", q.kl, q.kl_standard_error,
                     100.0 * q.top1_agreement);
}

/// The target with all linears in the student's codes and scales. A code that is a NaN makes the KL NaN.
ModelQuality quality_in_fp8(Fp8Format format) {
  std::array<float, 256> values{};
  for (std::size_t code = 0; code < values.size(); ++code) {
    values[code] = static_cast<float>(
        lab04_tests::fp8_value(static_cast<std::uint8_t>(code), lab04_tests::definition_of(format)));
  }
  return lab04_tests::quality(lab04_tests::with_weights(
      *lab04_tests::target_weights(), [&](kit::LinearId /*id*/, TensorView<const float> w) {
        Tensor<std::uint8_t> codes(w.shape());
        Tensor<float> scales = kit::testing::nan_tensor({w.dim(0)});
        lab04::quantize_fp8(w, format, codes, scales.span());
        Tensor<float> decoded(w.shape());
        for (std::int64_t i = 0; i < w.dim(0); ++i) {
          for (std::int64_t j = 0; j < w.dim(1); ++j) decoded(i, j) = scales(i) * values[codes(i, j)];
        }
        return decoded;
      }));
}

TEST(FormatMilestone, Fp8KeepsTheModel) {
  constexpr double kBar = 0.003;
  const ModelQuality e4m3 = quality_in_fp8(Fp8Format::kE4M3);
  record_value("kl_e4m3", e4m3.kl);
  record_value("kl_e4m3_bar", kBar);
  record_value("kl_e4m3_standard_error", e4m3.kl_standard_error);
  record_value("top1_e4m3", e4m3.top1_agreement);
  EXPECT_TRUE(e4m3.kl <= kBar) << fmt::format("all linears in E4M3, a scale for each row: {}, the bar is {}",
                                              describe(e4m3), kBar);
}

using Quantize = std::function<Tensor<float>(TensorView<const float>)>;

/// Keeps what was appended. The checker's caches are derived from it.
class RecordingCache : public KvCache {
 public:
  explicit RecordingCache(const KvCacheConfig& config) : config_(config), layers_(config.n_layers) {}

  const KvCacheConfig& config() const override { return config_; }
  void append(int layer, TensorView<const float> k, TensorView<const float> v) override {
    Layer& one = layers_.at(layer);
    one.k.insert(one.k.end(), k.span().begin(), k.span().end());
    one.v.insert(one.v.end(), v.span().begin(), v.span().end());
  }
  int length(int layer) const override {
    return static_cast<int>(layers_.at(layer).k.size()) / (config_.n_kv_heads * config_.head_dim);
  }
  void reset() override { layers_.assign(layers_.size(), {}); }

 protected:
  TensorView<const float> recorded(const std::vector<float>& x) const {
    const auto channels = std::int64_t{config_.n_kv_heads} * config_.head_dim;
    return {x, {static_cast<std::int64_t>(x.size()) / channels, config_.n_kv_heads, config_.head_dim}};
  }

  struct Layer {
    std::vector<float> k;  // [len, n_kv_heads, head_dim]
    std::vector<float> v;  // [len, n_kv_heads, head_dim]
    mutable Tensor<float> shown_keys;
    mutable Tensor<float> shown_values;
  };
  KvCacheConfig config_;
  std::vector<Layer> layers_;
};

/// The checker's own cache: shows what these functions make of all keys, and of all values.
class ReferenceCache : public RecordingCache {
 public:
  ReferenceCache(const KvCacheConfig& config, Quantize keys, Quantize values)
      : RecordingCache(config), quantize_keys_(std::move(keys)), quantize_values_(std::move(values)) {}

  TensorView<const float> keys(int layer) const override {
    const Layer& one = layers_.at(layer);
    one.shown_keys = quantize_keys_(recorded(one.k));
    return one.shown_keys;
  }
  TensorView<const float> values(int layer) const override {
    const Layer& one = layers_.at(layer);
    one.shown_values = quantize_values_(recorded(one.v));
    return one.shown_values;
  }

 private:
  Quantize quantize_keys_;
  Quantize quantize_values_;
};

/// How many numbers a student's cache showed, and how many of them 8 bits do not stand for.
struct Evidence {
  std::int64_t n_shown = 0;
  std::int64_t n_wrong = 0;
};

/// A student's INT8 cache, whose every number is held against the contract's.
class WatchedInt8Cache : public RecordingCache {
 public:
  WatchedInt8Cache(const KvCacheConfig& config, Evidence& evidence)
      : RecordingCache(config), students_(lab04::make_int8_kv_cache(config)), evidence_(evidence) {}

  void append(int layer, TensorView<const float> k, TensorView<const float> v) override {
    RecordingCache::append(layer, k, v);
    students_->append(layer, k, v);
  }
  TensorView<const float> keys(int layer) const override {
    return watched(students_->keys(layer), layers_.at(layer).k);
  }
  TensorView<const float> values(int layer) const override {
    return watched(students_->values(layer), layers_.at(layer).v);
  }

 private:
  TensorView<const float> watched(TensorView<const float> shown, const std::vector<float>& appended) const {
    const Tensor<float> expected = lab04_tests::reference_int8_tokens(recorded(appended));
    KIT_CHECK(shown.shape() == expected.shape(), "the cache shows {} instead of {}",
              shown.shape().to_string(), expected.shape().to_string());
    evidence_.n_shown += shown.size();
    for (std::int64_t i = 0; i < shown.size(); ++i) {
      // One product of a code and a scale, which may be stored in another precision than float: far less than
      // the 0.2 % and more between codes.
      const double error = std::abs(double{shown.data()[i]} - double{expected.data()[i]});
      if (!(error <= 1e-4 * std::abs(double{expected.data()[i]}))) ++evidence_.n_wrong;
    }
    return shown;
  }

  std::unique_ptr<KvCache> students_;
  Evidence& evidence_;
};

TEST(FormatMilestone, Int8CacheKeepsTheModel) {
  constexpr double kBar = 2e-4;
  (void)lab04::make_int8_kv_cache(
      {.n_layers = 1, .n_kv_heads = 1, .head_dim = 1, .max_len = 1});  // a stub says so before the model runs
  Evidence evidence;
  const ModelQuality int8 = quality_with_cache(
      [&](const KvCacheConfig& config) { return std::make_unique<WatchedInt8Cache>(config, evidence); });
  ASSERT_GT(evidence.n_shown, 0) << "nobody has read the cache";
  EXPECT_EQ(evidence.n_wrong, 0)
      << "of " << evidence.n_shown
      << " keys and values that the cache showed: they are not what INT8 codes with "
         "a scale for each token and head stand for";
  EXPECT_TRUE(int8.kl <= kBar) << fmt::format("keys and values in INT8: {}, the bar is {}", describe(int8),
                                              kBar);
  record_value("kl_int8", int8.kl);
  record_value("kl_int8_bar", kBar);
  record_value("kl_int8_standard_error", int8.kl_standard_error);
  record_value("top1_int8", int8.top1_agreement);

  // What fewer bits cost, by the checker's own caches, with a group of a head's 32 numbers or 32 tokens.
  constexpr int kGroup = 32;
  constexpr int kPictureTexts = 4;
  const auto of_reference = [](const Quantize& keys, const Quantize& values) {
    return quality_with_cache(
        [&](const KvCacheConfig& config) { return std::make_unique<ReferenceCache>(config, keys, values); },
        kPictureTexts);
  };
  const auto per_token = [](int n_steps) {
    return [=](TensorView<const float> x) { return lab04_tests::reference_per_token(x, kGroup, n_steps); };
  };
  const auto per_channel = [](TensorView<const float> x) {
    return lab04_tests::reference_per_channel(x, kGroup);
  };
  const ModelQuality int4 = of_reference(per_token(15), per_token(15));
  const ModelQuality two_bits = of_reference(per_token(3), per_token(3));
  const ModelQuality kivi = of_reference(per_channel, per_token(3));
  record_value("kl_int4", int4.kl);
  record_value("kl_two_bits_per_token", two_bits.kl);
  record_value("kl_kivi", kivi.kl);
  record_value("kl_kivi_standard_error", kivi.kl_standard_error);
  const auto bits = [](int code_bits, int floats_in_a_group) {
    return code_bits + 32.0 * floats_in_a_group / kGroup;
  };
  kit::testing::record_series("per_token_bits", std::vector{bits(2, 2), bits(4, 2), bits(8, 1)});
  kit::testing::record_series("per_token_kl", std::vector{two_bits.kl, int4.kl, int8.kl});
  kit::testing::record_series("kivi_bits", std::vector{bits(2, 2)});
  kit::testing::record_series("kivi_kl", std::vector{kivi.kl});
}

}  // namespace
