// The checker's half of kit/heap_usage.h: the student's code is in the worker, so is its memory.
#include "heap_messages.h"

namespace kit {

using remote::Call;
using remote::Connection;

HeapUsage heap_usage() {
  return Call<HeapUsage()>::ask(Connection::of_checker(), {.name = remote::kHeapUsage});
}

void reset_heap_peak() {
  Call<void()>::ask(Connection::of_checker(), {.name = remote::kResetHeapPeak});
}

}  // namespace kit
