#pragma once

#include <cstdint>

/// Lab 05, task 5: how many bytes attention moves between global memory and the chip. Exact, so that a kernel
/// can be held against it.
/// Source: Dao et al. 2022, "FlashAttention", section 3.2, Theorem 2: standard attention Theta(N d + N^2),
/// flash attention Theta(N^2 d^2 / M) accesses. The loops are FlashAttention-2's (Dao 2023, Algorithm 1):
/// query tiles outside, key tiles inside, so that an output is written once.
///
/// Keys and values are counted for every query head, although heads of a group share them: each query head is
/// computed by itself. No cache helps: every load is counted.
namespace lab05 {

struct AttentionShape {
  int q_len = 0;
  int kv_len = 0;
  int n_heads = 1;
  int n_kv_heads = 1;
  int head_dim = 0;
  bool causal = false;    ///< aligned bottom-right: query i sees keys j <= i + kv_len - q_len
  int element_bytes = 2;  ///< of q, k, v, and of the scores and probabilities of standard attention
  int out_bytes = 4;      ///< of out. Log-sum-exps are floats, 4 bytes
};

/// Rows of a query tile (Br) and of a key tile (Bc). The last tile of a sequence may have fewer rows.
struct TileSizes {
  int br = 0;
  int bc = 0;
};

// All functions throw kit::Error, which names the value, when a count, a size or br or bc is less than 1 or
// n_heads is no multiple of n_kv_heads, and when a result does not fit 64 bits.

/// 2 * head_dim FLOPs for a score and as many for its share of the output, of every pair of a query and a key
/// that it sees, for all heads; softmax is not counted. Causal: visible pairs alone.
std::int64_t attention_flops(const AttentionShape& shape);

/// q, k, v read, and out and log-sum-exps written, once: what no implementation can avoid. Here k and v
/// count once for each of the n_kv_heads.
std::int64_t compulsory_bytes(const AttentionShape& shape);

/// Standard attention, three kernels a head that each read their inputs and write their output once:
///   1. S = Q K^T:      reads Q [q_len, head_dim] and K [kv_len, head_dim], writes S [q_len, kv_len];
///   2. P = softmax(S): reads S, writes P [q_len, kv_len];
///   3. O = P V:        reads P and V [kv_len, head_dim], writes O [q_len, head_dim].
/// A causal mask saves nothing here: all of S and P is moved. It writes no log-sum-exps.
std::int64_t standard_attention_bytes(const AttentionShape& shape);

/// Pairs of a query tile and a key tile that flash attention works on, for one head. Causal: a query tile
/// leaves out the key tiles of which none of its rows sees any key. With q_len = kv_len, br = bc and T tiles:
/// T (T + 1) / 2 of T^2.
std::int64_t flash_tile_pairs(const AttentionShape& shape, const TileSizes& tiles);

/// Flash attention. Every query tile of every head reads its rows of Q, and the rows of K and V of each key
/// tile it works on (whole tiles: a diagonal tile's masked rows, too), and writes its rows of O and their
/// log-sum-exps.
std::int64_t flash_attention_bytes(const AttentionShape& shape, const TileSizes& tiles);

/// On-chip bytes that these tiles need, shared memory and registers together: Q [br, head_dim], K and V
/// [bc, head_dim] in elements; the output's sums [br, head_dim] and scores [br, bc] in floats.
std::int64_t tile_bytes(const TileSizes& tiles, int head_dim, int element_bytes);

/// br is the largest multiple of 16, and bc = min(br, head_dim), whose tile_bytes are at most on_chip_bytes.
/// This is the paper's rule (Bc = ceil(M / 4d), Br = min(Bc, d) for M numbers) with two changes. Rows are
/// exchanged, as the loops are: here Br says how often keys are read. And scores have room: the paper's four
/// tiles of Bc rows fill M by themselves.
/// Throws kit::Error also when not even 16 rows fit, and when on_chip_bytes exceeds 2^30.
TileSizes tile_sizes(std::int64_t on_chip_bytes, int head_dim, int element_bytes);

/// standard_attention_bytes / flash_attention_bytes.
double traffic_ratio(const AttentionShape& shape, const TileSizes& tiles);

/// FLOPs for each byte that flash attention moves: its place under the roofline.
double flash_intensity(const AttentionShape& shape, const TileSizes& tiles);

}  // namespace lab05
