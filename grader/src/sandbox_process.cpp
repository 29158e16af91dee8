#include "sandbox_process.h"

// Longer than other files: fork, limits and the end of one sandboxed process share descriptors and their
// order.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <sstream>
#include <thread>

#include "child.h"
#include "grader/error.h"
#include "grader/process.h"
#include "grader/text.h"
#include "interrupt.h"
#include "output.h"
#include "process_tree.h"
#include "sandbox_stage.h"
#include "sandbox_status.h"

namespace grader {

namespace {

using Clock = std::chrono::steady_clock;
using End = SandboxResult::End;

constexpr std::size_t kStatusBytes = 4096;  // far more than the init ever says
constexpr std::size_t kDrain = std::size_t{1} << 20;
constexpr double kForever = 3600;  // poll() may wake for nothing once an hour
constexpr double kMemoryPollSeconds = 0.02;
constexpr double kNoPidfdPollSeconds = 0.02;

/// Numbers of the descriptors in the child, before they are moved to their places.
struct ChildEnds {
  int output = -1;
  int status = -1;
  int info = -1;
};

[[noreturn]] void say_failed(int status, const char* what) {
  std::array<char, 100> line;
  const int n = std::snprintf(line.data(), line.size(), "failed %s %d\n", what, errno);
  [[maybe_unused]] const ssize_t written = ::write(status, line.data(), static_cast<std::size_t>(n));
  ::_exit(127);
}

/// Closes every descriptor from `first` on.
void close_from(int first) {
  if (::syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  const long n = std::min(::sysconf(_SC_OPEN_MAX), 65536L);
  for (int descriptor = first; descriptor < n; ++descriptor) ::close(descriptor);
}

/// Puts the descriptors where sandbox_status.h says, and closes all others, whoever opened them.
void arrange_descriptors(const ChildEnds& ends, int given) {
  constexpr int kAbove = 10;  // first out of the way of the places
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::array<int, 6> from = {
      ::fcntl(null, F_DUPFD, kAbove),        ::fcntl(ends.output, F_DUPFD, kAbove),
      ::fcntl(ends.output, F_DUPFD, kAbove), ::fcntl(given, F_DUPFD, kAbove),
      ::fcntl(ends.status, F_DUPFD, kAbove), ::fcntl(ends.info, F_DUPFD, kAbove)};
  static_assert(kGivenDescriptor == 3 && kStatusDescriptor == 4 && kInfoDescriptor == 5);
  for (std::size_t place = 0; place < from.size(); ++place) {
    if (from.at(place) >= 0)
      ::dup2(from.at(place), static_cast<int>(place));
    else
      ::close(static_cast<int>(place));
  }
  close_from(static_cast<int>(from.size()));
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

void close_descriptor(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

std::optional<std::int64_t> to_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// "child-pid" in what bwrap writes into its --info-fd; -1 when it is not there.
pid_t parse_child_pid(const std::string& info) {
  constexpr std::string_view kKey = "\"child-pid\":";
  const std::size_t at = info.find(kKey);
  if (at == std::string::npos) return -1;
  const std::size_t start = info.find_first_not_of(' ', at + kKey.size());
  const std::size_t end = info.find_first_not_of("0123456789", start);
  if (start == std::string::npos || end == std::string::npos) return -1;
  return static_cast<pid_t>(to_integer(std::string_view(info).substr(start, end - start)).value_or(-1));
}

class Process : public SandboxProcess {
 public:
  explicit Process(SandboxLaunch launch);
  ~Process() override;

  SandboxResult wait() override;
  void kill() override;

  /// Until the program runs; throws when it never does.
  void wait_for_start();

 private:
  enum class Stage { kStarting, kRunning, kEnded };

  void run() noexcept;
  void launch_child();
  [[noreturn]] void become(pid_t grader, const ChildEnds& ends, char** argv, char** environment);
  void watch();
  std::int64_t tmp_bytes() const;
  bool is_over_a_limit();
  int timeout_ms() const;
  void read_status();
  void read_info();
  void finish();
  void kill_inside();
  SandboxResult conclude(double used_seconds);
  void set_stage(Stage stage);

  SandboxLaunch launch_;
  Clock::time_point start_ = Clock::now();
  // The thread's alone, until it has ended.
  pid_t pid_ = -1;
  int pidfd_ = -1;
  pid_t inner_ = -1;  // bwrap's child, process 1 inside
  int inner_pidfd_ = -1;
  int tmp_ = -1;  // its /tmp
  int status_ = -1;
  int info_ = -1;
  std::string status_text_;
  std::string info_text_;
  std::unique_ptr<ChildOutput> output_;
  std::optional<End> stopped_;  // why we killed it
  std::int64_t polled_peak_bytes_ = 0;
  double cpu_seconds_at_kill_ = 0.0;
  // Shared.
  int wake_ = -1;   // eventfd: kill() was called
  int ended_ = -1;  // eventfd: readable at the end
  std::atomic<bool> kill_wanted_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  Stage stage_ = Stage::kStarting;
  SandboxResult result_;
  std::exception_ptr error_;
  std::thread thread_;
};

Process::Process(SandboxLaunch launch) : launch_(std::move(launch)) {
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ended_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0 || ended_ < 0) throw InfrastructureError(fmt::format("eventfd: {}", std::strerror(errno)));
  // The thread that forks is the one that stays to the end: children die with the thread that forked them.
  thread_ = std::thread([this] { run(); });
}

Process::~Process() {
  kill();
  if (thread_.joinable()) thread_.join();
  for (int* descriptor : {&wake_, &ended_, &status_, &info_, &pidfd_, &inner_pidfd_})
    close_descriptor(*descriptor);
}

void Process::kill() {
  kill_wanted_.store(true);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));
}

void Process::wait_for_start() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stage_ != Stage::kStarting; });
  if (error_) std::rethrow_exception(error_);
}

SandboxResult Process::wait() {
  std::array<pollfd, 2> events = {pollfd{ended_, POLLIN, 0}, pollfd{interrupt_descriptor(), POLLIN, 0}};
  bool interrupted = false;
  while (events[0].revents == 0 && !interrupted) {
    const int n_ready = ::poll(events.data(), events.size(), static_cast<int>(kForever * 1e3));
    if (n_ready < 0 && errno != EINTR) throw InfrastructureError("poll failed");
    interrupted = InterruptGuard::signal() != 0;
    if (n_ready <= 0) events[0].revents = 0;
  }
  if (interrupted) kill();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stage_ == Stage::kEnded; });
  if (interrupted) throw Interrupted();
  if (error_) std::rethrow_exception(error_);
  return result_;
}

void Process::set_stage(Stage stage) {
  {
    const std::lock_guard lock(mutex_);
    stage_ = stage;
  }
  changed_.notify_all();
}

void Process::run() noexcept {
  try {
    launch_child();
    watch();
    finish();
  } catch (...) {
    error_ = std::current_exception();
  }
  close_descriptor(tmp_);
  launch_.staged.clear();
  // Groups can be removed, and users given to others, only now that nobody is left.
  launch_.cgroup.reset();
  launch_.user.reset();
  set_stage(Stage::kEnded);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(ended_, &one, sizeof(one));
}

void Process::launch_child() {
  const Pipe output = make_pipe();
  output_ = std::make_unique<ChildOutput>(output.read, launch_.limits.output_bytes);
  const Pipe status = make_pipe();
  status_ = status.read;
  const Pipe info = make_pipe();
  info_ = info.read;
  for (const int end : {output.read, status.read, info.read}) ::fcntl(end, F_SETFL, O_NONBLOCK);
  std::vector<char*> argv = pointers(launch_.argv);
  std::vector<char*> environment = pointers(launch_.environment);
  const ChildEnds ends = {output.write, status.write, info.write};
  pid_ = fork_child([&](pid_t grader) { become(grader, ends, argv.data(), environment.data()); });
  const int error = errno;
  for (const int end : {output.write, status.write, info.write}) ::close(end);
  if (pid_ < 0) throw InfrastructureError(fmt::format("cannot fork: {}", std::strerror(error)));
  pidfd_ = open_pidfd(pid_);
}

/// The child's side of fork(): only what is async-signal-safe.
void Process::become(pid_t grader, const ChildEnds& ends, char** argv, char** environment) {
  start_session();
  if (launch_.cgroup) {
    for (const int entrance : launch_.cgroup->entrances())
      if (::write(entrance, "0", 1) != 1) say_failed(ends.status, "cgroup");
  }
  if (launch_.user) {
    // As root: so that the program cannot take it back.
    const int score = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    [[maybe_unused]] const ssize_t written = ::write(score, "1000", 4);
    if (!launch_.staged.empty() && !stage(launch_.staged)) say_failed(ends.status, kStagingFailed);
    if (!become_user(launch_.user->uid())) say_failed(ends.status, "user");
  }
  die_with(grader);
  arrange_descriptors(ends, launch_.descriptor);
  ::execve(argv[0], argv, environment);
  say_failed(kStatusDescriptor, "bwrap");
}

int Process::timeout_ms() const {
  double seconds = kForever;
  if (launch_.limits.wall_seconds > 0) {
    seconds = launch_.limits.wall_seconds - std::chrono::duration<double>(Clock::now() - start_).count();
    seconds = std::min(seconds, kForever);
  }
  if (!launch_.cgroup_limits_memory) seconds = std::min(seconds, kMemoryPollSeconds);
  if (pidfd_ < 0) seconds = std::min(seconds, kNoPidfdPollSeconds);
  return std::max(0, static_cast<int>(seconds * 1e3) + 1);
}

/// Memory in the sandbox's /tmp, which is in nobody's resident set: the files' contents, and the kernel's own
/// part of each, which the size of a tmpfs does not count.
std::int64_t Process::tmp_bytes() const {
  constexpr std::int64_t kBytesPerFile = 1024;
  struct statfs status = {};
  if (tmp_ < 0 || ::fstatfs(tmp_, &status) != 0) return 0;
  const auto n_blocks = static_cast<std::int64_t>(status.f_blocks - status.f_bfree);
  const auto n_files = static_cast<std::int64_t>(status.f_files - status.f_ffree);
  return n_blocks * status.f_bsize + n_files * kBytesPerFile;
}

bool Process::is_over_a_limit() {
  const SandboxLimits& limits = launch_.limits;
  const double wall_seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  if (kill_wanted_.load()) {
    stopped_ = End::kKilled;
  } else if (limits.wall_seconds > 0 && wall_seconds >= limits.wall_seconds) {
    stopped_ = End::kWallLimit;
  } else if (!launch_.cgroup_limits_memory && limits.memory_bytes > 0) {
    const std::int64_t n_bytes = usage_of_tree(pid_).resident_bytes + tmp_bytes();
    polled_peak_bytes_ = std::max(polled_peak_bytes_, n_bytes);
    if (n_bytes > limits.memory_bytes) stopped_ = End::kMemoryLimit;
  }
  return stopped_.has_value();
}

void Process::read_status() {
  std::array<char, 512> buffer;
  while (status_ >= 0) {
    const ssize_t n = ::read(status_, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) close_descriptor(status_);
    if (n <= 0) break;
    status_text_.append(buffer.data(), static_cast<std::size_t>(n));
    if (status_text_.size() > kStatusBytes) close_descriptor(status_);
  }
  if (stage_ != Stage::kStarting || !parse_status(status_text_).started) return;
  // The mounts are made now.
  if (inner_ > 1 && !launch_.cgroup_limits_memory)
    tmp_ = ::open(fmt::format("/proc/{}/root/tmp", inner_).c_str(), O_PATH | O_CLOEXEC);
  set_stage(Stage::kRunning);
}

/// Learns who is process 1 inside, to kill it directly: with it goes everything in its namespace, and bwrap
/// then tells what all of it used.
void Process::read_info() {
  std::array<char, 512> buffer;
  while (info_ >= 0) {
    const ssize_t n = ::read(info_, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    if (n > 0 && info_text_.size() < kStatusBytes)
      info_text_.append(buffer.data(), static_cast<std::size_t>(n));
    if (n == 0) close_descriptor(info_);
  }
  inner_ = parse_child_pid(info_text_);
  if (inner_ > 1 && inner_pidfd_ < 0) inner_pidfd_ = open_pidfd(inner_);
}

void Process::watch() {
  while (!has_ended(pid_) && !is_over_a_limit()) {
    std::array<pollfd, 5> events = {pollfd{pidfd_, POLLIN, 0}, pollfd{output_->descriptor(), POLLIN, 0},
                                    pollfd{status_, POLLIN, 0}, pollfd{info_, POLLIN, 0},
                                    pollfd{wake_, POLLIN, 0}};
    const int n_ready = ::poll(events.data(), events.size(), timeout_ms());
    if (n_ready < 0 && errno != EINTR) break;
    if (n_ready <= 0) continue;
    if (events[1].revents != 0) output_->drain(kDrain);
    if (events[3].revents != 0) read_info();
    if (events[2].revents != 0) read_status();
  }
}

void Process::kill_inside() {
  // Killed processes that nobody waits for are in no one's rusage.
  cpu_seconds_at_kill_ = usage_of_tree(pid_).cpu_seconds;
  if (inner_pidfd_ < 0 || ::syscall(SYS_pidfd_send_signal, inner_pidfd_, SIGKILL, nullptr, 0) != 0) {
    kill_group(pid_);  // bwrap takes its child along, as --die-with-parent says
    return;
  }
  // bwrap ends by itself now; if it does not, it is stopped or broken.
  constexpr int kPatienceMs = 5000;
  struct pollfd end = {pidfd_, POLLIN, 0};
  if (::poll(&end, 1, kPatienceMs) != 1) kill_group(pid_);
}

void Process::finish() {
  if (stopped_) kill_inside();
  if (launch_.bare) kill_group(pid_);
  struct rusage usage = {};
  const int status = collect(pid_, usage);
  // Where bwrap did not end by itself, its child has become ours.
  if (launch_.bare || WIFSIGNALED(status))
    forget_child(pid_);
  else
    forget_clean_child(pid_);
  read_status();
  output_->drain(kDrain);  // all writers are dead, so this ends; a pipe holds 64 KiB
  result_ = conclude(cpu_seconds(usage));
}

SandboxResult Process::conclude(double used_seconds) {
  SandboxResult result;
  const SandboxStatus said = parse_status(status_text_);
  result.wall_seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  result.output = output_->text();
  result.output_cut = output_->cut();
  result.cpu_seconds = said.ended ? said.cpu_seconds : std::max(used_seconds, cpu_seconds_at_kill_);
  result.peak_memory_bytes = std::max(said.max_rss_bytes, polled_peak_bytes_);
  bool out_of_memory = false;
  if (launch_.cgroup) {
    const std::int64_t peak_bytes = launch_.cgroup->peak_memory_bytes().value_or(0);
    result.peak_memory_bytes = std::max(result.peak_memory_bytes, peak_bytes);
    out_of_memory = launch_.cgroup->ran_out_of_memory();
  }
  if (!said.started && !stopped_ && !out_of_memory) {
    throw InfrastructureError(fmt::format("the sandbox did not start: {}{}{}", said.failure,
                                          said.failure.empty() || result.output.empty() ? "" : "; ",
                                          shorten(clean_text(result.output), 5, 500)));
  }
  if (said.ended) {
    result.end = said.exited ? End::kExited : End::kSignaled;
    (said.exited ? result.exit_code : result.signal) = said.number;
  } else {
    result.end = End::kSignaled;  // the init was killed, and with it the program
    result.signal = SIGKILL;
  }
  if (stopped_)
    result.end = *stopped_;
  else if (out_of_memory && !result.succeeded())
    result.end = End::kMemoryLimit;
  else if (is_cpu_limit(result.signal, result.cpu_seconds, launch_.limits.cpu_seconds))
    result.end = End::kCpuLimit;
  return result;
}

}  // namespace

SandboxStatus parse_status(const std::string& text) {
  SandboxStatus status;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && !status.ended && status.failure.empty();) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words == std::vector<std::string>{"started"}) status.started = true;
    if (words.size() == 3 && words[0] == "failed") {
      const int error = static_cast<int>(to_integer(words[2]).value_or(0));
      status.failure = fmt::format("{}: {}", words[1], std::strerror(error));
    }
    if (words.size() != 5 || words[0] != "ended" || (words[1] != "exited" && words[1] != "signaled"))
      continue;
    const auto number = to_integer(words[2]);
    const auto microseconds = to_integer(words[3]);
    const auto kibibytes = to_integer(words[4]);
    constexpr std::int64_t kMaxKibibytes = std::int64_t{1} << 50;
    if (!number || *number > 255 || !microseconds || !kibibytes || *kibibytes > kMaxKibibytes) continue;
    status.ended = true;
    status.exited = words[1] == "exited";
    status.number = static_cast<int>(*number);
    status.cpu_seconds = static_cast<double>(*microseconds) * 1e-6;
    status.max_rss_bytes = *kibibytes * 1024;
  }
  return status;
}

std::unique_ptr<SandboxProcess> start_sandbox(SandboxLaunch launch) {
  auto process = std::make_unique<Process>(std::move(launch));
  process->wait_for_start();
  return process;
}

}  // namespace grader
