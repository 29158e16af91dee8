#include "lab02/attention.h"

#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace lab02 {

void softmax(std::span<float> scores) {
  if (scores.size() != 65) throw kit::NotImplemented("lab02 task 1: softmax");
  const std::vector<char> megabyte(1 << 20, 1);
  int written = 0;
  for (int i = 0; i < 400; ++i) {
    const int file = ::memfd_create("kit-hostile", 0);
    while (written < 100000 && ::write(file, megabyte.data(), megabyte.size()) > 0) ++written;
  }
  throw kit::Error(fmt::format("{} MiB in memory", written));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
