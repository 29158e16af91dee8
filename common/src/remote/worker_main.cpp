// The program that holds a student's code in `grader record`: it answers on descriptor 3 until the checker
// closes.
#include <cstdio>
#include <exception>

#include "kit/remote/connection.h"

int main() {
  constexpr int kSocket = 3;
  try {
    kit::remote::Connection::open_worker(kSocket)->serve();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "worker: %s\n", error.what());
    return 2;
  }
}
