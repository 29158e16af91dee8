#include "grader/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <algorithm>

#include "grader/text.h"

namespace grader {

TerminalProgress::TerminalProgress(std::FILE* stream)
    : stream_(stream), is_terminal_(::isatty(::fileno(stream)) == 1) {}

TerminalProgress::~TerminalProgress() {
  clear();
}

void TerminalProgress::clear() {
  if (is_terminal_) fmt::print(stream_, "\r\x1b[K");
  std::fflush(stream_);
}

void TerminalProgress::show(std::string line) {
  if (!is_terminal_) {
    fmt::print(stream_, "{}\n", line);
  } else {
    // A line that wraps could not be rewritten.
    struct winsize size = {};
    const bool known = ::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    const std::size_t width = known ? size.ws_col : 80U;
    if (display_width(line) >= width) line.resize(width - 1);
    fmt::print(stream_, "\r\x1b[K{}", line);
  }
  std::fflush(stream_);
}

void TerminalProgress::stage(std::string_view what) {
  stage_ = what;
  show(stage_);
}

void TerminalProgress::built(int done, int total) {
  if (is_terminal_) {
    show(fmt::format("[built {}/{}] {}", done, total, stage_));
  } else if (done == total || done % std::max(total / 10, 1) == 0) {
    show(fmt::format("[built {}/{}]", done, total));
  }
}

void TerminalProgress::tested(int done, int total, std::string_view name, Verdict verdict) {
  show(fmt::format("[{}/{}] {} {}", done, total, name, verdict_name(verdict)));
}

}  // namespace grader
