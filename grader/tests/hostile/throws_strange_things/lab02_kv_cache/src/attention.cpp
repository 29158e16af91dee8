#include "lab02/attention.h"

#include <unistd.h>
#include <csignal>
#include <exception>

namespace lab02 {

namespace {

struct NoText : std::exception {
  const char* what() const noexcept override { return nullptr; }
};
struct BadText : std::exception {
  const char* what() const noexcept override { return reinterpret_cast<const char*>(1); }
};
struct DeadlyText : std::exception {
  const char* what() const noexcept override { ::_exit(0); }
};
struct DeadlyCopy : kit::Error {
  DeadlyCopy() : kit::Error("deadly") {}
  ~DeadlyCopy() override { ::_exit(0); }
};

}  // namespace

void softmax(std::span<float> scores) {
  if (scores.size() == 65) throw NoText();
  if (scores.size() == 4) throw BadText();
  if (scores.size() == 3) throw DeadlyText();
  if (scores.size() == 1) throw 42;
  throw DeadlyCopy();
}

void attention(kit::TensorView<const float> /*q*/, kit::TensorView<const float> /*k*/,
               kit::TensorView<const float> /*v*/, kit::TensorView<float> /*out*/) {
  throw kit::NotImplemented("lab02 task 1: attention");
}

}  // namespace lab02
