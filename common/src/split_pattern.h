#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kit::detail {

enum class PatternKind { kRegex, kLiteral };

/// A regular expression (PCRE2, Unicode) that cuts text into its matches and what lies between them.
class SplitPattern {
 public:
  /// Throws kit::Error naming `origin` and the pattern when it does not compile.
  SplitPattern(const std::string& pattern, PatternKind kind, const std::string& origin);

  /// Appends the matches and the gaps, in order, none empty, to `pieces`. `text` is valid UTF-8.
  /// Throws kit::Error when matching exceeds the limits that stop a pattern from running away.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  std::string pattern_;
  std::shared_ptr<const void> code_;
};

}  // namespace kit::detail
