#include "signals.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <csignal>
#include <ctime>
#include <mutex>

#include "worker.h"

namespace kit::simt::detail {

namespace {

constexpr std::array kFaultSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr int kTimeSignal = SIGVTALRM;

std::mutex handlers_mutex;
int n_guards = 0;
std::array<struct sigaction, kFaultSignals.size()> previous_fault_actions;
struct sigaction previous_time_action;

std::uintptr_t program_counter(const void* context) {
  const auto* machine = &static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(machine->gregs[REG_RIP]);
#elif defined(__aarch64__)
  return machine->pc;
#else
  return 0;
#endif
}

void on_time(int, siginfo_t*, void* context) {
  Worker* worker = current_worker;
  // The timer fires again; a better moment will come.
  if (worker == nullptr || !worker->runs_kernel() || worker->tracer().busy()) return;
  Fault fault{.kind = FaultKind::kNeverEnds, .code_address = program_counter(context)};
  fault.other_code_address = worker->tracer().last_code_address();
  fault.value = std::llround(worker->launch()->options.max_cpu_seconds * 1000);
  worker->fail(fault);
}

void on_fault(int number, siginfo_t* info, void* context) {
  Worker* worker = current_worker;
  if (worker == nullptr || !worker->runs_kernel() || worker->tracer().busy()) {
    // Not a kernel's: back to who handled it before, and the instruction faults again.
    for (std::size_t i = 0; i < kFaultSignals.size(); ++i) {
      if (kFaultSignals[i] == number) sigaction(number, &previous_fault_actions[i], nullptr);
    }
    return;
  }
  Fault fault{.kind = number == SIGFPE ? FaultKind::kArithmeticFault : FaultKind::kSegmentationFault,
              .code_address = program_counter(context),
              .address = reinterpret_cast<std::uintptr_t>(info->si_addr)};
  fault.other_code_address = worker->tracer().last_code_address();
  fault.value = worker->is_stack_guard(fault.address) ? 1 : 0;
  worker->fail(fault);
}

struct sigaction make_action(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  // The handler leaves by a jump, so its signal must not stay blocked.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  return action;
}

// A thread's own stack for handlers (a fiber's may be the one that overflowed) and timer.
class ThreadResources {
 public:
  ThreadResources() {
    stack_t present = {};
    sigaltstack(nullptr, &present);
    if ((present.ss_flags & SS_DISABLE) != 0) {
      stack_ = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      const stack_t mine = {.ss_sp = stack_, .ss_flags = 0, .ss_size = kStackBytes};
      if (stack_ != MAP_FAILED) sigaltstack(&mine, nullptr);
    }
    struct sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kTimeSignal;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    has_timer_ = timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) == 0;
  }
  ~ThreadResources() {
    if (has_timer_) timer_delete(timer_);
    if (stack_ != MAP_FAILED) {
      const stack_t none = {.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
      sigaltstack(&none, nullptr);
      munmap(stack_, kStackBytes);
    }
  }
  ThreadResources(const ThreadResources&) = delete;
  ThreadResources& operator=(const ThreadResources&) = delete;

  void set_timer(double seconds) {
    struct itimerspec spec = {};
    spec.it_value.tv_sec = static_cast<time_t>(seconds);
    spec.it_value.tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
    if (seconds > 0) spec.it_interval.tv_nsec = 50'000'000;
    if (has_timer_) timer_settime(timer_, 0, &spec, nullptr);
  }

 private:
  static constexpr std::size_t kStackBytes = 64 * 1024;
  void* stack_ = MAP_FAILED;
  timer_t timer_ = nullptr;
  bool has_timer_ = false;
};

ThreadResources& thread_resources() {
  static thread_local ThreadResources resources;
  return resources;
}

}  // namespace

SignalGuard::SignalGuard(double max_cpu_seconds) {
  {
    const std::scoped_lock lock(handlers_mutex);
    if (n_guards++ == 0) {
      const struct sigaction fault_action = make_action(&on_fault);
      for (std::size_t i = 0; i < kFaultSignals.size(); ++i)
        sigaction(kFaultSignals[i], &fault_action, &previous_fault_actions[i]);
      const struct sigaction time_action = make_action(&on_time);
      sigaction(kTimeSignal, &time_action, &previous_time_action);
    }
  }
  thread_resources().set_timer(max_cpu_seconds);
}

SignalGuard::~SignalGuard() {
  thread_resources().set_timer(0);
  const std::scoped_lock lock(handlers_mutex);
  if (--n_guards == 0) {
    for (std::size_t i = 0; i < kFaultSignals.size(); ++i)
      sigaction(kFaultSignals[i], &previous_fault_actions[i], nullptr);
    // A timer signal may still be on its way.
    struct sigaction ignore = {};
    ignore.sa_handler = SIG_IGN;
    sigaction(kTimeSignal, &ignore, nullptr);
  }
}

}  // namespace kit::simt::detail
