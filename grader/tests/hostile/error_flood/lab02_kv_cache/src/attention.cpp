#include "lab02/attention.h"

#pragma GCC diagnostic error "-Wall"
#define E(n) error_##n error_##n error_##n;
#define F(n) E(n##0) E(n##1) E(n##2) E(n##3) E(n##4) E(n##5) E(n##6) E(n##7)
#define G(n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7)
#define H(n) G(n##0) G(n##1) G(n##2) G(n##3) G(n##4) G(n##5) G(n##6) G(n##7)
void flood() {
  H(0) H(1) H(2) H(3)
}
#error "<script>alert('kit-hostile')</script>"

namespace lab02 {

void softmax(std::span<float> /*scores*/) {
  throw kit::NotImplemented("lab02 task 1: softmax");
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
