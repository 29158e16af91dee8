#pragma once

#include <optional>
#include <vector>

#include "kit/tensor.h"

namespace kit {

/// Frequency scaling of Llama 3.1 ("rope_type": "llama3"), for checkpoints that were stretched to long
/// contexts.
struct RopeScaling {
  float factor = 1.0F;
  float low_freq_factor = 1.0F;
  float high_freq_factor = 4.0F;
  int original_max_seq_len = 0;
};

/// Rotary position embedding in Hugging Face's rotate-half layout (Su et al. 2021, section 3.4.2).
///
/// Dimension i in [0, head_dim / 2) pairs with i + head_dim / 2, and the pair at position p turns by
/// p * theta^(-2 i / head_dim) radians. Only differences of positions matter to a dot product of two rotated
/// vectors, so a cached key stays right for ever, provided it was rotated by its absolute position.
class Rope {
 public:
  /// Throws kit::Error on an odd or non-positive head_dim, a non-positive theta or max_seq_len.
  Rope(int head_dim, int max_seq_len, float theta, const std::optional<RopeScaling>& scaling = std::nullopt);

  /// Rotates x in place. x: [n, heads, head_dim]; x[t] belongs to position first_pos + t.
  /// Throws kit::Error when head_dim differs or a position lies outside [0, max_seq_len).
  void rotate(TensorView<float> x, int first_pos) const;

  int head_dim() const { return head_dim_; }
  int max_seq_len() const { return max_seq_len_; }
  float theta() const { return theta_; }
  const std::optional<RopeScaling>& scaling() const { return scaling_; }

 private:
  int head_dim_;
  int max_seq_len_;
  float theta_;
  std::optional<RopeScaling> scaling_;
  std::vector<float> cos_;  // [max_seq_len, head_dim / 2]
  std::vector<float> sin_;  // [max_seq_len, head_dim / 2]
};

}  // namespace kit
