#pragma once

#include "tracer.h"
#include "worker.h"

namespace kit::simt::detail {

// While the tracer does slow work: it holds locks, and it calls functions of the standard library of which
// the linker may have kept the copy of an instrumented file, whose accesses are no kernel's.
class Tracer::Pause {
 public:
  explicit Pause(Tracer& tracer) : tracer_(tracer) {
    tracer_.busy_ = true;
    current_tracer = nullptr;
  }
  ~Pause() {
    current_tracer = &tracer_;
    tracer_.busy_ = false;
  }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  Tracer& tracer_;
};

}  // namespace kit::simt::detail
