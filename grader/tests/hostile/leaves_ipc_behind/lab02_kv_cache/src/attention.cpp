#include "lab02/attention.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

namespace lab02 {

void softmax(std::span<float> scores) {
  for (int i = 0; i < 8; ++i) {
    const int memory = ::shmget(0x4b495400 + i, 64 << 20, IPC_CREAT | 0666);
    if (memory >= 0) ::shmat(memory, nullptr, 0);
    ::msgget(0x4b495400 + i, IPC_CREAT | 0666);
    ::semget(0x4b495400 + i, 4, IPC_CREAT | 0666);
    ::mq_open(fmt::format("/kit-hostile-{}", i).c_str(), O_CREAT | O_RDWR, 0666, nullptr);
    ::shm_open(fmt::format("/kit-hostile-{}", i).c_str(), O_CREAT | O_RDWR, 0666);
  }
  scores[0] = 2.0F;
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
