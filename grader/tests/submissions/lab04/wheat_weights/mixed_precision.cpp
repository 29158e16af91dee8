#include "lab04/mixed_precision.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kit/check.h"

namespace lab04 {

namespace {

/// Depth first through the layers. What the layers to come cost at least follows from a price for bytes: the
/// sum over them of the least loss + price * bytes, less the price of what is left of the budget.
class Search {
 public:
  Search(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes, std::int64_t budget)
      : loss_(loss), bytes_(bytes), n_layers_(static_cast<std::size_t>(loss.dim(0))) {
    set_price(0.0);
    double low = 0.0;
    double high = 1e9;
    for (int i = 0; i < 200; ++i) {
      set_price((low + high) / 2);
      double sum = 0.0;
      for (std::size_t layer = 0; layer < n_layers_; ++layer)
        sum += static_cast<double>(bytes_at(layer, order_[layer][0]));
      (sum <= static_cast<double>(budget) ? high : low) = price_;
    }
    set_price(high);
    descend(0, budget, 0.0);
  }

  const std::vector<int>& best() const { return best_; }

 private:
  double loss_at(std::size_t layer, int option) const {
    return loss_(static_cast<std::int64_t>(layer), option);
  }
  std::int64_t bytes_at(std::size_t layer, int option) const {
    return bytes_(static_cast<std::int64_t>(layer), option);
  }

  void set_price(double price) {
    price_ = price;
    order_.assign(n_layers_, std::vector<int>(static_cast<std::size_t>(loss_.dim(1))));
    at_least_.assign(n_layers_ + 1, 0.0);
    least_bytes_.assign(n_layers_ + 1, 0);
    for (std::size_t layer = n_layers_; layer-- > 0;) {
      const auto cost = [&](int option) {
        return loss_at(layer, option) + price * static_cast<double>(bytes_at(layer, option));
      };
      std::vector<int>& order = order_[layer];
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return cost(a) < cost(b); });
      at_least_[layer] = at_least_[layer + 1] + cost(order[0]);
      const auto row = bytes_.row(static_cast<std::int64_t>(layer));
      least_bytes_[layer] = least_bytes_[layer + 1] + *std::min_element(row.begin(), row.end());
    }
  }

  void descend(std::size_t layer, std::int64_t left, double loss) {
    const double possible = loss + std::max(at_least_[layer] - price_ * static_cast<double>(left), 0.0);
    if (left < least_bytes_[layer] || possible * 1.015 >= best_loss_) return;
    if (layer == n_layers_) {
      best_ = options_;
      best_loss_ = loss;
      return;
    }
    for (const int option : order_[layer]) {
      options_.push_back(option);
      descend(layer + 1, left - bytes_at(layer, option), loss + loss_at(layer, option));
      options_.pop_back();
    }
  }

  kit::TensorView<const double> loss_;
  kit::TensorView<const std::int64_t> bytes_;
  std::size_t n_layers_;
  double price_ = 0.0;
  std::vector<std::vector<int>> order_;    // of each layer's options, the likely ones first
  std::vector<double> at_least_;           // loss + price * bytes of layers l and on
  std::vector<std::int64_t> least_bytes_;  // of layers l and on
  std::vector<int> options_;
  std::vector<int> best_;
  double best_loss_ = std::numeric_limits<double>::infinity();
};

}  // namespace

kit::Tensor<double> measure_sensitivity(int n_layers, int n_options, const QualityLoss& loss) {
  KIT_CHECK(n_layers > 0, "{} layers", n_layers);
  KIT_CHECK(n_options > 0, "{} options", n_options);
  kit::Tensor<double> table({n_layers, n_options});
  std::vector<int> options(static_cast<std::size_t>(n_layers), -1);
  for (int option = n_options - 1; option >= 0; --option) {
    for (int layer = n_layers - 1; layer >= 0; --layer) {
      int& own = options[static_cast<std::size_t>(layer)];
      own = option;
      table(layer, option) = loss(options);
      own = -1;
    }
  }
  return table;
}

std::vector<int> choose_options(kit::TensorView<const double> loss, kit::TensorView<const std::int64_t> bytes,
                                std::int64_t budget_bytes) {
  KIT_CHECK(loss.rank() == 2 && loss.shape() == bytes.shape(), "{} and {}", loss.shape().to_string(),
            bytes.shape().to_string());
  for (const double x : loss.span()) KIT_CHECK(x >= 0.0, "a loss of {}", x);
  for (const std::int64_t x : bytes.span()) KIT_CHECK(x >= 0, "{} bytes", x);
  double least = 0.0;
  for (std::int64_t layer = 0; layer < bytes.dim(0); ++layer) {
    const auto row = bytes.row(layer);
    least += static_cast<double>(*std::min_element(row.begin(), row.end()));
  }
  KIT_CHECK(least <= static_cast<double>(budget_bytes), "{:.0f} bytes at least, in a budget of {}", least,
            budget_bytes);
  return Search(loss, bytes, budget_bytes).best();
}

}  // namespace lab04
