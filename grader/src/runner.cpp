#include "grader/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "grader/files.h"
#include "grader/gtest_report.h"
#include "grader/machine.h"
#include "worker_run.h"

namespace grader {

namespace {

constexpr int kMaxTimeouts = 2;

/// The state that the worker threads share.
class TestRun {
 public:
  TestRun(const std::vector<TestJob>& jobs, const RunOptions& options, Progress& progress)
      : jobs_(jobs), options_(options), progress_(progress), results_(jobs.size()) {}

  /// The jobs that workers may take now.
  void start_round(bool alone) {
    round_.clear();
    next_ = 0;
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      if (jobs_[i].alone == alone) round_.push_back(i);
    }
    // The long ones first: begun last, one of them would keep a single core busy after all others are done.
    std::ranges::stable_partition(round_, [&](std::size_t i) { return jobs_[i].slow; });
  }

  /// Takes jobs of this round until there are none, or until one could not be run at all.
  void work() {
    try {
      for (std::optional<std::size_t> i = next(); i; i = next()) {
        const bool skip = out_of_patience(jobs_[*i].group);
        finish(*i, skip ? not_run(jobs_[*i]) : run(*i));
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  std::vector<TestResult> take() {
    if (error_) std::rethrow_exception(error_);
    return std::move(results_);
  }

 private:
  std::optional<std::size_t> next() {
    const std::lock_guard lock(mutex_);
    if (error_ || next_ == round_.size()) return std::nullopt;
    return round_[next_++];
  }

  bool out_of_patience(const std::string& group) {
    const std::lock_guard lock(mutex_);
    return n_timeouts_[group] >= kMaxTimeouts;
  }

  static TestResult not_run(const TestJob& job) {
    TestResult test;
    test.name = job.name;
    test.verdict = Verdict::kTimedOut;
    test.message = "not run: two tests of this task ran out of time";
    return test;
  }

  TestResult run(std::size_t i) const {
    const TestJob& job = jobs_[i];
    const std::filesystem::path report = options_.scratch / fmt::format("test-{}.json", i);
    Command command;
    command.argv = {job.binary.string(),
                    "--gtest_filter=" + job.name,
                    "--gtest_output=json:" + report.string(),
                    fmt::format("--kit_seed={}", options_.seed),
                    "--gtest_catch_exceptions=1",
                    "--gtest_color=no"};
    // Settings of the user's shell must not change what a test does. Few arenas: each reserves 64 MiB of
    // address space.
    command.environment = {{"GTEST_TOTAL_SHARDS", "1"},     {"GTEST_SHARD_INDEX", "0"},
                           {"GTEST_REPEAT", "1"},           {"GTEST_ALSO_RUN_DISABLED_TESTS", "0"},
                           {"GTEST_BREAK_ON_FAILURE", "0"}, {"GTEST_FAIL_FAST", "0"},
                           {"MALLOC_ARENA_MAX", "2"},       {"LC_ALL", "C.UTF-8"}};
    command.limits = options_.limits;
    // What measures a machine keeps every core busy, and CPU time is counted over all of them.
    if (job.alone) command.limits.cpu_seconds *= usable_cores();
    if (job.slow) {
      command.limits.cpu_seconds *= kSlowFactor;
      command.limits.wall_seconds *= kSlowFactor;
    }
    if (!job.worker.empty()) {
      return settle_checked(job, report, run_with_worker(command, job.worker, *options_.sandbox),
                            command.limits);
    }
    return settle(job, report, run_process(command), command.limits);
  }

  /// A test's result from its process and its report, which is deleted.
  static TestResult settle(const TestJob& job, const std::filesystem::path& report,
                           const ProcessResult& process, const Limits& limits) {
    const bool has_report = std::filesystem::is_regular_file(report);
    const std::string json = has_report ? read_file(report) : "";
    std::filesystem::remove(report);
    TestResult test = classify_test(job.name, process, json, limits);
    // GoogleTest opens its report when the test is over, so half a report is not the test's doing.
    const bool cannot_report =
        process.output.find("Unable to open file \"" + report.string()) != std::string::npos;
    if (cannot_report || (has_report && !is_complete_report(json))) {
      test.verdict = Verdict::kInfrastructureError;
      test.message =
          fmt::format("the test's report {} could not be written: is the disk full?", report.string());
    }
    return test;
  }

  static TestResult settle_checked(const TestJob& job, const std::filesystem::path& report,
                                   const CheckedRun& run, const Limits& limits) {
    TestResult test = settle(job, report, run.checker, limits);
    blame_worker(run, limits, test);
    return test;
  }

  void finish(std::size_t i, TestResult test) {
    const std::lock_guard lock(mutex_);
    if (test.verdict == Verdict::kTimedOut) ++n_timeouts_[jobs_[i].group];
    progress_.tested(++n_done_, static_cast<int>(jobs_.size()), test.name, test.verdict);
    results_[i] = std::move(test);
  }

  const std::vector<TestJob>& jobs_;
  const RunOptions& options_;
  Progress& progress_;
  std::mutex mutex_;  // guards all that follows
  std::vector<TestResult> results_;
  std::map<std::string, int> n_timeouts_;
  std::vector<std::size_t> round_;  // indices of jobs
  std::size_t next_ = 0;            // in round_
  int n_done_ = 0;
  std::exception_ptr error_;
};

}  // namespace

Limits test_limits(bool has_sanitizers) {
  constexpr int kCpuSeconds = 10;
  constexpr int kSanitizerSlowdown = 3;
  constexpr std::int64_t kMemoryBytes = std::int64_t{4} << 30;
  constexpr std::int64_t kFileBytes = std::int64_t{64} << 20;
  Limits limits;
  limits.cpu_seconds = has_sanitizers ? kCpuSeconds * kSanitizerSlowdown : kCpuSeconds;
  limits.wall_seconds = has_sanitizers ? 180 : 60;
  limits.address_space_bytes = has_sanitizers ? 0 : kMemoryBytes;
  limits.file_size_bytes = kFileBytes;
  return limits;
}

std::vector<TestResult> run_tests(const std::vector<TestJob>& jobs, const RunOptions& options,
                                  Progress& progress) {
  TestRun run(jobs, options, progress);
  run.start_round(/*alone=*/false);
  {
    const int n_threads = options.n_jobs > 0 ? options.n_jobs : usable_cores();
    std::vector<std::jthread> threads;
    threads.reserve(static_cast<std::size_t>(n_threads));
    for (int i = 0; i < n_threads; ++i) threads.emplace_back([&run] { run.work(); });
  }
  run.start_round(/*alone=*/true);
  run.work();
  return run.take();
}

}  // namespace grader
