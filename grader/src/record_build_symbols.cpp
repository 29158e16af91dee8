#include "record_build_symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "grader/error.h"
#include "grader/process.h"
#include "grader/text.h"

namespace grader {

namespace {

struct Symbol {
  std::string object;
  std::string name;
  char type;
};

/// Lines of `nm -A -P`: "file: name type value size".
std::vector<Symbol> parse_symbols(const std::string& output) {
  std::vector<Symbol> symbols;
  for (const std::string& line : split_lines(output)) {
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::size_t name_end = line.find(' ', colon + 2);
    if (name_end == std::string::npos || name_end + 1 >= line.size()) continue;
    symbols.push_back(
        {line.substr(0, colon), line.substr(colon + 2, name_end - colon - 2), line[name_end + 1]});
  }
  return symbols;
}

/// Weak (W, V) and unique (u) ones are inline functions and templates, which several files may define.
bool is_strong(char type) {
  return type != 'W' && type != 'V' && type != 'u' && type != 'w' && type != 'v';
}

/// The outermost namespace of a mangled name: "kit" of _ZNK3kit4Rope... and of _ZTVN3kit5Model...
std::string_view outer_namespace(std::string_view name) {
  if (!name.starts_with("_Z")) return {};
  name.remove_prefix(2);
  for (const std::string_view table : {"TV", "TT", "TI", "TS", "GV"}) {
    if (name.starts_with(table)) name.remove_prefix(2);
  }
  if (!name.starts_with('N')) return {};
  name.remove_prefix(1);
  while (!name.empty() && std::string_view("rVKRO").find(name.front()) != std::string_view::npos)
    name.remove_prefix(1);
  std::size_t length = 0;
  while (!name.empty() && name.front() >= '0' && name.front() <= '9' && length < 1000) {
    length = length * 10 + static_cast<std::size_t>(name.front() - '0');
    name.remove_prefix(1);
  }
  return name.substr(0, length);
}

bool is_reserved_namespace(std::string_view name) {
  const bool is_tests = name.starts_with("lab") && name.ends_with("_tests");
  return name == "kit" || name == "testing" || name == "cereal" || is_tests;
}

/// What programs fake: memory, time, processes, files, loading. Not all of the C library: a student may well
/// have a global named `index` or `gamma`.
bool is_system_name(std::string_view name) {
  constexpr std::array<std::string_view, 16> kPrefixes = {
      "__tsan_", "__asan_",  "__ubsan_", "__sanitizer_", "__interceptor_", "__cxa_", "__gxx_", "_Unwind_",
      "__libc_", "pthread_", "kit_",     "_Znw",         "_Zna",           "_Zdl",   "_Zda",   "__wrap_"};
  constexpr std::array<std::string_view, 62> kNames = {"main",
                                                       "_start",
                                                       "_init",
                                                       "_fini",
                                                       "malloc",
                                                       "calloc",
                                                       "realloc",
                                                       "free",
                                                       "aligned_alloc",
                                                       "memalign",
                                                       "posix_memalign",
                                                       "valloc",
                                                       "malloc_usable_size",
                                                       "memcmp",
                                                       "memcpy",
                                                       "memmove",
                                                       "memset",
                                                       "memchr",
                                                       "bcmp",
                                                       "strcmp",
                                                       "strncmp",
                                                       "strlen",
                                                       "clock",
                                                       "clock_gettime",
                                                       "clock_getres",
                                                       "gettimeofday",
                                                       "time",
                                                       "times",
                                                       "getrusage",
                                                       "nanosleep",
                                                       "exit",
                                                       "_exit",
                                                       "_Exit",
                                                       "quick_exit",
                                                       "atexit",
                                                       "abort",
                                                       "fork",
                                                       "vfork",
                                                       "clone",
                                                       "kill",
                                                       "raise",
                                                       "signal",
                                                       "sigaction",
                                                       "sigaltstack",
                                                       "getpid",
                                                       "syscall",
                                                       "ptrace",
                                                       "prctl",
                                                       "open",
                                                       "openat",
                                                       "read",
                                                       "write",
                                                       "readv",
                                                       "writev",
                                                       "sendmsg",
                                                       "recvmsg",
                                                       "mmap",
                                                       "munmap",
                                                       "dlopen",
                                                       "dlsym",
                                                       "getenv",
                                                       "environ"};
  const auto starts = [&](std::string_view prefix) { return name.starts_with(prefix); };
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), starts) ||
         std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

/// `symbol` as a reader knows it. In a sandbox: a mangled name can be a bomb, too.
std::string demangle(const std::string& symbol, const std::string& nm, const CompileView& view) {
  constexpr std::size_t kLong = 400;
  std::string shown = shorten(clean_text(symbol), 1, kLong);
  if (symbol.size() > kLong || !symbol.starts_with("_Z")) return shown;
  const std::string filter = nm.substr(0, nm.size() - std::string_view("nm").size()) + "c++filt";
  SandboxLimits limits;
  limits.cpu_seconds = 2;
  limits.wall_seconds = 10;
  const SandboxResult result = view.run({filter, symbol}, view.make_out("names"), limits);
  const std::string name = trim(clean_text(result.output));
  return result.succeeded() && !name.empty() ? shorten(name, 1, kLong) : shown;
}

}  // namespace

ReservedNames::ReservedNames(const std::string& nm, const std::vector<WorkerPlan>& plans) {
  Command command;
  command.argv = {nm, "-A", "-P", "-g", "--defined-only"};
  std::set<std::string> files;
  for (const WorkerPlan& plan : plans) {
    for (const auto& input : plan.inputs) {
      if (input.extension() == ".a" || input.extension() == ".o") files.insert(input.string());
    }
  }
  if (files.empty()) return;
  command.argv.insert(command.argv.end(), files.begin(), files.end());
  command.limits.output_bytes = std::size_t{256} << 20;
  const ProcessResult result = run_process(command);
  if (!result.succeeded() || result.output_cut) {
    throw InfrastructureError(
        fmt::format("{} cannot read the kit's libraries: {}", nm, shorten(result.output, 3, 500)));
  }
  for (Symbol& symbol : parse_symbols(result.output)) {
    if (is_strong(symbol.type)) kit_.insert(std::move(symbol.name));
  }
}

std::string_view ReservedNames::owner(const std::string& symbol, char type) const {
  // Also when it is weak: the linker takes the first it meets and then never looks into the kit's library.
  if (is_system_name(symbol)) return "the system's";
  if (kit_.contains(symbol)) return "the kit's";
  // Weak ones in the kit's namespaces are its own templates and inline functions.
  if (is_strong(type) && is_reserved_namespace(outer_namespace(symbol))) return "the kit's";
  return "";
}

std::string check_symbols(const ReservedNames& names, const std::string& nm, const WorkerPlan& plan,
                          const CompileView& view) {
  std::vector<std::string> argv = {nm, "-A", "-P", "-g", "--defined-only"};
  for (const CompileStep& step : plan.compiles) argv.push_back(step.object.string());
  SandboxLimits limits;
  limits.output_bytes = std::size_t{16} << 20;
  const SandboxResult result = view.run(argv, view.make_out("names"), limits);
  if (!result.succeeded() || result.output_cut) return "the names that it defines cannot be read";
  for (const Symbol& symbol : parse_symbols(result.output)) {
    const std::string_view owner = names.owner(symbol.name, symbol.type);
    if (owner.empty()) continue;
    std::string file = "a file of src/";
    for (const CompileStep& step : plan.compiles) {
      if (std::filesystem::path(symbol.object).filename() == step.object.filename()) file = step.file;
    }
    return fmt::format("{} defines {}, which is {}: a submission may define only its own names", file,
                       demangle(symbol.name, nm, view), owner);
  }
  return "";
}

}  // namespace grader
