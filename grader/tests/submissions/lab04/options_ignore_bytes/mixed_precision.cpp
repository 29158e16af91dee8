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
  const auto n_layers = static_cast<std::size_t>(loss.dim(0));
  std::vector<int> options(n_layers);
  for (std::size_t layer = 0; layer < n_layers; ++layer) {
    const auto row = bytes.row(static_cast<std::int64_t>(layer));
    options[layer] = static_cast<int>(std::min_element(row.begin(), row.end()) - row.begin());
  }
  std::int64_t left = budget_bytes - least;
  while (true) {
    double most_saved = 0.0;
    std::int64_t best_layer = 0;
    int best_option = kFullPrecision;
    for (std::int64_t layer = 0; layer < loss.dim(0); ++layer) {
      const int now = options[static_cast<std::size_t>(layer)];
      for (int option = 0; option < loss.dim(1); ++option) {
        const double saved = loss(layer, now) - loss(layer, option);
        if (bytes(layer, option) - bytes(layer, now) <= left && saved > most_saved) {
          most_saved = saved;
          best_layer = layer;
          best_option = option;
        }
      }
    }
    if (best_option == kFullPrecision) return options;
    int& changed = options[static_cast<std::size_t>(best_layer)];
    left -= bytes(best_layer, best_option) - bytes(best_layer, changed);
    changed = best_option;
  }
}

}  // namespace lab04
