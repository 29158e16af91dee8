#include "grader/record_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <exception>
#include <mutex>
#include <set>
#include <thread>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/machine.h"
#include "grader/process.h"
#include "grader/text.h"
#include "object_cache.h"
#include "record_build_plan.h"
#include "record_build_symbols.h"
#include "record_build_view.h"

namespace grader {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxMessageLines = 12;
constexpr std::size_t kMaxMessageBytes = 2000;

/// What went wrong and whose fault it is.
struct Trouble {
  Verdict verdict = Verdict::kPassed;
  std::string message;
};

/// The limit that a compiler ran into; no message when it is none. A limit ends the compiler proper, and what
/// the driver says about that is all that shows outside.
Trouble find_limit(const SandboxResult& result, const SandboxLimits& limits) {
  using End = SandboxResult::End;
  const auto said = [&](std::initializer_list<std::string_view> signs) {
    return std::any_of(signs.begin(), signs.end(),
                       [&](std::string_view sign) { return result.output.find(sign) != std::string::npos; });
  };
  const bool failed = !result.succeeded();
  if (result.end == End::kCpuLimit || (failed && said({"CPU time limit exceeded"})))
    return {Verdict::kTimedOut, fmt::format("{} s of CPU time", limits.cpu_seconds)};
  if (result.end == End::kWallLimit)
    return {Verdict::kTimedOut, fmt::format("{:.0f} s", limits.wall_seconds)};
  const std::string memory =
      fmt::format("{} of memory", format_bytes(static_cast<double>(limits.memory_bytes)));
  if (result.end == End::kMemoryLimit ||
      (failed &&
       said({"out of memory allocating", "virtual memory exhausted", "Killed signal terminated",
             "Cannot allocate memory", "memory exhausted", "bad_alloc", "LLVM ERROR: out of memory"})))
    return {Verdict::kCrashed, memory};
  if (failed && said({"File size limit exceeded", "File too large", "No space left on device"}))
    return {Verdict::kCrashed,
            fmt::format("{} of output", format_bytes(static_cast<double>(limits.file_size_bytes)))};
  return {};
}

/// Builds the workers of all labs, file by file.
class WorkerBuilder {
 public:
  WorkerBuilder(const BuildTree& tree, std::vector<WorkerPlan> plans, const fs::path& staging,
                const fs::path& scratch, const Sandbox& sandbox, Progress& progress,
                const SandboxLimits& limits, const ObjectCache& cache)
      : tree_(tree),
        limits_(limits),
        cache_(cache),
        plans_(std::move(plans)),
        staging_(staging),
        scratch_(scratch),
        progress_(progress),
        view_(tree, plans_, staging, scratch, sandbox),
        nm_(nm_program()),
        names_(nm_, plans_) {
    for (std::size_t lab = 0; lab < plans_.size(); ++lab) {
      for (std::size_t i = 0; i < plans_[lab].compiles.size(); ++i) steps_.push_back({lab, i, {}});
      builds_.push_back({plans_[lab].lab, {}, Verdict::kPassed, ""});
      headers_.push_back(cache_.is_on() ? headers_of(plans_[lab]) : "");
    }
  }

  std::vector<WorkerBuild> build() {
    n_steps_ = static_cast<int>(steps_.size() + plans_.size());
    in_parallel(steps_.size(), [&](std::size_t i) { compile(steps_[i]); });
    for (std::size_t lab = 0; lab < plans_.size(); ++lab) collect_trouble(lab);
    in_parallel(plans_.size(), [&](std::size_t lab) { finish(lab); });
    return builds_;
  }

 private:
  struct Step {
    std::size_t lab;
    std::size_t index;
    Trouble trouble;
  };

  std::string nm_program() const {
    const std::string nm = tree_.cache_value("CMAKE_NM");
    return nm.starts_with("/usr/") && nm.ends_with("/nm") ? nm : "/usr/bin/nm";
  }

  /// Calls work(0) to work(n - 1), as many at a time as there are cores; throws the first exception.
  template <typename Work>
  void in_parallel(std::size_t n, const Work& work) {
    std::atomic<std::size_t> next = 0;
    std::exception_ptr failure;
    const auto run = [&] {
      for (std::size_t i = next++; i < n; i = next++) {
        try {
          work(i);
          const std::lock_guard lock(mutex_);
          progress_.built(++n_done_, n_steps_);
        } catch (...) {
          const std::lock_guard lock(mutex_);
          if (!failure) failure = std::current_exception();
          next = n;
        }
      }
    };
    std::vector<std::jthread> threads;
    const auto n_threads = std::min(n, static_cast<std::size_t>(usable_cores()));
    for (std::size_t i = 0; i < n_threads; ++i) threads.emplace_back(run);
    threads.clear();
    if (failure) std::rethrow_exception(failure);
  }

  /// What every object of a lab depends on: the kit's headers. Those outside of the tree belong to the
  /// compiler.
  std::string headers_of(const WorkerPlan& plan) const {
    std::string digests;
    for (const fs::path& include : plan.includes) {
      const bool is_ours = is_inside(include, tree_.root()) || is_inside(include, tree_.folder());
      if (is_ours && fs::is_directory(include))
        digests += fmt::format("{} {:016x}\n", include.string(), digest_of_folder(include));
    }
    return digests;
  }

  /// The file itself, and all that were handed in with it where it names another one: it may include it.
  std::string sources_of(const WorkerPlan& plan, const CompileStep& command) const {
    const fs::path src = staging_ / plan.folder / "src";
    const std::string own = read_file(src / fs::path(command.file).filename());
    std::string all;
    bool names_another = false;
    std::vector<fs::path> files(fs::directory_iterator{src}, {});
    std::ranges::sort(files);
    for (const fs::path& file : files) {
      const std::string name = file.filename().string();
      const std::string text = read_file(file);
      all += fmt::format("{} {}\n", name, text.size()) + text;
      names_another = names_another || ("src/" + name != command.file && own.find(name) != std::string::npos);
    }
    return names_another ? all : own;
  }

  /// Everything that the object of one command depends on.
  std::string inputs_of(const Step& step, const std::vector<std::string>& argv) const {
    if (!cache_.is_on()) return "";
    std::string inputs;
    for (const std::string& word : argv) inputs += word + "\n";
    std::error_code error;
    const fs::path compiler = fs::canonical(argv.front(), error);
    const auto changed = fs::last_write_time(compiler, error).time_since_epoch().count();
    inputs += fmt::format("{} {} {}\n", compiler.string(), fs::file_size(compiler, error), changed);
    const WorkerPlan& plan = plans_[step.lab];
    return inputs + headers_[step.lab] + sources_of(plan, plan.compiles[step.index]);
  }

  void compile(Step& step) {
    // A bomb in every file would take the limit times their number.
    if (is_given_up(step.lab)) return;
    const CompileStep& command = plans_[step.lab].compiles[step.index];
    const std::string name = command.object.filename().string();
    const fs::path out = view_.make_out(fmt::format("{}-{}", plans_[step.lab].lab, step.index));
    std::vector<std::string> argv = command.argv;
    // No warnings and few errors: what matters must not drown, and both may be endless.
    argv.insert(argv.end(), {"-w", "-fmax-errors=20", "-o", fmt::format("{}/{}", kOutInside, name)});
    const std::string inputs = inputs_of(step, argv);
    if (cache_.fetch(inputs, out / name) && view_.keep(out / name, command.object)) return;
    const SandboxResult result = view_.run(argv, out, limits_);
    if (result.succeeded() && fs::symlink_status(out / name).type() == fs::file_type::regular)
      cache_.keep(inputs, out / name);
    if (result.succeeded() && view_.keep(out / name, command.object)) return;
    step.trouble = find_trouble(result, limits_, "compiler", command.file);
    if (step.trouble.verdict != Verdict::kFailed) give_up(step.lab);
    if (step.trouble.verdict == Verdict::kFailed) require_stub_compiles(argv, out, command);
  }

  /// What to say of a compiler or linker that failed at `file`.
  Trouble find_trouble(const SandboxResult& result, const SandboxLimits& limits, std::string_view program,
                       const std::string& file) const {
    constexpr int kCannotStart = 126;  // and 127: the shells' word for a program that is not there
    const bool no_program = result.end == SandboxResult::End::kExited && result.exit_code >= kCannotStart;
    if (no_program) {
      throw InfrastructureError(fmt::format("the compiler does not run in the sandbox: {}",
                                            shorten(view_.words_of(result), 3, 500)));
    }
    Trouble limit = find_limit(result, limits);
    if (!limit.message.empty()) {
      require_disk_space();
      return {limit.verdict,
              fmt::format("the {} used up its limit of {} on {}", program, limit.message, file)};
    }
    if (result.end == SandboxResult::End::kSignaled) {
      return {Verdict::kCrashed,
              fmt::format("the {} crashed on {}: {}", program, file, describe_signal(result.signal))};
    }
    // A submission has no say in what is linked: a library that is not there is none of its.
    if (result.output.starts_with("/usr/bin/ld: cannot find ")) {
      throw InfrastructureError(shorten(view_.words_of(result), 3, 500));
    }
    std::string words = first_errors(view_.words_of(result), tree_.root());
    if (words.empty()) words = fmt::format("the {} made nothing of {}", program, file);
    return {Verdict::kFailed, std::move(words)};
  }

  void require_disk_space() const {
    std::error_code error;
    const fs::space_info space = fs::space(scratch_, error);
    constexpr std::uintmax_t kLittle = std::uintmax_t{64} << 20;
    if (!error && space.available < kLittle) {
      throw InfrastructureError(fmt::format("the disk of {} is full", scratch_.string()));
    }
  }

  /// A header that the sandbox lacks looks like a student's error, but the stub has it, too.
  void require_stub_compiles(const std::vector<std::string>& argv, const fs::path& out,
                             const CompileStep& command) const {
    // Without a sandbox a wrapper names its file where the copy is: there is no other one to look at.
    if (command.is_wrapper && !view_.is_locked_in()) return;
    const SandboxResult result = view_.run_on_stubs(argv, out, limits_);
    if (result.succeeded()) return;
    throw InfrastructureError(fmt::format("even the stub of {} does not compile in the sandbox:\n{}",
                                          command.file, first_errors(view_.words_of(result), tree_.root())));
  }

  bool is_given_up(std::size_t lab) const {
    const std::lock_guard lock(mutex_);
    return given_up_.contains(lab);
  }

  void give_up(std::size_t lab) {
    const std::lock_guard lock(mutex_);
    given_up_.insert(lab);
  }

  void set_trouble(std::size_t lab, const Trouble& trouble) {
    builds_[lab].verdict = worst(std::array{builds_[lab].verdict, trouble.verdict});
    std::string& message = builds_[lab].message;
    message += (message.empty() ? "" : "\n") + trouble.message;
    message = shorten(message, kMaxMessageLines, kMaxMessageBytes);
  }

  void collect_trouble(std::size_t lab) {
    for (const Step& step : steps_) {
      if (step.lab == lab && !step.trouble.message.empty()) set_trouble(lab, step.trouble);
    }
  }

  /// Checks the names of a lab's objects, and links it.
  void finish(std::size_t lab) {
    if (builds_[lab].verdict != Verdict::kPassed) return;
    const WorkerPlan& plan = plans_[lab];
    const std::string reserved = check_symbols(names_, nm_, plan, view_);
    if (!reserved.empty()) return set_trouble(lab, {Verdict::kFailed, reserved});
    const fs::path out = view_.make_out(plan.lab);
    const std::string name = plan.lab + "_worker";
    std::vector<std::string> argv = plan.link;
    argv.insert(argv.end(), {"-o", fmt::format("{}/{}", kOutInside, name)});
    SandboxLimits limits = limits_;
    limits.file_size_bytes *= 4;  // all of the kit with its debug information
    const SandboxResult result = view_.run(argv, out, limits);
    const fs::path program = scratch_ / name;
    if (!result.succeeded()) return set_trouble(lab, find_trouble(result, limits, "linker", "its objects"));
    if (!view_.keep(out / name, program)) {
      return set_trouble(lab, {Verdict::kFailed, "the linker made nothing of its objects"});
    }
    builds_[lab].program = program;
  }

  const BuildTree& tree_;
  SandboxLimits limits_;
  const ObjectCache& cache_;
  std::vector<WorkerPlan> plans_;
  std::vector<std::string> headers_;  // by lab, for the cache
  fs::path staging_;
  fs::path scratch_;
  Progress& progress_;
  CompileView view_;
  std::string nm_;
  ReservedNames names_;
  std::vector<Step> steps_;
  std::vector<WorkerBuild> builds_;
  std::set<std::size_t> given_up_;
  mutable std::mutex mutex_;
  int n_done_ = 0;
  int n_steps_ = 0;
};

}  // namespace

SandboxLimits compiler_limits() {
  SandboxLimits limits;
  limits.cpu_seconds = 60;
  limits.wall_seconds = 120.0;
  limits.memory_bytes = std::int64_t{2} << 30;
  limits.address_space_bytes = std::int64_t{2} << 30;
  limits.file_size_bytes = std::int64_t{64} << 20;
  limits.tmp_bytes = std::int64_t{256} << 20;  // the assembler's input
  limits.output_bytes = std::size_t{256} << 10;
  return limits;
}

std::vector<WorkerBuild> build_workers(const BuildTree& tree, const std::vector<Rubric>& labs,
                                       const std::filesystem::path& staging,
                                       const std::filesystem::path& scratch, const Sandbox& sandbox,
                                       Progress& progress, const SandboxLimits& limits,
                                       const std::filesystem::path& object_cache) {
  progress.stage("compiling the submission");
  // Commands have the paths that CMake was told, which may lead through links.
  const auto as_configured = [&](const char* variable, const fs::path& path) {
    const std::string configured = tree.cache_value(variable);
    return configured.empty() ? fs::canonical(path) : fs::path(configured);
  };
  const BuildTree configured(as_configured("CMAKE_HOME_DIRECTORY", tree.root()),
                             as_configured("CMAKE_CACHEFILE_DIR", tree.folder()));
  std::vector<WorkerPlan> plans;
  plans.reserve(labs.size());
  for (const Rubric& lab : labs) plans.push_back(plan_worker(configured, lab));
  const ObjectCache cache = object_cache.empty() ? ObjectCache() : ObjectCache(object_cache);
  return WorkerBuilder(configured, std::move(plans), staging, fs::canonical(scratch), sandbox, progress,
                       limits, cache)
      .build();
}

}  // namespace grader
