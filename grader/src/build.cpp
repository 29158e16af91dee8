#include "grader/build.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <regex>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/process.h"
#include "grader/text.h"

namespace grader {

namespace {

/// What a failed build says when no student can help it.
void throw_if_machine_failed(const std::string& output) {
  constexpr std::array<std::string_view, 5> kSigns = {
      "No space left on device", "Killed signal terminated program", "virtual memory exhausted",
      "Read-only file system", "internal compiler error: Killed"};
  for (const std::string_view sign : kSigns) {
    if (output.find(sign) != std::string::npos) {
      throw InfrastructureError(fmt::format("the build stopped: {}", sign));
    }
  }
}

std::string relative_to(std::string line, const std::string& root) {
  for (std::size_t at = line.find(root); at != std::string::npos; at = line.find(root))
    line.erase(at, root.size());
  return line;
}

bool is_error_line(const std::string& line) {
  static const std::regex pattern(
      R"(: (fatal )?error: |undefined reference to|multiple definition of|^CMake Error|)"
      R"(^ninja: error: |collect2: error: )");
  return std::regex_search(line, pattern);
}

}  // namespace

BuildTree::BuildTree(std::filesystem::path root, std::filesystem::path build_dir)
    : root_(std::move(root)), folder_(std::move(build_dir)) {
  const std::filesystem::path cache = folder_ / "CMakeCache.txt";
  if (!std::filesystem::exists(cache)) {
    throw InfrastructureError(
        fmt::format("{} is not a configured build folder; run `./kit grade`, or `cmake --preset "
                    "default` in {}",
                    folder_.string(), root_.string()));
  }
  cache_ = "\n" + read_file(cache);
}

std::string BuildTree::cache_value(const std::string& variable) const {
  const std::size_t at = cache_.find("\n" + variable + ":");
  if (at == std::string::npos) return "";
  const std::size_t equals = cache_.find('=', at);
  if (equals == std::string::npos) return "";
  return cache_.substr(equals + 1, cache_.find('\n', equals) - equals - 1);
}

BuildTree::Outcome BuildTree::build(const std::vector<std::string>& targets, Progress& progress) const {
  Command command;
  command.argv = {"cmake", "--build", folder_.string(), "--target"};
  command.argv.insert(command.argv.end(), targets.begin(), targets.end());
  // -k 0: go on after an error, so that one lab's mistake leaves the other labs built.
  command.argv.insert(command.argv.end(), {"--", "-k", "0"});
  command.environment = {{"NINJA_STATUS", "[%f/%t] "}, {"LC_ALL", "C"}, {"GCC_COLORS", ""}};
  command.limits.output_bytes = std::size_t{16} << 20;
  command.on_line = [&](std::string_view line) {
    int done = 0;
    int total = 0;
    if (parse_ninja_status(line, done, total)) progress.built(done, total);
  };
  const ProcessResult result = run_process(command);
  Outcome outcome{result.succeeded(), clean_text(result.output)};
  if (!outcome.ok) throw_if_machine_failed(outcome.output);
  return outcome;
}

bool parse_ninja_status(std::string_view line, int& done, int& total) {
  if (!line.starts_with('[')) return false;
  const char* end = line.data() + line.size();
  const auto first = std::from_chars(line.data() + 1, end, done);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '/') return false;
  const auto second = std::from_chars(first.ptr + 1, end, total);
  return second.ec == std::errc() && second.ptr != end && *second.ptr == ']' && total > 0;
}

std::string first_errors(const std::string& output, const std::filesystem::path& root, int max_errors) {
  const std::string prefix = (root / "").string();
  std::string errors;
  std::string tail;
  int n_errors = 0;
  for (const std::string& line : split_lines(output)) {
    tail += line + "\n";
    // The linker's own summary says nothing once the real error is listed.
    const bool is_summary = line.find("collect2: error: ") != std::string::npos;
    if (n_errors >= max_errors || !is_error_line(line) || (is_summary && n_errors > 0)) continue;
    // A missing function is reported for every call; once is enough.
    const std::size_t undefined = line.find("undefined reference to");
    if (undefined != std::string::npos && errors.find(line.substr(undefined)) != std::string::npos) continue;
    errors += (errors.empty() ? "" : "\n") + relative_to(line, prefix);
    ++n_errors;
  }
  // The compiler quotes the line; CUDA's launch syntax is no C++, whatever else is wrong.
  if (n_errors > 0 && output.find("<<<") != std::string::npos)
    errors +=
        "\nLikely cause: kernel<<<grid, block>>>(...). Write kit::launch(kernel, {grid, block}, ...) "
        "instead.";
  if (n_errors > 0) return errors;
  constexpr std::size_t kTailBytes = 2000;
  return trim(tail.size() > kTailBytes ? tail.substr(tail.size() - kTailBytes) : tail);
}

}  // namespace grader
