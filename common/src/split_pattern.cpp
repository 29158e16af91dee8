#include "split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "kit/check.h"
#include "utf8.h"

namespace kit::detail {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of one match
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kMaxPatternBytes = 64 * 1024;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

using MatchContext = std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)>;
using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

MatchContext make_match_context() {
  MatchContext context(pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  KIT_CHECK(context != nullptr, "no memory for a pattern's match");
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);
  return context;
}

}  // namespace

SplitPattern::SplitPattern(const std::string& pattern, PatternKind kind, const std::string& origin)
    : pattern_(pattern) {
  KIT_CHECK(!pattern.empty() && pattern.size() <= kMaxPatternBytes, "{}: a pattern of {} bytes", origin,
            pattern.size());
  // Unicode classes for \s, \d and \w, as in the library that the file was made for. \C would cut characters.
  const std::uint32_t options = kind == PatternKind::kLiteral
                                    ? PCRE2_UTF | PCRE2_LITERAL
                                    : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options,
                                   &error, &offset, nullptr);
  KIT_CHECK(code != nullptr, "{}: bad pattern \"{}\" at offset {}: {}", origin, pattern, offset,
            pcre2_message(error));
  code_ = std::shared_ptr<const void>(
      code, [](const void* c) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(c))); });
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // speed only: where there is no JIT, matching interprets
}

void SplitPattern::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const MatchContext context = make_match_context();
  const MatchData match(pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  KIT_CHECK(match != nullptr, "no memory for a pattern's match");
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (begin < end) pieces.push_back(text.substr(begin, end - begin));
  };
  std::size_t gap = 0;     // where the text after the last match begins
  std::size_t offset = 0;  // where to search on
  while (offset < text.size()) {
    int result =
        pcre2_match(code, subject, text.size(), offset, PCRE2_NO_UTF_CHECK, match.get(), context.get());
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      result = pcre2_match(code, subject, text.size(), offset, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match.get(),
                           context.get());
    }
    if (result == PCRE2_ERROR_NOMATCH) break;
    KIT_CHECK(result >= 0, "pattern \"{}\" cannot be matched: {}", pattern_, pcre2_message(result));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    // \K inside a lookahead can report a match that begins before the search or ends before it begins.
    KIT_CHECK(range[0] >= gap && range[0] <= range[1], "pattern \"{}\" matches backwards", pattern_);
    add(gap, range[0]);
    add(range[0], range[1]);
    gap = range[1];
    offset = range[1] > offset ? range[1] : offset;
    // After an empty match, search on behind the next character.
    if (range[0] == range[1] && offset < text.size()) offset += next_utf8(text.substr(offset)).length;
  }
  add(gap, text.size());
}

}  // namespace kit::detail
