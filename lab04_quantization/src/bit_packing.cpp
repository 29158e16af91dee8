#include "lab04/group_quantization.h"

// Task 5.

namespace lab04 {

std::vector<std::uint8_t> pack_bits(std::span<const std::uint8_t> codes, int bits) {
  (void)codes, (void)bits;
  throw kit::NotImplemented("lab04 task 5: pack_bits");
}

void unpack_bits(std::span<const std::uint8_t> packed, int bits, std::span<std::uint8_t> codes) {
  (void)packed, (void)bits, (void)codes;
  throw kit::NotImplemented("lab04 task 5: unpack_bits");
}

}  // namespace lab04
