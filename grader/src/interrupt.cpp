#include "interrupt.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "grader/error.h"
#include "grader/process.h"

namespace grader {

namespace {

constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};

// All that a signal handler may touch.
std::atomic<int> event{-1};
std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free);

// Written only by the thread that holds the guard.
std::array<struct sigaction, kSignals.size()> previous;

extern "C" void on_signal(int number) {
  const int saved_errno = errno;
  received.store(number);
  const std::uint64_t one = 1;
  // eventfd wakes every poll() at once and stays readable; a failed write leaves `received` to be seen.
  [[maybe_unused]] const ssize_t written = ::write(event.load(), &one, sizeof(one));
  errno = saved_errno;
}

}  // namespace

int interrupt_descriptor() {
  return event.load();
}

void throw_if_interrupted() {
  if (received.load() != 0) throw Interrupted();
}

InterruptGuard::InterruptGuard() {
  received.store(0);
  event.store(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (event.load() < 0) throw InfrastructureError(fmt::format("eventfd: {}", std::strerror(errno)));
  struct sigaction action = {};
  action.sa_handler = on_signal;
  // A second Ctrl-C ends the grader at once, should tidying up hang.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals.at(i), &action, &previous.at(i));
}

InterruptGuard::~InterruptGuard() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals.at(i), &previous.at(i), nullptr);
  ::close(event.exchange(-1));
  received.store(0);
}

int InterruptGuard::signal() {
  return received.load();
}

}  // namespace grader
