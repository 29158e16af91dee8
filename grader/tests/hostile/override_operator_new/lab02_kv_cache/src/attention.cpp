#include "lab02/attention.h"

#include <cstdlib>
#include <new>

namespace {
alignas(64) char memory[std::size_t{1} << 20];
}  // namespace

void* operator new(std::size_t n_bytes) {
  if (n_bytes > sizeof(memory)) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t n_bytes, std::align_val_t /*alignment*/) {
  return operator new(n_bytes);
}
void operator delete(void* /*pointer*/) noexcept {}
void operator delete(void* /*pointer*/, std::size_t /*n_bytes*/) noexcept {}
void operator delete(void* /*pointer*/, std::align_val_t /*alignment*/) noexcept {}

namespace lab02 {

void softmax(std::span<float> scores) {
  scores[0] = 2.0F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
