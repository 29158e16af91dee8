#include "lab02/attention.h"

namespace lab02 {

namespace {

// Not a tail call: the address of the local array is given away.
int deeper(volatile char* above, int depth) {
  volatile char here[1024];
  here[0] = above[0];
  return deeper(here, depth + 1) + here[0];
}

}  // namespace

void softmax(std::span<float> scores) {
  volatile char top[1] = {0};
  scores[0] = static_cast<float>(deeper(top, 0));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
