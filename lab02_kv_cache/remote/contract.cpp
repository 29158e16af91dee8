// Lab 02's contract, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "kit/remote/serving.h"
#include "lab02/attention.h"
#include "lab02/attention_with_cache.h"
#include "lab02/block_allocator.h"
#include "lab02/cuda_kernels.h"
#include "lab02/generate.h"
#include "lab02/kv_cache.h"
#include "lab02/kv_memory.h"
#include "lab02/paged_attention.h"
#include "lab02/paged_kv_cache.h"
#include "lab02/prefix_cache.h"
#include "messages.h"

using Floats = kit::TensorView<const float>;
using Output = kit::TensorView<float>;
using Ints = kit::TensorView<const std::int32_t>;
using Longs = kit::TensorView<const std::int64_t>;
using Allocator = std::shared_ptr<kit::BlockAllocator>;
using Lengths = std::span<const std::int64_t>;
using std::int64_t;  // NOLINT(misc-unused-using-decls): used in a macro's arguments

// clang-format off
KIT_REMOTE(lab02, softmax, void, (std::span<float> scores), scores)
KIT_REMOTE(lab02, attention, void, (Floats q, Floats k, Floats v, Output out), q, k, v, out)
KIT_REMOTE(lab02, make_kv_cache, std::unique_ptr<kit::KvCache>, (const kit::KvCacheConfig& config), config)
KIT_REMOTE(lab02, attention_with_cache, void, (int layer, Floats q, Floats k, Floats v, const kit::Rope& rope, kit::KvCache& cache, Output out), layer, q, k, v, rope, cache, out)
KIT_REMOTE(lab02, generate_without_cache, std::vector<int>, (kit::Model& model, std::span<const int> prompt, const kit::SamplingConfig& config, kit::Rng& rng, const kit::OnToken& on_token), model, prompt, config, rng, on_token)
KIT_REMOTE(lab02, generate_with_cache, std::vector<int>, (kit::Model& model, std::span<const int> prompt, const kit::SamplingConfig& config, kit::Rng& rng, const kit::OnToken& on_token), model, prompt, config, rng, on_token)
KIT_REMOTE(lab02, make_block_allocator, std::unique_ptr<kit::BlockAllocator>, (int n_blocks), n_blocks)
KIT_REMOTE(lab02, make_paged_kv_cache, std::unique_ptr<kit::PagedKvCache>, (int block_size, Allocator allocator), block_size, allocator)
KIT_REMOTE(lab02, reshape_and_cache, void, (Floats k, Floats v, Longs slot_mapping, Output k_blocks, Output v_blocks), k, v, slot_mapping, k_blocks, v_blocks)
KIT_REMOTE(lab02, copy_blocks, void, (Ints pairs, Output k_blocks, Output v_blocks), pairs, k_blocks, v_blocks)
KIT_REMOTE(lab02, hash_block, std::uint64_t, (std::uint64_t parent, std::span<const int> tokens), parent, tokens)
KIT_REMOTE(lab02, make_prefix_cache, std::unique_ptr<kit::PrefixCache>, (const lab02::PrefixCacheConfig& config, Allocator allocator), config, allocator)
KIT_REMOTE(lab02, paged_attention, void, (Floats q, Floats k_blocks, Floats v_blocks, std::span<const int> block_table, int context_len, Output out), q, k_blocks, v_blocks, block_table, context_len, out)
KIT_REMOTE(lab02, paged_decode_attention, void, (Floats q, Floats k_blocks, Floats v_blocks, Ints block_tables, Ints context_lens, Output out), q, k_blocks, v_blocks, block_tables, context_lens, out)
KIT_REMOTE(lab02, decode_attention_cuda, void, (Floats q, Floats k, Floats v, Ints context_lens, Output out), q, k, v, context_lens, out)
KIT_REMOTE(lab02, paged_decode_attention_cuda, void, (Floats q, Floats k_blocks, Floats v_blocks, Ints block_tables, Ints context_lens, Output out), q, k_blocks, v_blocks, block_tables, context_lens, out)
KIT_REMOTE(lab02, reshape_and_cache_cuda, void, (Floats k, Floats v, Longs slot_mapping, Output k_blocks, Output v_blocks), k, v, slot_mapping, k_blocks, v_blocks)
KIT_REMOTE(lab02, copy_blocks_cuda, void, (Ints pairs, Output k_blocks, Output v_blocks), pairs, k_blocks, v_blocks)
KIT_REMOTE(lab02, kv_bytes_per_token, int64_t, (const kit::ModelConfig& model, lab02::HeadSharing sharing, kit::NumberFormat format), model, sharing, format)
KIT_REMOTE(lab02, max_sequences_contiguous, int64_t, (int64_t bytes_per_token, int64_t max_len, int64_t budget_bytes), bytes_per_token, max_len, budget_bytes)
KIT_REMOTE(lab02, blocks_in_budget, int64_t, (int64_t bytes_per_token, int64_t block_size, int64_t budget_bytes), bytes_per_token, block_size, budget_bytes)
KIT_REMOTE(lab02, max_sequences_paged, int64_t, (Lengths context_lens, int64_t block_size, int64_t n_blocks), context_lens, block_size, n_blocks)
KIT_REMOTE(lab02, max_sequences_shared, int64_t, (Lengths context_lens, int64_t shared_len, int64_t block_size, int64_t n_blocks), context_lens, shared_len, block_size, n_blocks)
