#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "kit/testing.h"
#include "lab04/group_quantization.h"

namespace {

using kit::testing::make_rng;
using kit::testing::throws_error;
using Bytes = std::vector<std::uint8_t>;

std::size_t bytes_for(std::size_t n_codes, int bits) {
  return (n_codes * static_cast<std::size_t>(bits) + 7) / 8;
}

/// Where bit b of code i goes, counted through all bytes.
using BitPlace = std::function<std::size_t(std::size_t i, int b)>;

/// Bit by bit, from the definition.
Bytes pack_at(const Bytes& codes, int bits, const BitPlace& place) {
  Bytes packed(bytes_for(codes.size(), bits), 0);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    for (int b = 0; b < bits; ++b) {
      const std::size_t bit = place(i, b);
      const int value = (codes[i] >> b) & 1;
      if (bit / 8 < packed.size()) packed[bit / 8] |= static_cast<std::uint8_t>(value << (bit % 8));
    }
  }
  return packed;
}

BitPlace right_place(int bits) {
  return [bits](std::size_t i, int b) {
    return i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(b);
  };
}

Bytes reference_pack(const Bytes& codes, int bits) {
  return pack_at(codes, bits, right_place(bits));
}

/// Orders in which people put bits.
struct WrongOrder {
  std::string cause;
  BitPlace place;
};

std::vector<WrongOrder> wrong_orders(int bits) {
  const auto in_order = right_place(bits);
  const auto n_bits = static_cast<std::size_t>(bits);
  const std::size_t n_per_byte = 8 / n_bits;
  std::vector<WrongOrder> orders = {
      // Bit 0 of the stream is the highest of byte 0, and a code's highest bit comes first.
      {"the bits in big-endian order: the highest bit of a byte filled first",
       [=](std::size_t i, int b) { return in_order(i, bits - 1 - b) ^ 7U; }},
      {"the bits of each code reversed", [=](std::size_t i, int b) { return in_order(i, bits - 1 - b); }},
      {"codes that never cross the end of a byte: the stream has no gaps",
       [=](std::size_t i, int b) {
         return i / n_per_byte * 8 + i % n_per_byte * n_bits + static_cast<std::size_t>(b);
       }},
      {"a byte for each code", [=](std::size_t i, int b) { return i * 8 + static_cast<std::size_t>(b); }}};
  if (bits == 4) {
    orders.insert(orders.begin(), {"the two halves of a byte swapped: the first code is the low half",
                                   [=](std::size_t i, int b) { return in_order(i, b) ^ 4U; }});
  }
  return orders;
}

struct KnownBytes {
  std::string cause;
  Bytes bytes;
};

std::string likely_cause(const Bytes& got, const Bytes& expected, const std::vector<KnownBytes>& mistakes) {
  for (const KnownBytes& mistake : mistakes) {
    if (got == mistake.bytes && got != expected) return "\nLikely cause: " + mistake.cause;
  }
  return {};
}

::testing::AssertionResult same_bytes(const Bytes& got, const Bytes& expected, const char* what,
                                      const std::vector<KnownBytes>& mistakes) {
  if (got == expected) return ::testing::AssertionSuccess();
  const std::string cause = likely_cause(got, expected, mistakes);
  if (got.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << fmt::format("{} {}s, expected {}{}", got.size(), what, expected.size(), cause);
  }
  const auto [differs, _] = std::mismatch(got.begin(), got.end(), expected.begin());
  const auto at = static_cast<std::size_t>(differs - got.begin());
  return ::testing::AssertionFailure()
         << fmt::format("{} {}: expected {:#04x}, got {:#04x}{}", what, at, expected[at], got[at], cause);
}

/// Packs and holds the bytes against the definition.
void expect_packed(const Bytes& codes, int bits) {
  SCOPED_TRACE(fmt::format("{} codes of {} bits", codes.size(), bits));
  const Bytes got = lab04::pack_bits(codes, bits);
  const Bytes expected = reference_pack(codes, bits);
  std::vector<KnownBytes> mistakes;
  for (const WrongOrder& order : wrong_orders(bits))
    mistakes.push_back({order.cause, pack_at(codes, bits, order.place)});
  Bytes one_each = codes;
  mistakes.push_back({"a byte for each code", std::move(one_each)});
  // Whatever the unused bits hold: the same but for them.
  const std::size_t n_used = codes.size() * static_cast<std::size_t>(bits) % 8;
  if (got.size() == expected.size() && n_used > 0) {
    Bytes masked = got;
    masked.back() &= static_cast<std::uint8_t>((1U << n_used) - 1);
    if (masked == expected) mistakes.push_back({"the unused bits of the last byte are not 0", got});
  }
  EXPECT_TRUE(same_bytes(got, expected, "byte", mistakes));
}

void expect_unpacked(const Bytes& codes, int bits) {
  SCOPED_TRACE(fmt::format("{} codes of {} bits", codes.size(), bits));
  const Bytes packed = reference_pack(codes, bits);
  Bytes got(codes.size(), 0xEE);  // needs all 8 bits: what is not written shows where bits < 8
  lab04::unpack_bits(packed, bits, got);
  std::vector<KnownBytes> mistakes;
  for (const WrongOrder& order : wrong_orders(bits)) {
    Bytes wrong(codes.size(), 0);
    for (std::size_t i = 0; i < wrong.size(); ++i) {
      for (int b = 0; b < bits; ++b) {
        const std::size_t bit = order.place(i, b);
        const int value = bit / 8 < packed.size() ? (packed[bit / 8] >> (bit % 8)) & 1 : 0;
        wrong[i] |= static_cast<std::uint8_t>(value << b);
      }
    }
    mistakes.push_back({order.cause, std::move(wrong)});
  }
  Bytes extended = codes;
  for (std::uint8_t& code : extended) {
    if (code >> (bits - 1) != 0) code |= static_cast<std::uint8_t>(0xFFU << bits);
  }
  mistakes.push_back({"codes sign extended: here they have no sign yet", std::move(extended)});
  EXPECT_TRUE(same_bytes(got, codes, "code", mistakes));
}

Bytes random_codes(std::size_t n, int bits, kit::Rng& rng) {
  Bytes codes(n);
  for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(rng.below(1U << bits));
  return codes;
}

constexpr std::size_t kLengths[] = {0, 1, 2, 3, 7, 8, 9, 31, 33, 64, 1000};

TEST(BitPacking, FourBitsByHand) {
  //   1, 2 -> 0x21;  15, 0 -> 0x0f;  7 alone -> 0x07
  const Bytes codes = {1, 2, 15, 0, 7};
  const Bytes expected = {0x21, 0x0F, 0x07};
  EXPECT_TRUE(
      same_bytes(lab04::pack_bits(codes, 4), expected, "byte",
                 {{"the two halves of a byte swapped: the first code is the low half", {0x12, 0xF0, 0x70}}}));
  Bytes unpacked(5, 0xEE);
  lab04::unpack_bits(expected, 4, unpacked);
  EXPECT_TRUE(
      same_bytes(unpacked, codes, "code",
                 {{"the two halves of a byte swapped: the first code is the low half", {2, 1, 0, 15, 0}}}));
}

TEST(BitPacking, ThreeBitsByHand) {
  // Codes 1, 2, 3, 4 from the lowest bit on: 100 010 110 001. Eight a byte: 10001011 0001, so 1 + 16 + 64 +
  // 128 = 0xd1 and 8. The third code lies in both bytes.
  const Bytes codes = {1, 2, 3, 4};
  const Bytes expected = {0xD1, 0x08};
  // Highest bit first: 001 010 011 100 is 00101001 1100....
  EXPECT_TRUE(
      same_bytes(lab04::pack_bits(codes, 3), expected, "byte",
                 {{"the bits in big-endian order: the highest bit of a byte filled first", {0x29, 0xC0}},
                  {"codes that never cross the end of a byte: the stream has no gaps", {0x11, 0x23}}}));
  Bytes unpacked(4, 0xEE);
  lab04::unpack_bits(expected, 3, unpacked);
  EXPECT_EQ(unpacked, codes);
}

TEST(BitPacking, PacksEveryWidthAndLength) {
  kit::Rng rng = make_rng(500);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::size_t n : kLengths) expect_packed(random_codes(n, bits, rng), bits);
  }
}

TEST(BitPacking, UnpacksEveryWidthAndLength) {
  kit::Rng rng = make_rng(501);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::size_t n : kLengths) expect_unpacked(random_codes(n, bits, rng), bits);
  }
}

TEST(BitPacking, NoGapBetweenCodes) {
  // The largest code of each width: every used bit is set, and no other.
  for (int bits = 1; bits <= 8; ++bits) {
    const auto largest = static_cast<std::uint8_t>((1U << bits) - 1);
    expect_packed(Bytes(33, largest), bits);
    expect_unpacked(Bytes(33, largest), bits);
  }
}

TEST(BitPacking, RejectsCodesThatNeedMoreBits) {
  EXPECT_TRUE(throws_error([] { (void)lab04::pack_bits(Bytes{3, 2, 16, 1}, 4); }, "16")) << "16 in 4 bits";
  EXPECT_TRUE(throws_error([] { (void)lab04::pack_bits(Bytes{1, 7, 3, 203}, 3); }, "203")) << "203 in 3 bits";
  EXPECT_TRUE(throws_error([] { (void)lab04::pack_bits(Bytes{2}, 1); }, "2")) << "2 in 1 bit";
  EXPECT_TRUE(throws_error(
      [] {
        (void)lab04::pack_bits(Bytes{0, 0xFF}, 7);
      },
      "255"))
      << "a negative code that was not cut to its 7 bits";
}

TEST(BitPacking, RejectsWidthsThatCannotBe) {
  const Bytes zero = {0};
  for (const int bits : {0, -3, 9, 64}) {
    EXPECT_TRUE(throws_error([&] { (void)lab04::pack_bits(zero, bits); }, std::to_string(bits))) << bits;
    Bytes codes(1);
    EXPECT_TRUE(throws_error([&] { lab04::unpack_bits(zero, bits, codes); }, std::to_string(bits))) << bits;
  }
}

TEST(BitPacking, RejectsPackedBytesOfAnotherLength) {
  // 11 codes of 3 bits are 33 bits: 5 bytes.
  for (const std::size_t n_bytes : {0U, 4U, 6U, 11U}) {
    const Bytes packed(n_bytes, 0);
    Bytes codes(11);
    EXPECT_TRUE(throws_error([&] { lab04::unpack_bits(packed, 3, codes); })) << n_bytes << " bytes, needs 5";
  }
  Bytes none;
  EXPECT_TRUE(throws_error([&] { lab04::unpack_bits(Bytes{0}, 3, none); })) << "a byte for no code";
}

}  // namespace
