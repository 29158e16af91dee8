// A program that does one bad thing, named on its command line. For the tests of the grader's limits.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

volatile unsigned counter = 0;

[[noreturn]] void spin() {
  while (true) counter = counter + 1;
}

[[noreturn]] void sleep_forever() {
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// Leaves a process behind and tells its number. With `detach` it also leaves the session.
void leave_child(bool detach) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (detach) ::setsid();
    sleep_forever();
  }
  std::printf("%d\n", static_cast<int>(pid));
}

void allocate() {
  constexpr std::size_t kBytes = std::size_t{100} << 30;
  try {
    std::vector<char> memory(kBytes, 'x');
    std::printf("got it: %c\n", memory[kBytes / 2]);
  } catch (const std::bad_alloc&) {
    std::puts("std::bad_alloc");
    std::exit(3);
  }
}

[[noreturn]] void flood() {
  const std::string line(999, 'y');
  while (true) std::puts(line.c_str());
}

void write_big_file(const char* name) {
  std::ofstream file(name, std::ios::binary);
  const std::string block(1 << 20, 'z');
  for (int i = 0; i < 1024 && file; ++i) file << block << std::flush;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "spin") spin();
  if (mode == "spin_ignoring_sigxcpu") {
    ::signal(SIGXCPU, SIG_IGN);
    spin();
  }
  if (mode == "sleep") sleep_forever();
  if (mode == "allocate") allocate();
  if (mode == "segfault") ::raise(SIGSEGV);
  if (mode == "abort") std::abort();
  if (mode == "flood") flood();
  if (mode == "linger") leave_child(false);
  if (mode == "detach") leave_child(true);
  if (mode == "write_big_file" && argc > 2) write_big_file(argv[2]);
  if (mode == "exit" && argc > 2) std::exit(std::atoi(argv[2]));
  if (mode == "environment" && argc > 2) {
    const char* value = std::getenv(argv[2]);
    std::puts(value == nullptr ? "(unset)" : value);
  }
  return 0;
}
