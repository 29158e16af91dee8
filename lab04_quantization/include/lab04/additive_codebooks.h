#pragma once

#include <cstdint>
#include <vector>

#include "kit/rng.h"
#include "kit/tensor.h"

/// Lab 04, task 13 (stretch), second half: weights as sums of learned vectors.
/// Source: Egiazarian et al. 2024, "Extreme Compression of Large Language Models via Additive Quantization"
/// (AQLM), section 3.
namespace lab04 {

struct AdditiveConfig {
  int n_codebooks = 2;
  int codebook_bits = 8;  ///< 1 to 8: a codebook has 2^codebook_bits vectors
  int vector_dim = 8;     ///< neighbours in a row that share a code of each codebook
  int n_rounds = 10;      ///< of: codes for given codebooks, codebooks for given codes
};

/// w(o, g * vector_dim + d) = sum over m of codebooks[m, codes[o, g, m], d].
struct AdditiveQuantized {
  AdditiveConfig config;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<float> codebooks;  // [n_codebooks, 2^codebook_bits, vector_dim]; stored as binary16 it counts
  std::vector<std::uint8_t> codes;  // [rows, cols / vector_dim, n_codebooks]
};

/// Fits codes and codebooks to make the layer's output error small: trace((W - Q) H (W - Q)^T). A start by
/// k-means, each codebook on what those before it leave over; then n_rounds of alternation. All chance comes
/// from rng.
/// w: [rows, cols], hessian: [cols, cols] (task 7's; the kit gives it damped). Throws kit::Error on shapes
/// and numbers that cannot be, a NaN or an infinity, or when vector_dim does not divide cols.
AdditiveQuantized quantize_additive(kit::TensorView<const float> w, kit::TensorView<const double> hessian,
                                    const AdditiveConfig& config, kit::Rng& rng);

/// Throws kit::Error on parts that do not fit each other, or w.
void dequantize_additive(const AdditiveQuantized& q, kit::TensorView<float> w);

}  // namespace lab04
