#include "lab04/mixed_precision.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include "kit/check.h"
#include "kit/checked.h"

namespace lab04 {

namespace {

constexpr int kFullPrecision = -1;

/// One way to store the layers up to some layer.
struct Choice {
  std::int64_t extra_bytes = 0;  // beyond the smallest option of each
  double loss = 0.0;
  int option = kFullPrecision;  // of the last of these layers
  std::size_t before = 0;       // the choice for the others, in the front of the layer before
};

/// Choices worth keeping: each has more bytes and less loss than the one before it.
using Front = std::vector<Choice>;

/// A front larger than this is thinned. Smaller problems are solved exactly: 4 options for 6 layers make 4^6
/// = 4096 choices, and layers of equal size make few sums of bytes.
constexpr std::size_t kExactFront = 10'000;

/// Drops every choice that saves not even a factor of `ratio` in loss over one with no more bytes. With ratio
/// 1 nothing is lost.
Front worth_keeping(Front choices, double ratio) {
  std::sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
    return std::tie(a.extra_bytes, a.loss) < std::tie(b.extra_bytes, b.loss);
  });
  Front kept;
  for (const Choice& choice : choices) {
    if (kept.empty() || choice.loss * ratio < kept.back().loss) kept.push_back(choice);
  }
  return kept;
}

/// Every choice for the layers before, with every option of the next one.
Front extend(const Front& front, std::span<const double> loss, std::span<const std::int64_t> bytes,
             std::int64_t spare_bytes) {
  const std::int64_t smallest = *std::min_element(bytes.begin(), bytes.end());
  Front extended;
  for (std::size_t before = 0; before < front.size(); ++before) {
    for (std::size_t option = 0; option < bytes.size(); ++option) {
      const std::int64_t extra = bytes[option] - smallest;
      if (extra > spare_bytes + 1 - front[before].extra_bytes) continue;
      extended.push_back({.extra_bytes = front[before].extra_bytes + extra,
                          .loss = front[before].loss + loss[option],
                          .option = static_cast<int>(option),
                          .before = before});
    }
  }
  return extended;
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

// Exact for losses that add up: layer by layer, what nothing smaller beats is kept. Thinned at each of n
// layers, a front still holds a choice within (1 + 0.01 / n)^n < 1.011 of the optimum.
std::vector<int> choose_options(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes,
                                std::int64_t budget_bytes) {
  check_table(loss, bytes);
  const std::int64_t least = sum_of_smallest(bytes);
  KIT_CHECK(least <= budget_bytes, "the smallest options take {} bytes, the budget is {}", least,
            budget_bytes);
  const std::int64_t n_layers = loss.dim(0);
  const double ratio = 1 + 0.01 / static_cast<double>(n_layers);
  std::vector<Front> fronts = {{Choice{}}};  // fronts[l]: choices for the first l layers
  for (std::int64_t layer = 0; layer < n_layers; ++layer) {
    Front next = extend(fronts.back(), loss.row(layer), bytes.row(layer), budget_bytes - least);
    next = worth_keeping(std::move(next), 1);
    if (next.size() > kExactFront) next = worth_keeping(std::move(next), ratio);
    fronts.push_back(std::move(next));
  }

  std::vector<int> options(static_cast<std::size_t>(n_layers));
  std::size_t index = fronts.back().size() - 1;  // the last one has the least loss
  for (std::size_t layer = options.size(); layer > 0; --layer) {
    const Choice& choice = fronts[layer][index];
    options[layer - 1] = choice.option;
    index = choice.before;
  }
  return options;
}

}  // namespace lab04
