#include "lab04/mixed_precision.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab04 {

namespace {

constexpr int kFullPrecision = -1;

std::vector<int> cheapest(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes,
                          double price) {
  std::vector<int> options;
  for (std::int64_t layer = 0; layer < loss.dim(0); ++layer) {
    const auto cost = [&](int option) {
      return loss(layer, option) + price * static_cast<double>(bytes(layer, option));
    };
    int best = 0;
    for (int option = 1; option < loss.dim(1); ++option) best = cost(option) < cost(best) ? option : best;
    options.push_back(best);
  }
  return options;
}

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
  // The least of loss + price * bytes for each layer; the lowest price at which that fits.
  double low = 1e-30;
  double high = 1e30;
  std::vector<int> best = cheapest(loss, bytes, high);
  for (int i = 0; i < 300; ++i) {
    const double price = std::sqrt(low * high);
    std::vector<int> options = cheapest(loss, bytes, price);
    std::int64_t sum = 0;
    for (std::int64_t layer = 0; layer < loss.dim(0); ++layer)
      sum += bytes(layer, options[static_cast<std::size_t>(layer)]);
    (sum <= budget_bytes ? high : low) = price;
    if (sum <= budget_bytes) best = std::move(options);
  }
  return best;
}

}  // namespace lab04
