#include <cstddef>
#include <cstdint>
#include <span>

#include "kit/safetensors.h"

/// Any bytes either parse or throw kit::Error; what parsed can be converted.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file = kit::SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    for (const auto& [name, entry] : file.entries()) {
      if (entry.dtype != kit::DType::kI8) kit::to_float_tensor(entry, name);
    }
  } catch (const kit::Error&) {
  }
  return 0;
}
