#include "lab06/tree.h"

#include "kit/check.h"

namespace lab06 {

std::vector<int> tree_depths(std::span<const int> /*parents*/) {
  throw kit::NotImplemented("lab06 task 10: tree_depths");
}

void tree_attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
                    kit::TensorView<const float> /*v*/, std::span<const int> /*parents*/,
                    kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab06 task 10: tree_attention");
}

void tree_attention_with_cache(int /*layer*/, kit::TensorView<const float> /*q*/,
                               kit::TensorView<const float> /*k*/, kit::TensorView<const float> /*v*/,
                               std::span<const int> /*parents*/, const kit::Rope& /*rope*/,
                               kit::KvCache& /*cache*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab06 task 10: tree_attention_with_cache");
}

AcceptedPath accept_tree(kit::TensorView<const double> /*p*/, kit::TensorView<const double> /*q*/,
                         std::span<const int> /*tokens*/, std::span<const int> /*parents*/,
                         std::span<const double> /*uniforms*/) {
  throw kit::NotImplemented("lab06 task 10: accept_tree");
}

void keep_path(kit::KvCache& /*cache*/, int /*first_pos*/, std::span<const int> /*nodes*/) {
  throw kit::NotImplemented("lab06 task 10: keep_path");
}

}  // namespace lab06
