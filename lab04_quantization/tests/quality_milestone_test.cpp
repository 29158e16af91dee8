#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <vector>

#include "kit/testing.h"
#include "lab04/group_quantization.h"
#include "lab04/per_channel.h"
#include "lab04/symmetric.h"
#include "reference_quantizers.h"
#include "target_model.h"

// What a quantized model loses, in KL per token against the model in float. The student gives codes; the
// checker decodes them by the contract and measures.

namespace {

using kit::LinearId;
using kit::ModelQuality;
using kit::Tensor;
using kit::TensorView;
using kit::testing::record_series;
using kit::testing::record_value;
using lab04::GroupQuantized;
using lab04_tests::decoded_or_fail;
using lab04_tests::quality;
using lab04_tests::target_weights;
using lab04_tests::with_weights;

/// For a failure: what was measured, and how certain it is.
std::string describe(const ModelQuality& q) {
  return fmt::format("KL {:.3g} +- {:.1g} nats a token over {} tokens, top-1 agreement {:.2f} %", q.kl,
                     q.kl_standard_error, q.n_tokens, 100.0 * q.top1_agreement);
}

// --- INT8
// ---------------------------------------------------------------------------------------------------------

Tensor<float> int8_per_channel(LinearId /*id*/, TensorView<const float> w) {
  Tensor<std::int8_t> codes(w.shape());
  std::vector<float> scales(static_cast<std::size_t>(w.dim(0)), std::numeric_limits<float>::quiet_NaN());
  lab04::quantize_per_channel(w, lab04::ChannelAxis::kRows, codes, scales);
  return lab04_tests::reference_dequantize_rows(codes, scales);
}

Tensor<float> int8_per_tensor(LinearId /*id*/, TensorView<const float> w) {
  Tensor<std::int8_t> codes(w.shape());
  const float scale = lab04::quantize_symmetric(w.span(), codes.span());
  const std::vector<float> scales(static_cast<std::size_t>(w.dim(0)), scale);
  return lab04_tests::reference_dequantize_rows(codes, scales);
}

TEST(QualityMilestone, Int8KeepsTheModel) {
  // Measured: 1.5e-4 and 4.8e-4, each to 4 %.
  constexpr double kPerChannelBar = 3e-4;
  constexpr double kPerTensorBar = 1e-3;
  const ModelQuality per_channel = quality(with_weights(*target_weights(), int8_per_channel));
  const ModelQuality per_tensor = quality(with_weights(*target_weights(), int8_per_tensor));
  EXPECT_TRUE(per_channel.kl <= kPerChannelBar)
      << "a scale for each row: " << describe(per_channel) << "; the bar is " << kPerChannelBar;
  EXPECT_TRUE(per_tensor.kl <= kPerTensorBar)
      << "one scale for a matrix: " << describe(per_tensor) << "; the bar is " << kPerTensorBar;
  record_value("kl_per_channel", per_channel.kl);
  record_value("kl_bar", kPerChannelBar);
  record_value("kl_per_tensor", per_tensor.kl);
  record_value("top1_per_channel", per_channel.top1_agreement);
}

// --- Groups
// -------------------------------------------------------------------------------------------------------

TEST(QualityMilestone, SmallerGroupsLoseLess) {
  // Measured at 4 bits, symmetric: .055 per channel, then .043, .036, .030. A step is at least 15 %, and the
  // texts are the same, so 5 % is far outside the noise.
  constexpr double kStep = 0.95;
  constexpr double kBar = 0.70;  // of g32 against the whole row; measured 0.55
  const std::array<int, 4> group_sizes = {0, 128, 64, 32};
  std::vector<double> kls;
  std::vector<double> bits;
  for (const int group_size : group_sizes) {
    std::int64_t n_bytes = 0;
    std::int64_t n_weights = 0;
    const auto weights = with_weights(*target_weights(), [&](LinearId /*id*/, TensorView<const float> w) {
      const GroupQuantized q = lab04::quantize_groups(w, {4, group_size, true});
      n_bytes += lab04_tests::size_bytes(q);
      n_weights += w.size();
      return decoded_or_fail(q, w);
    });
    const ModelQuality measured = quality(weights);
    if (!kls.empty()) {
      EXPECT_TRUE(measured.kl <= kStep * kls.back())
          << "groups of " << group_size << ": " << describe(measured) << ", and " << kls.back()
          << " with the next larger ones";
    }
    kls.push_back(measured.kl);
    bits.push_back(8.0 * static_cast<double>(n_bytes) / static_cast<double>(n_weights));
  }
  const double ratio = kls.back() / kls.front();
  EXPECT_TRUE(ratio <= kBar) << "KL with groups of 32 over KL with one scale for a row: " << ratio;
  record_value("kl_ratio", ratio);
  record_value("kl_ratio_bar", kBar);
  record_series("bits_per_weight", bits);
  record_series("kl", kls);
}

}  // namespace
