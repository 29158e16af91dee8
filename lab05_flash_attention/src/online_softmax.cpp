#include "lab05/online_softmax.h"

#include "kit/check.h"

namespace lab05 {

SoftmaxStatistics update_statistics(const SoftmaxStatistics& /*so_far*/, std::span<const float> /*scores*/) {
  throw kit::NotImplemented("lab05 task 1: update_statistics");
}

void online_softmax(std::span<const float> /*scores*/, std::span<float> /*probabilities*/) {
  throw kit::NotImplemented("lab05 task 1: online_softmax");
}

}  // namespace lab05
