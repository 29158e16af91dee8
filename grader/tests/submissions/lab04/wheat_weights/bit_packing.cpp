#include "kit/check.h"
#include "kit/checked.h"
#include "lab04/group_quantization.h"

namespace lab04 {

std::vector<std::uint8_t> pack_bits(std::span<const std::uint8_t> codes, int bits) {
  KIT_CHECK(bits > 0 && bits < 9, "{} bits", bits);
  std::vector<std::uint8_t> packed;
  std::uint64_t buffer = 0;
  int n_bits = 0;
  for (const std::uint8_t code : codes) {
    KIT_CHECK(code < (1 << bits), "{} does not fit into {} bits", code, bits);
    buffer |= std::uint64_t{code} << n_bits;
    for (n_bits += bits; n_bits >= 8; n_bits -= 8) {
      packed.push_back(static_cast<std::uint8_t>(buffer));
      buffer >>= 8;
    }
  }
  if (n_bits > 0) packed.push_back(static_cast<std::uint8_t>(buffer));
  return packed;
}

void unpack_bits(std::span<const std::uint8_t> packed, int bits, std::span<std::uint8_t> codes) {
  KIT_CHECK(bits > 0 && bits < 9, "{} bits", bits);
  const std::int64_t n_bytes = kit::divide_round_up(std::ssize(codes) * bits, 8);
  KIT_CHECK(std::ssize(packed) == n_bytes, "{} bytes, expected {}", packed.size(), n_bytes);
  std::uint64_t buffer = 0;
  int n_bits = 0;
  auto next = packed.begin();
  for (std::uint8_t& code : codes) {
    for (; n_bits < bits; n_bits += 8) buffer |= std::uint64_t{*next++} << n_bits;
    code = static_cast<std::uint8_t>(buffer % (1U << bits));
    buffer >>= bits;
    n_bits -= bits;
  }
}

}  // namespace lab04
