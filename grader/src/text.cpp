#include "grader/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace grader {

namespace {

/// Length of the valid UTF-8 character at the front of `text`, 0 when there is none (RFC 3629: no surrogates,
/// no overlong forms, nothing above U+10FFFF).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<std::uint8_t>(text[i]) : 0U; };
  const auto is_tail = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return is_tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    return is_tail(1) && is_tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && byte(1) < 0x90;
    const bool too_large = first == 0xF4 && byte(1) > 0x8F;
    return is_tail(1) && is_tail(2) && is_tail(3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

/// Length of a terminal escape sequence at the front of `text`, which starts with ESC.
std::size_t escape_length(std::string_view text) {
  if (text.size() < 2 || text[1] != '[') return 1;
  std::size_t i = 2;
  while (i < text.size() && (text[i] < '@' || text[i] > '~')) {
    if (text[i] < ' ') return 1;  // not a sequence after all
    ++i;
  }
  return std::min(i + 1, text.size());
}

}  // namespace

std::string clean_text(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char first = text.front();
    if (first == '\x1b') {
      text.remove_prefix(escape_length(text));
      continue;
    }
    const bool is_control = (first >= 0 && first < ' ' && first != '\n' && first != '\t') || first == '\x7f';
    const bool is_c1_control = length == 2 && first == '\xC2' && static_cast<std::uint8_t>(text[1]) < 0xA0;
    // U+FFFE and U+FFFF are valid UTF-8 but no XML document may hold them.
    const bool is_no_xml =
        length == 3 && text.starts_with("\xEF\xBF") && static_cast<std::uint8_t>(text[2]) >= 0xBE;
    if (length == 0 || is_no_xml) {
      clean += "\uFFFD";
    } else if (!is_control && !is_c1_control) {
      clean += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return clean;
}

std::string shorten(std::string_view text, std::size_t max_lines, std::size_t max_bytes) {
  std::size_t end = 0;
  for (std::size_t line = 0; line < max_lines && end < text.size(); ++line) {
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  }
  end = std::min(end, max_bytes);
  while (end > 0 && end < text.size() && (static_cast<std::uint8_t>(text[end]) & 0xC0U) == 0x80U) --end;
  std::string kept = trim(text.substr(0, end));
  if (trim(text.substr(end)).empty()) return kept;
  return kept + (kept.find('\n') == std::string::npos ? " ..." : "\n...");
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kBlank) - begin + 1));
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<std::uint8_t>(c) & 0xC0U) != 0x80U; }));
}

std::string pad(std::string_view text, std::size_t width) {
  const std::size_t used = display_width(text);
  return std::string(text) + std::string(used < width ? width - used : 0, ' ');
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> wrapped;
  for (const std::string& line : split_lines(text)) {
    std::string_view rest = line;
    while (display_width(rest) > width) {
      // Leading blanks are indentation, not a place to break.
      const std::size_t indent = std::min(rest.find_first_not_of(' '), rest.size());
      std::size_t end = rest.rfind(' ', width);
      if (end == std::string_view::npos || end <= indent) end = rest.find(' ', std::max(width, indent));
      if (end == std::string_view::npos) break;
      wrapped.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    wrapped.emplace_back(rest);
  }
  return wrapped;
}

std::string format_number(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  constexpr double kExactIntegers = 9007199254740992.0;  // 2^53
  constexpr double kNoDecimals = 1e4;                    // from here on four digits do not reach the decimals
  if (std::abs(value) >= kNoDecimals) value = std::round(value);
  if (value != std::floor(value) || std::abs(value) >= kExactIntegers) return fmt::format("{:.4g}", value);
  std::string digits = fmt::format("{:.0f}", std::abs(value));
  for (std::size_t i = digits.size(); i > 3;) digits.insert(i -= 3, ",");
  return (value < 0 ? "-" : "") + digits;
}

std::string format_bytes(double n_bytes) {
  constexpr std::array<const char*, 5> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (n_bytes >= 1024.0 && unit + 1 < kUnits.size()) {
    n_bytes /= 1024.0;
    ++unit;
  }
  return fmt::format("{:.3g} {}", n_bytes, kUnits.at(unit));
}

std::string format_seconds(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  return fmt::format("{} min {} s", whole / 60, whole % 60);
}

}  // namespace grader
