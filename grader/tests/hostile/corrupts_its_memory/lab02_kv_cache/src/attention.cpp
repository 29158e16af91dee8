#include "lab02/attention.h"

#include <cstdlib>

namespace lab02 {

void softmax(std::span<float> scores) {
  for (std::size_t i = 0; i < 100000; ++i) scores.data()[i] = 0.5F;
  std::free(scores.data());
  scores.data()[-4000000] = 0.5F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
