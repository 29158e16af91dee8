// Tries to break out of a sandbox in one way, named on its command line, for `grader doctor` and the tests.
// Does no harm where it succeeds. Prints what it managed to do, and nothing when it managed nothing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Arguments = std::vector<std::string>;

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::size_t number(const Arguments& arguments, std::size_t index) {
  return index < arguments.size() ? std::strtoull(arguments[index].c_str(), nullptr, 10) : 0;
}

void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

[[noreturn]] void sleep_forever() {
  while (true) ::pause();
}

[[noreturn]] void spin() {
  volatile unsigned counter = 0;
  while (true) counter = counter + 1;
}

/// COUNT: says how many processes it could start.
void fork_many(const Arguments& arguments) {
  std::size_t n = 0;
  for (; n < number(arguments, 0); ++n) {
    const pid_t pid = ::fork();
    if (pid < 0) break;
    if (pid == 0) sleep_forever();
  }
  say(std::to_string(n));
}

/// Every process starts two, without end.
[[noreturn]] void fork_bomb(const Arguments& /*arguments*/) {
  while (true) [[maybe_unused]] const pid_t pid = ::fork();
}

void touch_memory(std::size_t n_bytes) {
  void* memory = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::exit(3);
  std::memset(memory, 'x', n_bytes);
  ::usleep(200'000);  // a watchdog may come by only now and then
}

/// MIB
void take_memory(const Arguments& arguments) {
  touch_memory(number(arguments, 0) * kMiB);
  say("got it");
}

/// MIB COUNT: as many processes, each with so much.
void take_memory_together(const Arguments& arguments) {
  const std::size_t n = number(arguments, 1);
  for (std::size_t i = 0; i < n; ++i) {
    if (::fork() != 0) continue;
    touch_memory(number(arguments, 0) * kMiB);
    ::_exit(0);
  }
  std::size_t n_good = 0;
  for (int status = 0; ::wait(&status) > 0;) n_good += status == 0 ? 1 : 0;
  if (n_good == n) say("got it");
  if (n_good != n) std::exit(3);
}

/// MIB: in the shared memory of nobody.
void take_hidden_memory(const Arguments& arguments) {
  const int file = ::memfd_create("hidden", 0);
  const std::string block(kMiB, 'x');
  for (std::size_t i = 0; file >= 0 && i < number(arguments, 0); ++i) {
    if (::write(file, block.data(), block.size()) <= 0) return;
  }
  if (file >= 0) say("got it");
}

std::size_t write_file(const std::string& name, std::size_t n_mib) {
  const int file = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
  ::unlink(name.c_str());
  const std::string block(kMiB, 'x');
  std::size_t n_bytes = 0;
  while (n_bytes < n_mib * kMiB) {
    const ssize_t n = ::write(file, block.data(), block.size());
    if (n <= 0) break;
    n_bytes += static_cast<std::size_t>(n);
  }
  return n_bytes;  // the file stays open, and so on the disk
}

/// MIB: one file.
void write_big_file(const Arguments& arguments) {
  if (write_file("/tmp/grader-probe-big", number(arguments, 0)) == number(arguments, 0) * kMiB) say("got it");
}

/// MIB: in files of one each.
void fill_tmp(const Arguments& arguments) {
  std::size_t n_bytes = 0;
  for (std::size_t i = 0; i < number(arguments, 0); ++i)
    n_bytes += write_file("/tmp/grader-probe-" + std::to_string(i), 1);
  say(std::to_string(n_bytes));
}

/// COUNT: empty files, which need memory too.
void make_files(const Arguments& arguments) {
  std::size_t n = 0;
  for (; n < number(arguments, 0); ++n) {
    const int file = ::open(("/tmp/grader-probe-" + std::to_string(n)).c_str(), O_CREAT | O_WRONLY, 0600);
    if (file < 0) break;
    ::close(file);
  }
  say(std::to_string(n));
}

[[noreturn]] void flood(const Arguments& /*arguments*/) {
  const std::string line(999, 'y');
  while (true) std::puts(line.c_str());
}

/// PORT on the host's loopback.
void reach_network(const Arguments& arguments) {
  // Two lines of heading, then NAME: and numbers. Needs no socket, which is refused already.
  std::ifstream stream("/proc/net/dev");
  int n_heading = 2;
  for (std::string line; std::getline(stream, line);) {
    if (n_heading-- > 0) continue;
    const std::size_t start = line.find_first_not_of(' ');
    const std::string name = line.substr(start, line.find(':') - start);
    if (name != "lo") say("interface " + name);
  }
  struct sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(number(arguments, 0)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::connect(socket, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) == 0)
    say("the host's port " + arguments.at(0));
}

/// PATH...: files that there are, and new ones in folders.
void open_for_writing(const Arguments& arguments) {
  for (const std::string& path : arguments) {
    const bool is_folder = std::filesystem::is_directory(path);
    const std::string name = is_folder ? path + "/grader-probe" : path;
    const int file = ::open(name.c_str(), is_folder ? O_CREAT | O_EXCL | O_WRONLY : O_WRONLY, 0600);
    if (file < 0) continue;
    say(path);
    ::close(file);
    if (is_folder) ::unlink(name.c_str());
  }
}

/// PATH...
void see(const Arguments& arguments) {
  for (const std::string& path : arguments) {
    if (::access(path.c_str(), F_OK) == 0) say(path);
  }
}

/// Processes that are neither the init nor itself.
void see_processes(const Arguments& /*arguments*/) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (name != std::to_string(::getpid()) && name != std::to_string(::getppid())) say("process " + name);
  }
}

/// Variables besides PATH and LC_ALL.
void see_environment(const Arguments& /*arguments*/) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("PATH=") && !text.starts_with("LC_ALL="))
      say(std::string(text.substr(0, text.find('='))));
  }
}

void use_capabilities(const Arguments& /*arguments*/) {
  std::ifstream stream("/proc/self/status");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("Cap") && line.find_first_not_of('0', line.find('\t') + 1) != std::string::npos)
      say(line);
    if (line == "NoNewPrivs:\t0") say("new privileges");
  }
  if (::geteuid() == 0) say("root");
}

void make_namespace(const Arguments& /*arguments*/) {
  if (::syscall(SYS_unshare, CLONE_NEWUSER) == 0) say("unshare");
  const long pid = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) ::_exit(0);
  if (pid > 0) say("clone");
}

/// Tampers with the init, which is its parent.
void tamper(const Arguments& /*arguments*/) {
  const pid_t init = ::getppid();
  const std::string folder = "/proc/" + std::to_string(init);
  if (::ptrace(PTRACE_ATTACH, init, nullptr, nullptr) == 0) {
    say("ptrace");
    ::waitpid(init, nullptr, 0);
    ::ptrace(PTRACE_DETACH, init, nullptr, nullptr);
  }
  if (::open((folder + "/mem").c_str(), O_RDWR) >= 0) say("mem");
  if (::open((folder + "/fd/4").c_str(), O_WRONLY) >= 0) say("status descriptor");
  char byte = 0;
  struct iovec here = {&byte, 1};
  struct iovec there = {reinterpret_cast<void*>(&tamper), 1};
  if (::process_vm_readv(init, &here, 1, &there, 1, 0) == 1 || errno == EFAULT) say("process_vm_readv");
}

/// Sends the init all signals, as a program in its own process namespace may.
void kill_init(const Arguments& /*arguments*/) {
  for (int signal = 1; signal < NSIG; ++signal) ::kill(1, signal);
  ::usleep(100'000);
  say("still here");
}

/// Leaves a process behind, out of its session, which keeps descriptor 3 open.
void survive(const Arguments& /*arguments*/) {
  std::array<int, 2> ready = {-1, -1};
  if (::pipe(ready.data()) != 0 || ::fork() != 0) {
    char byte = 0;
    [[maybe_unused]] const ssize_t n = ::read(ready[0], &byte, 1);
    return;
  }
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  [[maybe_unused]] const ssize_t n = ::write(ready[1], "x", 1);
  sleep_forever();
}

/// Answers on descriptor 3, once, with how many other descriptors there are.
void answer(const Arguments& /*arguments*/) {
  int n_others = 0;
  for (int descriptor = 4; descriptor < 1024; ++descriptor)
    n_others += ::fcntl(descriptor, F_GETFD) >= 0 ? 1 : 0;
  char byte = 0;
  if (::read(3, &byte, 1) != 1) std::exit(1);
  byte = static_cast<char>(byte + 1 + n_others);
  if (::write(3, &byte, 1) != 1) std::exit(1);
}

const std::map<std::string_view, void (*)(const Arguments&)> kProbes = {
    {"fork", fork_many},
    {"forkbomb", fork_bomb},
    {"memory", take_memory},
    {"memory-together", take_memory_together},
    {"memory-hidden", take_hidden_memory},
    {"big-file", write_big_file},
    {"fill-tmp", fill_tmp},
    {"files", make_files},
    {"spin", [](const Arguments&) { spin(); }},
    {"spin-stubborn", [](const Arguments&) { ::signal(SIGXCPU, SIG_IGN), spin(); }},
    {"sleep", [](const Arguments&) { sleep_forever(); }},
    {"flood", flood},
    {"network", reach_network},
    {"write", open_for_writing},
    {"see", see},
    {"processes", see_processes},
    {"environment", see_environment},
    {"capabilities", use_capabilities},
    {"namespace", make_namespace},
    {"tamper", tamper},
    {"kill-init", kill_init},
    {"survive", survive},
    {"answer", answer},
    {"signal", [](const Arguments& arguments) { ::raise(static_cast<int>(number(arguments, 0))); }},
    {"exit", [](const Arguments& arguments) { ::_exit(static_cast<int>(number(arguments, 0))); }},
    {"folder", [](const Arguments&) { say(std::filesystem::current_path().string()); }},
};

}  // namespace

int main(int argc, char** argv) {
  const auto found = kProbes.find(argc > 1 ? argv[1] : "");
  if (found == kProbes.end()) return 2;
  found->second(Arguments(argv + 2, argv + argc));
  return 0;
}
