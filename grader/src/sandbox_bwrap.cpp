#include "sandbox_bwrap.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "grader/error.h"
#include "grader/process.h"
#include "grader/text.h"
#include "sandbox_status.h"
#include "sandbox_user.h"

namespace grader {

namespace {

/// First program of this name in PATH; empty when there is none.
std::filesystem::path find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::filesystem::path program = std::filesystem::path(folder) / name;
    if (program.is_absolute() && ::access(program.c_str(), X_OK) == 0) return program;
  }
  return {};
}

std::string output_of(const std::vector<std::string>& argv) {
  constexpr double kPatience = 20;
  Command command;
  command.argv = argv;
  command.limits.wall_seconds = kPatience;
  return run_process(command).output;
}

/// The system's programs and libraries: /usr, and the old names of its folders, which are links on most
/// systems.
void add_system(std::vector<std::string>& argv) {
  const auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
  add({"--ro-bind", "/usr", "/usr"});
  for (const std::string folder : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::error_code error;
    if (std::filesystem::is_symlink(folder, error)) {
      add({"--symlink", std::filesystem::read_symlink(folder, error).string(), folder});
    } else if (std::filesystem::is_directory(folder, error)) {
      add({"--ro-bind", folder, folder});
    }
  }
  // What the compiler and the loader look at. No passwd and no hosts: nobody's names are anybody's business.
  for (const std::string file :
       {"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime"})
    add({"--ro-bind-try", file, file});
}

void check_mount(const Mount& mount) {
  const bool climbs = std::find(mount.inside.begin(), mount.inside.end(), "..") != mount.inside.end();
  if (!mount.inside.is_absolute() || climbs || mount.inside == "/") {
    throw InfrastructureError(fmt::format("cannot show {} as {}: not an absolute path below /",
                                          mount.host.string(), mount.inside.string()));
  }
}

/// `text` with `from` replaced by `to` wherever it stands as a whole path or as the beginning of one.
std::string replace_path(const std::string& text, const std::string& from, const std::string& to) {
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + 1)) {
    const std::size_t end = at + from.size();
    // -I/inside and a=/inside begin with a path, /else/inside and name/inside do not.
    const bool is_option = text.starts_with('-') && at == 2;
    const bool begins =
        at == 0 || is_option || (text[at - 1] != '/' && kName.find(text[at - 1]) == kName.npos);
    const bool ends = end == text.size() || kName.find(text[end]) == kName.npos;
    if (!begins || !ends) continue;
    result += text.substr(done, at - done) + to;
    done = end;
  }
  return result + text.substr(done);
}

}  // namespace

Bubblewrap find_bubblewrap() {
  Bubblewrap bwrap;
  bwrap.program = find_program("bwrap");
  if (bwrap.program.empty()) {
    throw InfrastructureError(
        "no bubblewrap here, which locks submissions in: install the package bubblewrap");
  }
  std::istringstream version(output_of({bwrap.program, "--version"}));
  std::string name;
  version >> name >> bwrap.version;
  const std::string help = output_of({bwrap.program, "--help"});
  if (help.find("--unshare-user") == std::string::npos) {
    throw InfrastructureError(
        fmt::format("{} does not run here: {}", bwrap.program.string(), shorten(clean_text(help), 2, 200)));
  }
  for (const char* option : {"--as-pid-1", "--size", "--clearenv", "--info-fd", "--remount-ro"}) {
    if (help.find(option) != std::string::npos) continue;
    throw InfrastructureError(fmt::format("{} {} has no {}: install bubblewrap 0.8 or newer",
                                          bwrap.program.string(), bwrap.version, option));
  }
  struct stat status = {};
  bwrap.setuid = ::stat(bwrap.program.c_str(), &status) == 0 && (status.st_mode & S_ISUID) != 0;
  bwrap.disables_userns = !bwrap.setuid && help.find("--disable-userns") != std::string::npos;
  return bwrap;
}

std::filesystem::path find_helper(const std::string& name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path built = std::filesystem::path(GRADER_HELPERS) / name;
  for (const std::filesystem::path& place : {self.parent_path() / name, built}) {
    if (::access(place.c_str(), X_OK) == 0) return place;
  }
  throw InfrastructureError(fmt::format("{} is missing: build the target {}", built.string(), name));
}

std::vector<std::string> bwrap_command(const Bubblewrap& bwrap, const std::filesystem::path& init,
                                       const SandboxCommand& command) {
  std::vector<std::string> argv = {bwrap.program.string()};
  const auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
  add({"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts",
       "--unshare-cgroup-try"});
  if (bwrap.disables_userns) add({"--disable-userns"});
  add({"--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox",
       "--info-fd", std::to_string(kInfoDescriptor)});
  add_system(argv);
  add({"--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"});
  if (command.limits.tmp_bytes > 0)
    add({"--size", std::to_string(command.limits.tmp_bytes), "--tmpfs", "/tmp"});
  else
    add({"--dir", "/tmp"});
  add({"--ro-bind", init.string(), kInitInside});
  for (const Mount& mount : command.mounts) {
    check_mount(mount);
    add({mount.writable ? "--bind" : "--ro-bind", mount.host.string(), mount.inside.string()});
  }
  add({"--remount-ro", "/", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL",
       "C.UTF-8"});
  for (const auto& [name, value] : command.environment) add({"--setenv", name, value});
  add({"--", kInitInside});
  const std::vector<std::string> arguments = init_arguments(command, false);
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

std::vector<std::string> init_arguments(const SandboxCommand& command, bool bare) {
  const SandboxLimits& limits = command.limits;
  std::vector<std::string> arguments = {
      fmt::format("cpu={}", limits.cpu_seconds), fmt::format("fsize={}", limits.file_size_bytes),
      fmt::format("as={}", limits.address_space_bytes), fmt::format("folder={}", command.folder)};
  // Without a user namespace this would count everything that the grader's user runs.
  if (bare)
    arguments.emplace_back("bare");
  else
    arguments.push_back(fmt::format("processes={}", limits.processes + threads_counted_outside()));
  if (command.descriptor >= 0) arguments.emplace_back("given");
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), command.argv.begin(), command.argv.end());
  return arguments;
}

SandboxCommand on_host(const SandboxCommand& command) {
  SandboxCommand result = command;
  std::vector<Mount> mounts = command.mounts;
  std::sort(mounts.begin(), mounts.end(), [](const Mount& a, const Mount& b) {
    return a.inside.string().size() > b.inside.string().size();
  });
  for (const Mount& mount : mounts) {
    const std::string from = mount.inside.string();
    const std::string to = mount.host.string();
    if (from == to) continue;
    for (std::string& argument : result.argv) argument = replace_path(argument, from, to);
    for (auto& [name, value] : result.environment) value = replace_path(value, from, to);
    result.folder = replace_path(result.folder, from, to);
  }
  result.mounts.clear();
  return result;
}

}  // namespace grader
