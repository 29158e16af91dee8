#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gptq_reference.h"
#include "kit/linear.h"
#include "kit/testing.h"
#include "lab04/gptq.h"
#include "reference_quantizers.h"
#include "target_model.h"

// GPTQ of the shipped target against round to nearest on the same grid, at 4 and at 3 bits: by what the model
// loses, and by what each layer's output loses on text that GPTQ has not seen.

namespace {

using kit::LinearId;
using kit::LinearKind;
using kit::Tensor;
using lab04_tests::target_weights;

constexpr double kKlBar = 0.80;
constexpr double kOutputErrorBar = 0.60;
using Hessians = std::vector<Tensor<double>>;  // of all linears of the target, by LinearId::index()

/// Keys and values read what queries read, and w_up what w_gate reads.
bool shares_its_input(LinearId id) {
  return id.kind == LinearKind::kKey || id.kind == LinearKind::kValue || id.kind == LinearKind::kUp;
}

const Hessians& calibration_hessians() {
  static const Hessians result = [] {
    Hessians hessians;
    lab04_tests::calibrate(target_weights(), 1, [&](LinearId id, kit::TensorView<const float> x) {
      Tensor<double> h = shares_its_input(id) ? hessians.back() : lab04_tests::reference_hessian(x);
      hessians.push_back(std::move(h));
    });
    return hessians;
  }();
  return result;
}

/// Of the texts that quality() reads, which are others than those of the calibration.
const Hessians& held_out_hessians() {
  static const Hessians result = [] {
    Hessians hessians(calibration_hessians().size());
    (void)lab04_tests::quality(
        target_weights(), [&](LinearId id, kit::TensorView<const float> x, kit::TensorView<const float> w,
                              kit::TensorView<float> y) {
          kit::linear(x, w, y);
          Tensor<double>& h = hessians[static_cast<std::size_t>(id.index())];
          if (h.size() == 0) h = Tensor<double>({x.dim(1), x.dim(1)});
          if (shares_its_input(id)) return;
          const Tensor<double> more = lab04_tests::reference_hessian(x);
          for (std::int64_t i = 0; i < h.size(); ++i) h.data()[i] += more.data()[i];
        });
    for (const LinearId id : kit::linears_of(lab04_tests::target_config())) {
      const auto index = static_cast<std::size_t>(id.index());
      if (shares_its_input(id)) hessians[index] = hessians[index - 1];
    }
    return hessians;
  }();
  return result;
}

/// ||x (w - q)^T||^2 for the inputs x with 2 x^T x = h: the trace of (w - q) h (w - q)^T / 2.
double layer_output_error(kit::TensorView<const float> w, kit::TensorView<const float> q,
                          const Tensor<double>& h) {
  Tensor<float> difference(w.shape());
  for (std::int64_t i = 0; i < w.size(); ++i) difference.data()[i] = w.data()[i] - q.data()[i];
  Tensor<float> h_as_float(h.shape());
  std::copy(h.span().begin(), h.span().end(), h_as_float.data());
  Tensor<float> product(w.shape());
  kit::linear(difference, h_as_float, product);
  double error = 0.0;
  for (std::int64_t i = 0; i < w.size(); ++i)
    error += double{difference.data()[i]} * double{product.data()[i]};
  return error / 2.0;
}

struct Loss {
  kit::ModelQuality quality;
  std::vector<double> output_errors;  // of each linear, on held-out text
};

Loss loss_of(const lab04_tests::QuantizeWeight& quantize) {
  Loss loss;
  const auto weights =
      lab04_tests::with_weights(*target_weights(), [&](LinearId id, kit::TensorView<const float> w) {
        Tensor<float> q = quantize(id, w);
        const auto index = static_cast<std::size_t>(id.index());
        loss.output_errors.push_back(layer_output_error(w, q, held_out_hessians()[index]));
        return q;
      });
  loss.quality = lab04_tests::quality(weights);
  return loss;
}

void expect_better_than_round_to_nearest(int bits) {
  const lab04::GptqConfig config{.grid = {.bits = bits, .group_size = 64}};
  // A stub says so before the calibration.
  Tensor<double> unit({64, 64});
  for (std::int64_t i = 0; i < 64; ++i) unit(i, i) = 1.0;
  (void)lab04::gptq(Tensor<float>({1, 64}), unit, config);
  const Loss gptq = loss_of([&](LinearId id, kit::TensorView<const float> w) {
    const lab04::GptqResult got =
        lab04::gptq(w, calibration_hessians()[static_cast<std::size_t>(id.index())], config);
    const std::string problem = lab04_tests::problem_of(got, w.shape(), config);
    KIT_CHECK(problem.empty(), "{}: {}", id.to_string(), problem);
    return lab04_tests::decoded(got).values();
  });
  const Loss nearest = loss_of([&](LinearId /*id*/, kit::TensorView<const float> w) {
    return lab04_tests::reference_dequantize_groups(lab04_tests::reference_quantize_groups(w, config.grid));
  });
  // The mean of the linears' ratios. Of their sum one w_down of six is a quarter, and w_down, whose inputs
  // have rare outliers, gains little: the sum's ratio is 0.64 to 0.68, and differs more from text to text.
  double output_error_ratio = 0.0;
  for (std::size_t i = 0; i < gptq.output_errors.size(); ++i) {
    output_error_ratio += gptq.output_errors[i] / nearest.output_errors[i];
  }
  output_error_ratio /= static_cast<double>(gptq.output_errors.size());
  const double kl_ratio = gptq.quality.kl / nearest.quality.kl;
  kit::testing::record_value("kl", gptq.quality.kl);
  kit::testing::record_value("kl_round_to_nearest", nearest.quality.kl);
  kit::testing::record_value("kl_ratio", kl_ratio);
  kit::testing::record_value("kl_ratio_bar", kKlBar);
  kit::testing::record_value("output_error_ratio", output_error_ratio);
  const char* hint = gptq.output_errors == nearest.output_errors
                         ? ". Likely cause: no feedback: the codes are those of round to nearest"
                         : "; the tests of task 7 may know why";
  EXPECT_TRUE(kl_ratio <= kKlBar) << fmt::format(
      "KL {:.3g} +- {:.1g} nats a token, round to nearest {:.3g}: {:.2f} "
      "times as much, at most {} is wanted{}",
      gptq.quality.kl, gptq.quality.kl_standard_error, nearest.quality.kl, kl_ratio, kKlBar, hint);
  EXPECT_TRUE(output_error_ratio <= kOutputErrorBar) << fmt::format(
      "the layers' outputs on text that GPTQ has not seen: {:.2f} times the squared error of round to "
      "nearest, at most {} is wanted{}",
      output_error_ratio, kOutputErrorBar, hint);
}

// Measured over 5 seeds with 3 calibrations each: KL 0.43 to 0.48 times round to nearest's (0.42 to 0.46 at 3
// bits), outputs 0.50 to 0.53. Blocks that keep their errors for themselves reach 0.69 and 0.71 in the
// outputs.
TEST(GptqMilestone, FourBitsLoseLessThanRoundToNearest) {
  expect_better_than_round_to_nearest(4);
}

TEST(GptqMilestone, ThreeBitsLoseLessThanRoundToNearest) {
  expect_better_than_round_to_nearest(3);
}

}  // namespace
