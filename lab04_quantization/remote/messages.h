#pragma once

#include "kit/dtype.h"
#include "kit/remote/passing.h"
#include "lab04/additive_codebooks.h"
#include "lab04/asymmetric.h"
#include "lab04/awq.h"
#include "lab04/error_metrics.h"
#include "lab04/fp8.h"
#include "lab04/gptq.h"
#include "lab04/incoherence.h"
#include "lab04/per_channel.h"

/// Lab 04's structures as messages.
namespace kit {

template <class Archive>
void serialize(Archive& archive, Half& x) {
  archive(x.bits);
}

namespace remote {

template <>
struct LastEnumerator<lab04::ChannelAxis> {
  static constexpr lab04::ChannelAxis kValue = lab04::ChannelAxis::kColumns;
};
template <>
struct LastEnumerator<lab04::Fp8Format> {
  static constexpr lab04::Fp8Format kValue = lab04::Fp8Format::kE5M2;
};

}  // namespace remote
}  // namespace kit

namespace lab04 {

template <class Archive>
void serialize(Archive& archive, AffineParameters& x) {
  auto& [scale, zero_point] = x;
  archive(scale, zero_point);
}
template <class Archive>
void serialize(Archive& archive, ErrorMetrics& x) {
  auto& [mse, noise_power, snr_db, relative_norm, max_abs] = x;
  archive(mse, noise_power, snr_db, relative_norm, max_abs);
}
template <class Archive>
void serialize(Archive& archive, GroupConfig& x) {
  auto& [bits, group_size, symmetric] = x;
  archive(bits, group_size, symmetric);
}
template <class Archive>
void serialize(Archive& archive, GroupQuantized& x) {
  auto& [config, rows, cols, codes, scales, zero_points] = x;
  archive(config, rows, cols, codes, scales, zero_points);
}
template <class Archive>
void serialize(Archive& archive, GptqConfig& x) {
  auto& [grid, damping, act_order, block_size] = x;
  archive(grid, damping, act_order, block_size);
}
template <class Archive>
void serialize(Archive& archive, GptqResult& x) {
  auto& [weights, order] = x;
  archive(weights, order);
}
template <class Archive>
void serialize(Archive& archive, AwqScales& x) {
  auto& [scales, exponent, error, plain_error] = x;
  archive(scales, exponent, error, plain_error);
}
template <class Archive>
void serialize(Archive& archive, E8Quantized& x) {
  auto& [rows, cols, scale, codes, row_signs, column_signs] = x;
  archive(rows, cols, scale, codes, row_signs, column_signs);
}
template <class Archive>
void serialize(Archive& archive, AdditiveConfig& x) {
  auto& [n_codebooks, codebook_bits, vector_dim, n_rounds] = x;
  archive(n_codebooks, codebook_bits, vector_dim, n_rounds);
}
template <class Archive>
void serialize(Archive& archive, AdditiveQuantized& x) {
  auto& [config, rows, cols, codebooks, codes] = x;
  archive(config, rows, cols, codebooks, codes);
}

}  // namespace lab04
