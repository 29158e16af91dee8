#include "lab03/static_batching.h"

#include "kit/check.h"

// Task 2. The server is kit::BatchServer (common/include/kit/batch_server.h).

namespace lab03 {

void run_static_batching(kit::BatchServer& server) {
  (void)server;
  throw kit::NotImplemented("lab03 task 2: run_static_batching");
}

double expected_gain_uniform(int batch_size) {
  (void)batch_size;
  throw kit::NotImplemented("lab03 task 2: expected_gain_uniform");
}

double expected_gain_exponential(int batch_size) {
  (void)batch_size;
  throw kit::NotImplemented("lab03 task 2: expected_gain_exponential");
}

}  // namespace lab03
