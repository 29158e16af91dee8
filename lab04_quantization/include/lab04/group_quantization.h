#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kit/aligned_vector.h"
#include "kit/dtype.h"
#include "kit/tensor.h"

/// Lab 04, task 5: fewer than 8 bits. A scale for each group of neighbours in a row, and codes packed without
/// gaps. Source: the storage of GPTQ (Frantar et al. 2022) and of AWQ (Lin et al. 2023): binary16 scales.
namespace lab04 {

/// The grid of a group: which numbers it can hold.
struct GroupConfig {
  int bits = 4;          ///< 2 to 8
  int group_size = 128;  ///< neighbours in a row that share a scale; the last group of a row may be shorter.
                         ///< 0: the whole row (per output channel)
  bool symmetric = true;
};

/// A weight [rows, cols] in groups; n_groups = cols / group_size, rounded up.
///
/// Symmetric: codes are two's complement, -m .. m with m = 2^(bits-1) - 1; value = scale * code.
/// Asymmetric: codes are unsigned, 0 .. 2^bits - 1; value = scale * (code - zero_point).
/// Rows are packed by pack_bits, one after the other, each from a byte of its own: row_bytes() bytes.
struct GroupQuantized {
  GroupConfig config;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  kit::AlignedVector<std::uint8_t> codes;  // [rows, row_bytes()]; aligned, since products stream through it
  std::vector<kit::Half> scales;           // [rows, n_groups]
  std::vector<std::uint8_t> zero_points;   // [rows, n_groups]; empty when symmetric

  std::int64_t row_bytes() const { return (cols * config.bits + 7) / 8; }
  std::int64_t n_groups() const {
    return config.group_size == 0 ? 1 : (cols + config.group_size - 1) / config.group_size;
  }
};

/// A little-endian stream of bits: code i is bits i * bits .. (i + 1) * bits - 1, bit b is bit b % 8 of byte
/// b / 8, counted from the lowest. So of two 4-bit codes the first is the low half of the byte. Unused bits
/// of the last byte are 0. Throws kit::Error, naming it, on a code that needs more bits, and on bits not 1
/// to 8.
std::vector<std::uint8_t> pack_bits(std::span<const std::uint8_t> codes, int bits);

/// The inverse: codes.size() of them. Throws kit::Error when `packed` is not exactly as long as they need.
void unpack_bits(std::span<const std::uint8_t> packed, int bits, std::span<std::uint8_t> codes);

/// Round to nearest ("RTN"), each group on its own; w: [rows, cols].
/// Symmetric: scale = max|w| / m. Asymmetric: low = min(0, min w), high = max(0, max w), scale =
/// (high - low) / (2^bits - 1), zero_point = clamp(round(-low / scale)). The scale is rounded to binary16
/// FIRST, and that one is used for everything else: code = clamp(round(w / scale) [+ zero_point]); ties to
/// even; in float. A scale that rounds to zero is 1 instead, with zero_point 0.
/// Throws kit::Error on bits or group_size that cannot be, a NaN or an infinity (naming row and column), or a
/// scale beyond 65504.
GroupQuantized quantize_groups(kit::TensorView<const float> w, const GroupConfig& config);

/// w: [rows, cols]. Throws kit::Error when the parts of q do not fit each other, or w.
void dequantize_groups(const GroupQuantized& q, kit::TensorView<float> w);

}  // namespace lab04
