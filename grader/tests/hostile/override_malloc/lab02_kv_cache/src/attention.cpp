#include "lab02/attention.h"

#include <unistd.h>
#include <cstddef>

namespace {
alignas(64) char memory[std::size_t{4} << 20];
std::size_t used = 0;
}  // namespace

extern "C" void* malloc(std::size_t n_bytes) {
  const std::size_t rounded = (n_bytes + 63) / 64 * 64;
  if (rounded > sizeof(memory) - used) return nullptr;
  used += rounded;
  return memory + used - rounded;
}
extern "C" void free(void* /*pointer*/) {}

namespace lab02 {

void softmax(std::span<float> scores) {
  for (int i = 0; i < 1 << 20; ++i) scores[0] += malloc(64) == nullptr ? 1.0F : 0.0F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
