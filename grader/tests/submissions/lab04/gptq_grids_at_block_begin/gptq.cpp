#include "lab04/gptq.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "kit/parallel.h"

namespace lab04 {

namespace {

using Matrix = kit::Tensor<double>;

void check_finite(const char* name, const auto& values) {
  for (const double x : values) KIT_CHECK(std::isfinite(x), "{} contains {}", name, x);
}

void check_arguments(kit::TensorView<const float> w, kit::TensorView<const double> h,
                     const GptqConfig& config) {
  KIT_CHECK(w.rank() == 2 && w.size() > 0 && h.shape() == kit::Shape({w.dim(1), w.dim(1)}),
            "w {} and H {}: want [out, in] and [in, in]", w.shape().to_string(), h.shape().to_string());
  KIT_CHECK(config.grid.group_size >= 0, "group_size is {}", config.grid.group_size);
  KIT_CHECK(config.damping >= 0.0 && std::isfinite(config.damping), "damping is {}", config.damping);
  KIT_CHECK(config.block_size >= 1, "block_size is {}, must be at least 1", config.block_size);
  check_finite("w", w.span());
  check_finite("H", h.span());
  for (std::int64_t j = 0; j < h.dim(0); ++j) KIT_CHECK(h(j, j) >= 0.0, "H({}, {}) is {}", j, j, h(j, j));
}

/// Columns [begin, end) of row i.
template <class M>
auto part(M& matrix, std::int64_t i, std::int64_t begin, std::int64_t end) {
  return matrix.row(i).subspan(begin, end - begin);
}

double dot(const auto& a, const auto& b) {
  return std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0);
}

/// to += factor * from
void add_scaled(std::span<double> to, double factor, const auto& from) {
#pragma omp simd
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += factor * from[i];
}

/// The layer in the order of processing: steps 1 to 3 of the contract.
struct Layer {
  Matrix w;                         // [rows, cols]
  Matrix h;                         // [cols, cols]
  std::vector<std::int32_t> order;  // [cols]
};

Layer prepare(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
              const GptqConfig& config) {
  const std::int64_t cols = w.dim(1);
  std::vector<double> diagonal;
  for (std::int64_t j = 0; j < cols; ++j) diagonal.push_back(hessian(j, j) == 0.0 ? 1.0 : hessian(j, j));
  const double mean = std::reduce(diagonal.begin(), diagonal.end()) / static_cast<double>(cols);
  Layer layer{Matrix(w.shape()), Matrix(hessian.shape()), std::vector<std::int32_t>(diagonal.size())};
  std::iota(layer.order.begin(), layer.order.end(), 0);
  const auto diagonal_of = [&](std::int32_t j) { return diagonal[j]; };
  if (config.act_order) std::ranges::stable_sort(layer.order, std::greater(), diagonal_of);
  for (std::int64_t j = 0; j < cols; ++j) {
    const std::int32_t from = layer.order[j];
    const bool dead = hessian(from, from) == 0.0;
    for (std::int64_t i = 0; i < w.dim(0); ++i) layer.w(i, j) = dead ? 0.0 : w(i, from);
    for (std::int64_t k = 0; k < cols; ++k) layer.h(j, k) = hessian(from, layer.order[k]);
    layer.h(j, j) = diagonal_of(from) + config.damping * mean;
  }
  return layer;
}

/// In place: R, upper triangular, with H = R R^T. Cholesky from the last column to the first.
void factorize(Layer& layer) {
  Matrix& h = layer.h;
  const std::int64_t n = h.dim(0);
  for (std::int64_t j = n - 1; j >= 0; --j) {
    const auto behind_j = part(h, j, j + 1, n);
    const double pivot = h(j, j) - dot(behind_j, behind_j);
    KIT_CHECK(pivot > 0.0, "H is not positive definite: a pivot of {} at column {}; more damping may help",
              pivot, layer.order[j]);
    h(j, j) = std::sqrt(pivot);
    for (std::int64_t i = 0; i < j; ++i) h(i, j) = (h(i, j) - dot(part(h, i, j + 1, n), behind_j)) / h(j, j);
  }
}

/// U, upper triangular, with H^-1 = U^T U. H = R R^T makes H^-1 = R^-T R^-1, so U is R^-1, and nobody has to
/// invert H. Row i of R U = 1 says R(i, i) U(i) = 1(i) - sum over k > i of R(i, k) U(k).
Matrix factor_of_inverse(Layer& layer) {
  factorize(layer);
  const Matrix& r = layer.h;
  const std::int64_t n = r.dim(0);
  Matrix u({n, n});
  for (std::int64_t i = n - 1; i >= 0; --i) {
    u(i, i) = 1.0;
    for (std::int64_t k = i + 1; k < n; ++k) add_scaled(part(u, i, k, n), -r(i, k), part(u, k, k, n));
    for (double& x : part(u, i, i, n)) x /= r(i, i);
  }
  return u;
}

/// A block ends early where a group begins that it cannot hold whole: when that group's grid is chosen, all
/// its columns must have their share of the errors so far.
std::int64_t end_of_block(std::int64_t begin, std::int64_t cols, const GptqConfig& config) {
  const std::int64_t end = std::min(begin + config.block_size, cols);
  if (config.grid.group_size == 0 || end == cols) return end;
  return end;
}

std::int64_t group_index(const GroupQuantized& q, std::int64_t i, std::int64_t j) {
  return i * q.n_groups() + (q.config.group_size == 0 ? 0 : j / q.config.group_size);
}

/// The grid of row i for the group that begins at column j, from its weights as they are now.
void choose_grid(Layer& layer, std::int64_t i, std::int64_t j, GroupQuantized& result) {
  const auto [bits, group_size, symmetric] = result.config;
  const std::int64_t end = group_size == 0 ? result.cols : std::min(j + group_size, result.cols);
  const std::span<const double> now = part(layer.w, i, j, end);
  const std::vector<float> group(now.begin(), now.end());
  const GroupQuantized grid = quantize_groups({group, {1, end - j}}, {bits, 0, symmetric});
  const std::int64_t g = group_index(result, i, j);
  result.scales[g] = grid.scales[0];
  if (!symmetric) result.zero_points[g] = grid.zero_points[0];
}

/// Step 5 for columns [begin, end) of row i.
void quantize_block(Layer& layer, const Matrix& u, std::int64_t i, std::int64_t begin, std::int64_t end,
                    GroupQuantized& result, std::span<std::uint8_t> codes) {
  const auto [bits, group_size, symmetric] = result.config;
  const float highest = static_cast<float>((1 << (symmetric ? bits - 1 : bits)) - 1);
  const float lowest = symmetric ? -highest : 0.0F;
  std::vector<double> errors;
  for (std::int64_t j = begin; j < end; ++j) {
    if (group_size == 0 ? j == 0 : j % group_size == 0) choose_grid(layer, i, j, result);
  }
  for (std::int64_t j = begin; j < end; ++j) {
    const std::int64_t g = group_index(result, i, j);
    const float scale = kit::to_float(result.scales[g]);
    const float zero_point = symmetric ? 0.0F : static_cast<float>(result.zero_points[g]);
    const double w = layer.w(i, j);
    const float code =
        std::clamp(std::nearbyint(static_cast<float>(w) / scale) + zero_point, lowest, highest);
    codes[j] = static_cast<std::uint8_t>(static_cast<int>(code) & ((1 << bits) - 1));
    errors.push_back((w - scale * (code - zero_point)) / u(j, j));
    add_scaled(part(layer.w, i, j + 1, end), -errors.back(), part(u, j, j + 1, end));
  }
  for (std::int64_t j = begin; j < end; ++j) {  // the columns behind the block, once for all
    add_scaled(part(layer.w, i, end, result.cols), -errors[j - begin], part(u, j, end, result.cols));
  }
}

}  // namespace

void accumulate_hessian(kit::TensorView<const float> x, kit::TensorView<double> h) {
  KIT_CHECK(x.rank() == 2 && h.shape() == kit::Shape({x.dim(1), x.dim(1)}),
            "x {} and H {}: want [n, in] and [in, in]", x.shape().to_string(), h.shape().to_string());
  check_finite("x", x.span());
  constexpr std::int64_t kTokens = 64;  // that stay in the cache while the rows of H come by
  kit::parallel_for(h.dim(0), 8, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t begin = 0; begin < x.dim(0); begin += kTokens) {
      for (std::int64_t i = first; i < last; ++i) {
        for (std::int64_t t = begin; t < std::min(begin + kTokens, x.dim(0)); ++t) {
          add_scaled(h.row(i), 2.0 * x(t, i), x.row(t));
        }
      }
    }
  });
}

GptqResult gptq(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
                const GptqConfig& config) {
  check_arguments(w, hessian, config);
  Layer layer = prepare(w, hessian, config);
  const Matrix u = factor_of_inverse(layer);
  GroupQuantized result{config.grid, w.dim(0), w.dim(1), {}, {}, {}};
  result.scales.resize(result.rows * result.n_groups());
  if (!config.grid.symmetric) result.zero_points.resize(result.scales.size());
  kit::Tensor<std::uint8_t> codes(w.shape());
  for (std::int64_t begin = 0, end = 0; begin < result.cols; begin = end) {
    end = end_of_block(begin, result.cols, config);
    // Rows do not know of each other, but all need the same rows of U: while those are in the cache.
    kit::parallel_for(result.rows, 8, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        quantize_block(layer, u, i, begin, end, result, codes.row(i));
      }
    });
  }
  for (std::int64_t i = 0; i < result.rows; ++i) {
    const std::vector<std::uint8_t> packed = pack_bits(codes.row(i), config.grid.bits);
    result.codes.insert(result.codes.end(), packed.begin(), packed.end());
  }
  if (!config.act_order) layer.order.clear();
  return {.weights = std::move(result), .order = std::move(layer.order)};
}

}  // namespace lab04
