#include "grader/machine.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <sstream>

#include "grader/build.h"
#include "grader/text.h"

namespace grader {

namespace {

/// The value of the first line of `file` that starts with `key`, behind `separator`; "" when there is none.
std::string lookup(const std::string& file, const std::string& key, char separator) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t at = line.find(separator);
    if (at != std::string::npos && trim(line.substr(0, at)) == key) return trim(line.substr(at + 1));
  }
  return "";
}

std::string cpu_name() {
  const std::string name = lookup("/proc/cpuinfo", "model name", ':');
  return name.empty() ? "unknown" : clean_text(name);
}

std::string system_name() {
  std::string name = lookup("/etc/os-release", "PRETTY_NAME", '=');
  std::erase(name, '"');
  return name.empty() ? "unknown" : clean_text(name);
}

/// "GNU 12.2.0" from the file that CMake keeps about the compiler it found.
std::string compiler_name(const std::filesystem::path& build_dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(build_dir / "CMakeFiles", error)) {
    std::ifstream stream(entry.path() / "CMakeCXXCompiler.cmake");
    std::string id;
    std::string version;
    for (std::string line; std::getline(stream, line);) {
      const std::size_t quote = line.find('"');
      if (quote == std::string::npos) continue;
      const std::string value = line.substr(quote + 1, line.rfind('"') - quote - 1);
      if (line.starts_with("set(CMAKE_CXX_COMPILER_ID ")) id = value;
      if (line.starts_with("set(CMAKE_CXX_COMPILER_VERSION ")) version = value;
    }
    if (!id.empty()) return fmt::format("{} {}", id, version);
  }
  return "unknown";
}

}  // namespace

int usable_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(CPU_COUNT(&set), 1);
}

std::int64_t total_memory_bytes() {
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

std::int64_t available_memory_bytes() {
  const std::string value = lookup("/proc/meminfo", "MemAvailable", ':');
  return value.empty() ? total_memory_bytes() : std::strtoll(value.c_str(), nullptr, 10) * 1024;
}

std::vector<std::string> cpu_flags() {
  std::string line = lookup("/proc/cpuinfo", "flags", ':');
  if (line.empty()) line = lookup("/proc/cpuinfo", "Features", ':');  // ARM
  std::istringstream stream(line);
  std::vector<std::string> flags;
  for (std::string flag; stream >> flag;) flags.push_back(flag);
  return flags;
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

Machine describe_machine(const std::filesystem::path& build_dir) {
  Machine machine;
  machine.cpu = cpu_name();
  machine.n_cores = usable_cores();
  machine.memory_bytes = total_memory_bytes();
  machine.system = system_name();
  machine.compiler = compiler_name(build_dir);
  machine.build_type = lookup((build_dir / "CMakeCache.txt").string(), "CMAKE_BUILD_TYPE:STRING", '=');
  if (lookup((build_dir / "CMakeCache.txt").string(), "KIT_SANITIZE:BOOL", '=') == "ON") {
    machine.build_type += " with sanitizers";
  }
  return machine;
}

}  // namespace grader
