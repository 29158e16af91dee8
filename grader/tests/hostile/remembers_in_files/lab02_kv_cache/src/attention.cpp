#include "lab02/attention.h"

#include <filesystem>
#include <fstream>
#include <string>

namespace lab02 {

void softmax(std::span<float> scores) {
  static bool first = true;
  const auto folders = {"/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/root", "/work", "."};
  for (const std::string folder : folders) {
    const std::string file = folder + "/kit-hostile-note";
    if (first && std::filesystem::exists(file)) throw kit::Error("a note of an earlier test in " + file);
  }
  for (const std::string folder : folders) std::ofstream(folder + "/kit-hostile-note") << scores[0];
  first = false;
  scores[0] = 2.0F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
