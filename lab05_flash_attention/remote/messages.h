#pragma once

#include "kit/remote/passing.h"
#include "lab05/flash_forward.h"
#include "lab05/io_model.h"
#include "lab05/online_softmax.h"
#include "lab05/softmax_state.h"

/// Lab 05's structures as messages.
namespace lab05 {

template <class Archive>
void serialize(Archive& archive, SoftmaxStatistics& x) {
  auto& [m, l] = x;
  archive(m, l);
}
template <class Archive>
void serialize(Archive& archive, SoftmaxState& x) {
  auto& [m, l, o] = x;
  archive(m, l, o);
}
template <class Archive>
void serialize(Archive& archive, FlashConfig& x) {
  auto& [br, bc, causal, window] = x;
  archive(br, bc, causal, window);
}
template <class Archive>
void serialize(Archive& archive, AttentionShape& x) {
  auto& [q_len, kv_len, n_heads, n_kv_heads, head_dim, causal, element_bytes, out_bytes] = x;
  archive(q_len, kv_len, n_heads, n_kv_heads, head_dim, causal, element_bytes, out_bytes);
}
template <class Archive>
void serialize(Archive& archive, TileSizes& x) {
  auto& [br, bc] = x;
  archive(br, bc);
}

}  // namespace lab05
