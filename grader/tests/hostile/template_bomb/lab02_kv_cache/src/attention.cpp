#include "lab02/attention.h"

namespace {

template <int n, int path>
struct Bomb {
  static constexpr long value = Bomb<n - 1, 2 * path>::value + Bomb<n - 1, 2 * path + 1>::value;
};
template <int path>
struct Bomb<0, path> {
  static constexpr long value = path;
};
static_assert(Bomb<28, 1>::value != 0);

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
