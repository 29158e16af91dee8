#pragma once

#include "kit/heap_usage.h"
#include "kit/remote/passing.h"

namespace kit {

template <class Archive>
void serialize(Archive& archive, HeapUsage& x) {
  auto& [live, peak, largest] = x;
  archive(live, peak, largest);
}

}  // namespace kit

namespace kit::remote {

inline constexpr std::string_view kHeapUsage = "kit::heap_usage";
inline constexpr std::string_view kResetHeapPeak = "kit::reset_heap_peak";

}  // namespace kit::remote
