// The worker's half of kit/heap_usage.h: it counts what malloc hands out here.
#include "heap_messages.h"

namespace kit::remote {

namespace {

const Registration kUsageService(std::string(kHeapUsage), [](Reader& reader, Writer& writer) {
  Call<HeapUsage()>::answer(reader, writer, heap_usage);
});
const Registration kResetService(std::string(kResetHeapPeak), [](Reader& reader, Writer& writer) {
  Call<void()>::answer(reader, writer, reset_heap_peak);
});

}  // namespace

}  // namespace kit::remote
