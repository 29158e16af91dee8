#include "lab04/mixed_precision.h"

#include <algorithm>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab04 {

namespace {

constexpr int kFullPrecision = -1;

std::int64_t sum_of_smallest(kit::TensorView<const std::int64_t> bytes) {
  std::int64_t sum = 0;
  for (std::int64_t layer = 0; layer < bytes.dim(0); ++layer) {
    const auto row = bytes.row(layer);
    sum = kit::checked_sum("bytes of the smallest options", {sum, *std::min_element(row.begin(), row.end())});
  }
  return sum;
}

void check_table(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes) {
  KIT_CHECK(loss.rank() == 2 && loss.shape() == bytes.shape() && loss.size() > 0,
            "loss {} and bytes {} must both be [n_layers, n_options]", loss.shape().to_string(),
            bytes.shape().to_string());
  for (std::int64_t layer = 0; layer < loss.dim(0); ++layer) {
    for (std::int64_t option = 0; option < loss.dim(1); ++option) {
      KIT_CHECK(loss(layer, option) >= 0, "layer {}, option {}: the loss is {}", layer, option,
                loss(layer, option));
      KIT_CHECK(bytes(layer, option) >= 0, "layer {}, option {}: {} bytes", layer, option,
                bytes(layer, option));
    }
  }
}

}  // namespace

kit::Tensor<double> measure_sensitivity(int n_layers, int n_options, const QualityLoss& loss) {
  KIT_CHECK(n_layers >= 1 && n_options >= 1, "{} layers and {} options, must be at least 1", n_layers,
            n_options);
  kit::Tensor<double> sensitivity({n_layers, n_options});
  for (int layer = 0; layer < n_layers; ++layer) {
    std::vector<int> options(static_cast<std::size_t>(n_layers), kFullPrecision);
    for (int option = 0; option < n_options; ++option) {
      options[static_cast<std::size_t>(layer)] = option;
      sensitivity(layer, option) = loss(options);
    }
  }
  return sensitivity;
}

std::vector<int> choose_options(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes,
                                std::int64_t budget_bytes) {
  check_table(loss, bytes);
  const std::int64_t least = sum_of_smallest(bytes);
  KIT_CHECK(least <= budget_bytes, "the smallest options take {} bytes, the budget is {}", least,
            budget_bytes);
  int best = kFullPrecision;
  double best_loss = 0.0;
  for (int option = 0; option < loss.dim(1); ++option) {
    std::int64_t sum_bytes = 0;
    double sum_loss = 0.0;
    for (std::int64_t layer = 0; layer < loss.dim(0); ++layer) {
      sum_bytes += bytes(layer, option);
      sum_loss += loss(layer, option);
    }
    if (sum_bytes > budget_bytes || (best != kFullPrecision && sum_loss >= best_loss)) continue;
    best = option;
    best_loss = sum_loss;
  }
  return std::vector<int>(static_cast<std::size_t>(loss.dim(0)), std::max(best, 0));
}

}  // namespace lab04
