// Lab 02's contract, callable from another process: one line a function (kit/remote/contract.h).
#include "kit/remote/contract.h"

#include "lab02/attention.h"
#include "lab02/attention_with_cache.h"
#include "lab02/generate.h"
#include "lab02/kv_cache.h"

using Floats = kit::TensorView<const float>;
using Output = kit::TensorView<float>;

// clang-format off
KIT_REMOTE(lab02, softmax, void, (std::span<float> scores), scores)
KIT_REMOTE(lab02, attention, void, (Floats q, Floats k, Floats v, Output out), q, k, v, out)
KIT_REMOTE(lab02, make_kv_cache, std::unique_ptr<kit::KvCache>, (const kit::KvCacheConfig& config), config)
KIT_REMOTE(lab02, attention_with_cache, void, (int layer, Floats q, Floats k, Floats v, const kit::Rope& rope, kit::KvCache& cache, Output out), layer, q, k, v, rope, cache, out)
KIT_REMOTE(lab02, generate_without_cache, std::vector<int>, (kit::Model& model, std::span<const int> prompt, const kit::SamplingConfig& config, kit::Rng& rng, const kit::OnToken& on_token), model, prompt, config, rng, on_token)
KIT_REMOTE(lab02, generate_with_cache, std::vector<int>, (kit::Model& model, std::span<const int> prompt, const kit::SamplingConfig& config, kit::Rng& rng, const kit::OnToken& on_token), model, prompt, config, rng, on_token)
