#include "lab02/attention_with_cache.h"

#include "lab02/attention.h"

// Task 3. You may call attention() of task 1.

namespace lab02 {

void attention_with_cache(int layer, kit::TensorView<const float> q, kit::TensorView<const float> k,
                          kit::TensorView<const float> v, const kit::Rope& rope, kit::KvCache& cache,
                          kit::TensorView<float> out) {
  // Which absolute positions do the new tokens have? Rotate copies of q and k, extend the cache, attend to
  // all of it.
  (void)layer, (void)q, (void)k, (void)v, (void)rope, (void)cache, (void)out;
  throw kit::NotImplemented("lab02 task 3: attention_with_cache");
}

}  // namespace lab02
