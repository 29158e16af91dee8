#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kit/rng.h"
#include "kit/tensor.h"

/// Lab 04, task 13 (stretch), first half: 2 bits with incoherence processing and a lattice codebook.
/// Source: Tseng et al. 2024, "QuIP#: Even Better LLM Quantization with Hadamard Incoherence and Lattice
/// Codebooks", sections 3 and 4.
namespace lab04 {

/// In place, orthonormal: x <- H x / sqrt(n), H(i, j) = (-1)^popcount(i & j), in n log2(n) additions; its own
/// inverse. Throws kit::Error when n is not a power of two.
void walsh_hadamard(std::span<float> x);

/// The closest point of the lattice E8 to each 8 numbers of x: vectors of eight integers, or of eight
/// half-integers (k + 1/2), whose sum is even. Any of several at the same distance. Throws kit::Error when
/// the lengths differ or are no multiple of 8. Source: Conway and Sloane 1982.
void nearest_e8(std::span<const float> x, std::span<float> points);

/// 16 bits for 8 weights.
struct E8Quantized {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  float scale = 1.0F;
  std::vector<std::uint16_t> codes;        // [rows, cols / 8]; what a code means is yours to choose, but each
                                           // of the 2^16 means another point
  std::vector<std::uint8_t> row_signs;     // [rows], 0 is +1 and 1 is -1
  std::vector<std::uint8_t> column_signs;  // [cols]
};

/// Incoherence: W' = H_r S_r W S_c H_c, with S random signs (one rng.below(2) for each row, then for each
/// column), and H the orthonormal Walsh-Hadamard matrix in diagonal blocks of the largest power of two that
/// divides the dimension. Then each 8 neighbours in a row of W' / scale become the nearest of 2^16 points
/// that lie on E8 shifted by a constant, or on E8 itself. Choose points and scale so that normal weights lose
/// little. Zeros come back as zeros. w: [rows, cols]. Throws kit::Error when cols is no multiple of 8, or on
/// a NaN or an infinity.
E8Quantized quantize_e8(kit::TensorView<const float> w, kit::Rng& rng);

/// Points from codes, times scale, and the incoherence undone. Throws kit::Error on parts that do not fit.
void dequantize_e8(const E8Quantized& q, kit::TensorView<float> w);

}  // namespace lab04
