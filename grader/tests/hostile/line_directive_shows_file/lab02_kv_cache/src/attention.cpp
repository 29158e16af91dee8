#include "lab02/attention.h"

namespace lab02 {

void softmax(std::span<float> /*scores*/) {
  throw kit::NotImplemented("lab02 task 1: softmax");
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02

#line 1 "@SECRET_FILE@"
int first = no_such_name;
#line 60 "@ROOT@/solutions/lab02_kv_cache/attention.cpp"
int second = no_such_name;
