#include "output.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace grader {

void ChildOutput::drain(std::size_t max_bytes) {
  std::array<char, 65536> buffer;
  while (descriptor_ >= 0 && max_bytes > 0) {
    const ssize_t n = ::read(descriptor_, buffer.data(), std::min(buffer.size(), max_bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    if (n == 0) return close();
    const std::string_view text(buffer.data(), static_cast<std::size_t>(n));
    max_bytes -= text.size();
    keep(text);
  }
}

void ChildOutput::keep(std::string_view text) {
  if (on_line_) tell_lines(text);
  const std::size_t room = limit_ - text_.size();
  cut_ |= text.size() > room;
  text_ += text.substr(0, room);
}

void ChildOutput::tell_lines(std::string_view text) {
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    line_ += text.substr(0, end);
    on_line_(line_);
    line_.clear();
    text.remove_prefix(end + 1);
  }
  constexpr std::size_t kMaxLine = 65536;
  if (line_.size() < kMaxLine) line_ += text;
}

void ChildOutput::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace grader
