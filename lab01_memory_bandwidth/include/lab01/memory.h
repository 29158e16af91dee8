#pragma once

#include <cstdint>

#include "kit/model.h"
#include "kit/number_format.h"

/// Lab 01, task 1: how many bytes a model needs.
///
/// All counts are exact, in bytes. Every function throws kit::Error that names the parameter and its value
/// when a count is zero or negative, and when a product does not fit 64 bits (kit/checked.h helps).
namespace lab01 {

/// How a model's weights are stored, all of them in the same way.
struct WeightFormat {
  kit::NumberFormat number = kit::NumberFormat::kFp16;
  /// Weights that share a scale; 0: no scales. Groups are for int8 and int4 alone.
  std::int64_t group_size = 0;
  /// Every group also has a zero point, as wide as a weight. Only with groups.
  bool zero_points = false;

  bool operator==(const WeightFormat&) const = default;
};

/// What is stored in which format.
struct Formats {
  WeightFormat weights;
  kit::NumberFormat kv = kit::NumberFormat::kFp16;
  /// Also what products are computed in: weights and keys that are narrower are widened first, so they save
  /// bytes and no arithmetic.
  kit::NumberFormat activations = kit::NumberFormat::kFp16;
};

/// Bytes of `n_params` weights.
///
/// Layout: the weights one after the other, without padding between them, an odd last int4 takes a whole
/// byte. With group_size g > 0, consecutive weights form groups of g; a last group that is not full counts as
/// one. Each group has an fp16 scale. Zero points, where there are any, are packed like the weights, in an
/// array of their own. (Frantar et al. 2022 and Lin et al. 2023 store their group-wise INT4 weights like
/// this.)
///
/// Throws also when groups are asked for a format that is not an integer, when group_size is negative, or
/// zero points are asked without groups.
std::int64_t weight_bytes(std::int64_t n_params, const WeightFormat& format);

/// Bytes of the keys and values of `kv_len` tokens for each of `batch` sequences, in all layers. MHA, GQA and
/// MQA differ in model.n_kv_heads alone. int4 takes half a byte a value; scales of quantized caches are not
/// counted.
std::int64_t kv_cache_bytes(const kit::ModelConfig& model, std::int64_t batch, std::int64_t kv_len,
                            kit::NumberFormat format);

/// Bytes of the activations that are alive at once while `q_len` new tokens of each of `batch` sequences pass
/// through the model. Inference keeps nothing for a backward pass, so every layer uses the same buffers, and
/// what counts is the largest of three moments. With n = batch * q_len, in elements:
///
///   attention   n * (2 dim + 2 n_heads * head_dim + 2 n_kv_heads * head_dim)   residual stream, its
///   normalised
///                                                                           copy, q, attention's output, k,
///                                                                           v
///   MLP         n * (2 dim + 2 hidden_dim)             residual stream, its normalised copy, gate, up
///   head        n * dim + batch * vocab_size           residual stream, logits of each sequence's last
///   position
///
/// Attention keeps no matrix of scores (Dao et al. 2022). Throws also for a `format` of less than 8 bits.
std::int64_t activation_bytes(const kit::ModelConfig& model, std::int64_t batch, std::int64_t q_len,
                              kit::NumberFormat format);

}  // namespace lab01
