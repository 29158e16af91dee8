#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kit::detail {

enum class Utf8 { kComplete, kInvalid, kIncomplete };

struct Utf8Character {
  Utf8 state = Utf8::kInvalid;
  std::size_t length = 1;   ///< bytes of a complete character, else 1
  char32_t code_point = 0;  ///< of a complete character
};

/// What stands at the beginning of `text`, which is not empty. kIncomplete: the text ends inside a character
/// that could still become valid. Overlong forms, surrogates and anything beyond U+10FFFF are invalid (RFC
/// 3629).
inline Utf8Character next_utf8(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {Utf8::kComplete, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms (E0, F0), surrogates (ED) and what lies beyond U+10FFFF
  // (F4).
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8::kIncomplete, 1, 0};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < low || byte > high) return {};
    code_point = code_point << 6U | (byte & 0x3FU);
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8::kComplete, length, code_point};
}

}  // namespace kit::detail
