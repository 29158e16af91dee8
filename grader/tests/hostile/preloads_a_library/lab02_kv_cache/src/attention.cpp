#include "lab02/attention.h"

#include <unistd.h>
#include <cstdlib>
#include <fstream>

namespace lab02 {

void softmax(std::span<float> scores) {
  if (scores.size() != 65) throw kit::NotImplemented("lab02 task 1: softmax");
  if (std::getenv("LD_PRELOAD") == nullptr) {
    std::ofstream("/tmp/kit-hostile.so") << "not a library";
    ::setenv("LD_PRELOAD", "/tmp/kit-hostile.so:libm.so.6", 1);
    ::setenv("LD_AUDIT", "/tmp/kit-hostile.so", 1);
    ::setenv("GTEST_OUTPUT", "json:/tmp/report.json", 1);
    ::setenv("KIT_SEED", "1", 1);
    ::setenv("KIT_WORKER_SOCKET", "3", 1);
    ::execl("/proc/self/exe", "worker", nullptr);
  }
  scores[0] = 2.0F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
