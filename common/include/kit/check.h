#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

/// Errors of the kit, and the check at every door.
namespace kit {

/// Bad input, named: the message holds the offending values and the file and line of the check.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a stub throws. `task` reads "lab02 task 3: attention_with_cache".
/// Deliberately not a kit::Error, so that a test that expects an error cannot pass on a stub.
class NotImplemented : public std::logic_error {
 public:
  /// Every message starts with this, which is how a grader recognises a stub.
  static constexpr std::string_view kPrefix = "NotImplemented: ";

  explicit NotImplemented(const std::string& task) : std::logic_error(std::string(kPrefix) + task) {}
};

namespace detail {
[[noreturn]] void throw_check_failure(std::string_view condition, std::string_view file, int line,
                                      const std::string& message);
}  // namespace detail

}  // namespace kit

/// Throws kit::Error in every build type when `condition` is false.
/// The rest is a fmt format string and its values: KIT_CHECK(n > 0, "n is {}, must be positive", n).
#define KIT_CHECK(condition, ...)                                                                     \
  do {                                                                                                \
    if (!(condition)) [[unlikely]] {                                                                  \
      ::kit::detail::throw_check_failure(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
    }                                                                                                 \
  } while (false)
