#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kit/testing.h"
#include "lab04/awq.h"
#include "lab04/fp8.h"
#include "lab04/gptq.h"
#include "lab04/group_quantization.h"
#include "lab04/incoherence.h"
#include "lab04/mixed_precision.h"
#include "lab04/per_channel.h"
#include "lab04/quantized_products.h"
#include "lab04/smoothquant.h"
#include "lab04/symmetric.h"
#include "reference_quantizers.h"
#include "target_model.h"
#include "w8a8_model.h"

// KL against bytes of every method and bit width, from the student's own code: one figure. Points are given
// for the bytes of 4 bits; the rest is to be looked at.

namespace {

using kit::LinearId;
using kit::LlamaWeights;
using kit::Tensor;
using kit::TensorView;
using kit::testing::record_series;
using kit::testing::record_value;
using lab04::GroupConfig;
using lab04::GroupQuantized;
using lab04_tests::decoded_or_fail;
using lab04_tests::quality;
using lab04_tests::target_config;
using lab04_tests::target_weights;
using lab04_tests::with_weights;

// A picture needs no four standard errors.
constexpr int kPictureTexts = 2;

/// One method at several sizes: the line of a figure.
class Front {
 public:
  explicit Front(std::string name) : name_(std::move(name)) {}
  ~Front() {
    record_series(name_ + "_mb", megabytes_);
    record_series(name_ + "_kl", kls_);
  }
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  /// `quantize` gives a weight back, and adds what its codes take to n_bytes.
  using Quantize =
      std::function<Tensor<float>(LinearId id, TensorView<const float> w, std::int64_t& n_bytes)>;
  void add(const LlamaWeights& weights, const Quantize& quantize) {
    std::int64_t n_bytes = 0;
    const auto quantized = with_weights(
        weights, [&](LinearId id, TensorView<const float> w) { return quantize(id, w, n_bytes); });
    add(quality(quantized, {}, kPictureTexts).kl, n_bytes);
  }
  void add(double kl, std::int64_t n_bytes) {
    kls_.push_back(kl);
    megabytes_.push_back(static_cast<double>(n_bytes) / 1e6);
  }

 private:
  std::string name_;
  std::vector<double> megabytes_;
  std::vector<double> kls_;
};

/// Runs what another task's code draws. That code may not be written yet, or be wrong: its own tests say so.
void if_written(const std::function<void()>& draw) {
  try {
    draw();
  } catch (const kit::NotImplemented&) {
  } catch (const kit::Error&) {
  }
}

double n_linear_weights() {
  std::int64_t n = 0;
  for (const LinearId id : kit::linears_of(target_config()))
    n += kit::weight_of(*target_weights(), id).size();
  return static_cast<double>(n);
}

Tensor<float> by_groups(TensorView<const float> w, const GroupConfig& config, std::int64_t& n_bytes) {
  const GroupQuantized q = lab04::quantize_groups(w, config);
  n_bytes += lab04_tests::size_bytes(q);
  return decoded_or_fail(q, w);
}

void draw_groups(const std::string& name, int group_size, bool symmetric) {
  Front front(name);
  for (const int bits : {2, 3, 4, 6, 8}) {
    front.add(*target_weights(), [&](LinearId /*id*/, TensorView<const float> w, std::int64_t& n_bytes) {
      return by_groups(w, {bits, group_size, symmetric}, n_bytes);
    });
  }
}

void draw_int8_per_tensor() {
  Front front("tensor");
  front.add(*target_weights(), [](LinearId /*id*/, TensorView<const float> w, std::int64_t& n_bytes) {
    Tensor<std::int8_t> codes(w.shape());
    const std::vector<float> scales(static_cast<std::size_t>(w.dim(0)),
                                    lab04::quantize_symmetric(w.span(), codes.span()));
    n_bytes += codes.size() + 4;
    return lab04_tests::reference_dequantize_rows(codes, scales);
  });
}

void draw_fp8() {
  Front front("fp8");
  for (const lab04::Fp8Format format : {lab04::Fp8Format::kE4M3, lab04::Fp8Format::kE5M2}) {
    front.add(*target_weights(), [&](LinearId /*id*/, TensorView<const float> w, std::int64_t& n_bytes) {
      Tensor<std::uint8_t> codes(w.shape());
      std::vector<float> scales(static_cast<std::size_t>(w.dim(0)));
      lab04::quantize_fp8(w, format, codes, scales);
      n_bytes += codes.size() + 4 * static_cast<std::int64_t>(scales.size());
      Tensor<float> result(w.shape());
      lab04::dequantize_fp8(codes, format, scales, result);
      return result;
    });
  }
}

/// Hessians of all linears, by the checker.
const std::vector<Tensor<double>>& hessians() {
  static const std::vector<Tensor<double>> all_hessians = [] {
    std::vector<Tensor<double>> all;
    lab04_tests::calibrate(target_weights(), 1, [&](LinearId id, TensorView<const float> x) {
      // wq, wk and wv have the same input, and w_gate and w_up.
      if (id.kind == kit::LinearKind::kKey || id.kind == kit::LinearKind::kValue ||
          id.kind == kit::LinearKind::kUp) {
        all.push_back(all.back());
        return;
      }
      all.push_back(lab04_tests::reference_hessian(x));
    });
    return all;
  }();
  return all_hessians;
}

void draw_gptq() {
  Front front("gptq");
  for (const int bits : {2, 3, 4, 8}) {
    front.add(*target_weights(), [&](LinearId id, TensorView<const float> w, std::int64_t& n_bytes) {
      const lab04::GptqResult result =
          lab04::gptq(w, hessians()[static_cast<std::size_t>(id.index())], {.grid = {bits, 64, false}});
      n_bytes += lab04_tests::size_bytes(result.weights);
      return decoded_or_fail(result.weights, w);
    });
  }
}

void draw_awq() {
  constexpr std::int64_t kSearchRows = 128;
  std::map<int, Tensor<float>> inputs;  // by LinearId::index()
  lab04_tests::calibrate(target_weights(), 1, [&](LinearId id, TensorView<const float> x) {
    inputs[id.index()] = lab04_tests::every_nth_row(x, kSearchRows);
  });
  Front front("awq");
  for (const int bits : {2, 3, 4, 8}) {
    const GroupConfig grid{bits, 64, false};
    const auto folded = lab04_tests::with_folded_norms(
        *target_weights(), [&](LinearId first, std::span<float> gain, TensorView<float> w) {
          const lab04::AwqScales found = lab04::search_awq_scales(inputs.at(first.index()), w, grid);
          lab04::fold_into_norm(found.scales, gain, w);
        });
    front.add(*folded, [&](LinearId /*id*/, TensorView<const float> w, std::int64_t& n_bytes) {
      return by_groups(w, grid, n_bytes);
    });
  }
}

void draw_e8() {
  Front front("e8");
  kit::Rng rng = kit::testing::make_rng(4200);
  front.add(*target_weights(), [&](LinearId /*id*/, TensorView<const float> w, std::int64_t& n_bytes) {
    const lab04::E8Quantized q = lab04::quantize_e8(w, rng);
    n_bytes += 2 * static_cast<std::int64_t>(q.codes.size()) + 4 + (w.dim(0) + w.dim(1)) / 8;
    Tensor<float> result(w.shape());
    lab04::dequantize_e8(q, result);
    return result;
  });
}

/// Layers whole in one of several widths, in groups of 64.
class LayersInBits {
 public:
  LayersInBits() {
    for (std::size_t o = 0; o < kBits.size(); ++o) {
      models_[o] = with_weights(*target_weights(), [&](LinearId id, TensorView<const float> w) {
        return by_groups(w, {kBits[o], 64, false}, bytes_(id.layer, static_cast<std::int64_t>(o)));
      });
    }
  }

  static int n_layers() { return target_config().n_layers; }
  static int n_options() { return static_cast<int>(kBits.size()); }
  /// [n_layers, n_options]
  TensorView<const std::int64_t> bytes() const { return bytes_; }

  std::int64_t bytes_of(std::span<const int> options) const {
    check(options);
    std::int64_t sum = 0;
    for (int l = 0; l < n_layers(); ++l) sum += bytes_(l, options[static_cast<std::size_t>(l)]);
    return sum;
  }

  /// options: for each layer the index of a width, or -1: float.
  double kl(std::span<const int> options, int n_texts) const {
    check(options);
    auto weights = std::make_shared<LlamaWeights>(*target_weights());
    for (std::size_t l = 0; l < options.size(); ++l) {
      if (options[l] >= 0) weights->layers[l] = models_[static_cast<std::size_t>(options[l])]->layers[l];
    }
    return quality(weights, {}, n_texts).kl;
  }

 private:
  static constexpr std::array<int, 4> kBits = {2, 3, 4, 6};

  /// They come from the student.
  static void check(std::span<const int> options) {
    KIT_CHECK(std::ssize(options) == n_layers(), "{} options for {} layers", options.size(), n_layers());
    for (const int option : options) KIT_CHECK(option >= -1 && option < n_options(), "option {}", option);
  }

  std::array<std::shared_ptr<const LlamaWeights>, kBits.size()> models_;
  Tensor<std::int64_t> bytes_{{n_layers(), n_options()}, 0};
};

void draw_mixed() {
  const LayersInBits target;
  int n_calls = 0;
  const Tensor<double> losses =
      lab04::measure_sensitivity(target.n_layers(), target.n_options(), [&](std::span<const int> options) {
        KIT_CHECK(++n_calls <= target.n_layers() * target.n_options(), "the loss was asked for too often");
        return target.kl(options, 1);
      });
  KIT_CHECK((losses.shape() == kit::Shape{target.n_layers(), target.n_options()}), "losses {}",
            losses.shape().to_string());
  Front front("mixed");
  for (const double bits : {2.8, 3.2, 3.7, 4.2, 5.0, 5.8}) {
    const auto budget = static_cast<std::int64_t>(bits / 8.0 * n_linear_weights());
    const std::vector<int> options = lab04::choose_options(losses, target.bytes(), budget);
    front.add(target.kl(options, kPictureTexts), target.bytes_of(options));
  }
}

/// The linears of a model with these weights, both sides in INT8, and what the weights take.
kit::LinearOp w8a8(const LlamaWeights& weights, std::int64_t& n_bytes) {
  struct Codes {
    Tensor<std::int8_t> codes;
    std::vector<float> scales;
  };
  std::vector<Codes> linears;  // by LinearId::index()
  for (const LinearId id : kit::linears_of(target_config())) {
    const Tensor<float>& w = kit::weight_of(weights, id);
    linears.push_back(
        {Tensor<std::int8_t>(w.shape()), std::vector<float>(static_cast<std::size_t>(w.dim(0)))});
    Codes& q = linears.back();
    lab04::quantize_per_channel(w, lab04::ChannelAxis::kRows, q.codes, q.scales);
    n_bytes += q.codes.size() + 4 * std::ssize(q.scales);
  }
  return [linears = std::move(linears)](LinearId id, TensorView<const float> x, TensorView<const float> /*w*/,
                                        TensorView<float> y) {
    const Codes& q = linears[static_cast<std::size_t>(id.index())];
    lab04::linear_w8a8_dynamic(x, q.codes, q.scales, y);
  };
}

void draw_w8a8() {
  Front front("w8a8");
  std::int64_t n_bytes = 0;
  const kit::LinearOp linear = w8a8(*target_weights(), n_bytes);
  front.add(quality(target_weights(), linear, kPictureTexts).kl, n_bytes);
}

void draw_smoothquant() {
  constexpr double kAlpha = 0.5;
  const lab04_tests::InputMaxima maxima = lab04_tests::input_maxima(target_weights(), 1);
  const auto smoothed = lab04_tests::with_folded_norms(
      *target_weights(), [&](LinearId first, std::span<float> gain, TensorView<float> w) {
        (void)lab04::smooth(maxima[static_cast<std::size_t>(first.index())], kAlpha, gain, w);
      });
  Front front("smoothquant");
  std::int64_t n_bytes = 0;
  const kit::LinearOp linear = w8a8(*smoothed, n_bytes);
  front.add(quality(smoothed, linear, kPictureTexts).kl, n_bytes);
}

TEST(QualityMilestone, ParetoFront) {
  // 4 bits and a binary16 scale for 64 weights: 4.25 of 32 bits.
  constexpr double kBar = 100.0 * 4.25 / 32.0;
  std::int64_t n_bytes = 0;
  std::int64_t float_bytes = 0;
  with_weights(*target_weights(), [&](LinearId /*id*/, TensorView<const float> w) {
    float_bytes += 4 * w.size();
    return by_groups(w, {4, 64, true}, n_bytes);
  });
  const double share = 100.0 * static_cast<double>(n_bytes) / static_cast<double>(float_bytes);
  EXPECT_TRUE(share <= kBar) << "bytes of all linears at 4 bits in groups of 64, in % of float";
  record_value("share_percent", share);
  record_value("share_bar_percent", kBar);

  draw_groups("row", 0, true);
  draw_groups("g64", 64, true);
  draw_groups("g64_asymmetric", 64, false);
  if_written(draw_int8_per_tensor);
  if_written(draw_fp8);
  if_written(draw_gptq);
  if_written(draw_awq);
  if_written(draw_e8);
  if_written(draw_mixed);
  if_written(draw_w8a8);
  if_written(draw_smoothquant);
}

}  // namespace
