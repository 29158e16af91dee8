#include <cstddef>

#include "kit/check.h"
#include "lab04/group_quantization.h"

namespace lab04 {

namespace {

void check_bits(int bits) {
  KIT_CHECK(bits >= 1 && bits <= 8, "codes of {} bits, must be 1 to 8", bits);
}

std::size_t packed_bytes(std::size_t n_codes, int bits) {
  return (n_codes * static_cast<std::size_t>(bits) + 7) / 8;
}

/// Where code i begins, and whether its upper bits are in the byte behind.
struct Place {
  Place(std::size_t i, int bits)
      : byte(i * static_cast<std::size_t>(bits) / 8),
        shift(static_cast<int>(i * static_cast<std::size_t>(bits) % 8)),
        goes_on(shift + bits > 8) {}

  std::size_t byte;
  int shift;
  bool goes_on;
};

}  // namespace

std::vector<std::uint8_t> pack_bits(std::span<const std::uint8_t> codes, int bits) {
  check_bits(bits);
  std::vector<std::uint8_t> packed(packed_bytes(codes.size(), bits), 0);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    KIT_CHECK(codes[i] >> bits == 0, "code {} (number {}) needs more than {} bits", codes[i], i, bits);
    const Place place(i, bits);
    const unsigned shifted = unsigned{codes[i]} << (16 - bits - place.shift);
    packed[place.byte] |= static_cast<std::uint8_t>(shifted >> 8);
    if (place.goes_on) packed[place.byte + 1] = static_cast<std::uint8_t>(shifted);
  }
  return packed;
}

void unpack_bits(std::span<const std::uint8_t> packed, int bits, std::span<std::uint8_t> codes) {
  check_bits(bits);
  KIT_CHECK(packed.size() == packed_bytes(codes.size(), bits), "{} codes of {} bits take {} bytes, not {}",
            codes.size(), bits, packed_bytes(codes.size(), bits), packed.size());
  const unsigned mask = (1U << bits) - 1;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const Place place(i, bits);
    unsigned word = unsigned{packed[place.byte]} << 8;
    if (place.goes_on) word |= packed[place.byte + 1];
    codes[i] = static_cast<std::uint8_t>((word >> (16 - bits - place.shift)) & mask);
  }
}

}  // namespace lab04
