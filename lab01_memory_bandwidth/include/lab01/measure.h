#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kit/probe.h"
#include "kit/tensor.h"

/// Lab 01, task 6: where products of matrices lie on this machine's own roofline.
namespace lab01 {

/// y = x W^T. x: [n, in], w: [out, in], y: [n, out]. kit::linear is one.
using Linear = std::function<void(kit::TensorView<const float> x, kit::TensorView<const float> w,
                                  kit::TensorView<float> y)>;

/// Seconds since some fixed moment. Tests bring a clock of their own; for real use it is
/// std::chrono::steady_clock.
using Clock = std::function<double()>;

/// One batch size, measured.
struct RooflinePoint {
  std::int64_t batch = 0;
  std::int64_t flops = 0;         ///< of one product: 2 batch in out
  std::int64_t bytes = 0;         ///< W, x and y once, in float32
  double intensity = 0.0;         ///< FLOP/byte
  double seconds = 0.0;           ///< of the fastest repetition
  double gflop_per_s = 0.0;       ///< reached, 1 GFLOP = 1e9 FLOPs
  double roof_gflop_per_s = 0.0;  ///< attainable on `machine` at this intensity
};

/// Times `linear` for each batch: batch 1 is a matrix-vector product (GEMV), as in decoding one sequence,
/// larger ones are matrix-matrix products (GEMM).
///
/// One W for all batches, [out, in], and x and y of each batch's size; all elements of W and x are written
/// before anything is timed, with numbers that are finite. For each batch, in the order given: one call that
/// is not timed (it brings pages, threads and clock speed up), then n_repeats calls, each timed on its own
/// with now_s. The fastest counts: whatever disturbs a measurement makes it slower, never faster.
///
/// machine: read_gb_per_s (1 GB = 1e9 bytes) and peak_gflop_per_s are the roof.
/// Throws kit::Error that names the parameter and its value when in, out, n_repeats, a batch, or a ceiling is
/// not positive, or the clock says that a call took no time.
std::vector<RooflinePoint> measure_linear(std::int64_t in, std::int64_t out,
                                          std::span<const std::int64_t> batches, int n_repeats,
                                          const kit::MachineCeilings& machine, const Linear& linear,
                                          const Clock& now_s);

}  // namespace lab01
