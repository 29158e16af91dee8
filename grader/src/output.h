#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace grader {

/// What a child writes into a pipe: keeps the first `limit` bytes, reads and drops the rest, and hands out
/// lines.
class ChildOutput {
 public:
  /// Takes over `descriptor`, which is non-blocking.
  ChildOutput(int descriptor, std::size_t limit, std::function<void(std::string_view line)> on_line = {})
      : descriptor_(descriptor), limit_(limit), on_line_(std::move(on_line)) {}
  ~ChildOutput() { close(); }
  ChildOutput(const ChildOutput&) = delete;
  ChildOutput& operator=(const ChildOutput&) = delete;

  /// -1 after its end.
  int descriptor() const { return descriptor_; }

  /// Reads what is there now, but at most `max_bytes`: a child that writes without end must not keep us from
  /// its clock.
  void drain(std::size_t max_bytes);

  const std::string& text() const { return text_; }
  bool cut() const { return cut_; }

 private:
  void keep(std::string_view text);
  void tell_lines(std::string_view text);
  void close();

  int descriptor_;
  std::size_t limit_;
  std::function<void(std::string_view line)> on_line_;
  std::string text_;
  std::string line_;
  bool cut_ = false;
};

}  // namespace grader
