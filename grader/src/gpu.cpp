#include "grader/gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

#include "grader/error.h"
#include "grader/files.h"
#include "grader/machine.h"
#include "grader/process.h"
#include "grader/text.h"
#include "kit/check.h"

namespace grader {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr double kTestSeconds = 600;
constexpr double kSanitizerSeconds = 1800;  // tens of times slower than the program alone

std::string how_it_ended(const ProcessResult& process) {
  using End = ProcessResult::End;
  std::string end = process.end == End::kSignaled ? describe_signal(process.signal)
                    : process.end == End::kExited ? fmt::format("exit status {}", process.exit_code)
                                                  : std::string("it did not end in time");
  const std::string said = shorten(trim(clean_text(process.output)), 4, 400);
  return said.empty() ? end : end + ": " + said;
}

ProcessResult run(std::vector<std::string> argv, double wall_seconds) {
  Command command;
  command.argv = std::move(argv);
  command.limits.wall_seconds = wall_seconds;
  command.limits.output_bytes = std::size_t{16} << 20;
  return run_process(command);
}

GpuSuite run_suite(const GpuProgram& program, const fs::path& scratch) {
  GpuSuite suite;
  suite.target = program.target;
  const fs::path report = scratch / (program.target + ".json");
  const ProcessResult process = run(
      {program.file.string(), "--gtest_output=json:" + report.string(), "--gtest_color=no"}, kTestSeconds);
  if (!fs::exists(report)) {
    suite.error = how_it_ended(process);
    return suite;
  }
  read_gtest_json(read_file(report), suite);
  return suite;
}

void run_bench_program(const GpuProgram& program, const fs::path& scratch, GpuResults& results) {
  const fs::path report = scratch / (program.target + ".json");
  const ProcessResult process = run({program.file.string(), "--benchmark_out=" + report.string(),
                                     "--benchmark_out_format=json", "--benchmark_color=false"},
                                    kTestSeconds);
  if (process.succeeded() && fs::exists(report)) {
    results.bench.emplace_back(program.target, parse_benchmark_json(read_file(report), program.target));
  } else {
    results.bench_errors.push_back(program.target + ": " + how_it_ended(process));
  }
}

void compare_with_ncu(const std::vector<GpuProgram>& programs, const GpuTools& tools, GpuResults& results) {
  const auto find = [&](std::string_view kind) {
    return std::find_if(programs.begin(), programs.end(),
                        [&](const GpuProgram& p) { return p.kind == kind; });
  };
  const auto calibration = find("calibration");
  const auto counts = find("counts");
  if (tools.ncu.empty()) {
    results.counters_missing = "no ncu in PATH, /usr/local/cuda/bin or /opt/nvidia/nsight-compute";
  } else if (calibration == programs.end() || counts == programs.end() || !fs::exists(calibration->file) ||
             !fs::exists(counts->file)) {
    results.counters_missing = "the calibration programs are not built";
  }
  if (!results.counters_missing.empty()) return;
  const ProcessResult executor = run({counts->file.string()}, kTestSeconds);
  const ProcessResult gpu =
      run({tools.ncu.string(), "--csv", "--page", "raw", "--print-units", "base", "--metrics",
           fmt::format("{}", fmt::join(ncu_metrics(), ",")), calibration->file.string()},
          kSanitizerSeconds);
  try {
    if (!gpu.succeeded()) throw InfrastructureError("ncu: " + how_it_ended(gpu));
    results.counters = compare_counters(executor.output, parse_ncu_csv(gpu.output));
  } catch (const InfrastructureError& error) {
    // ERR_NVGPUCTRPERM: counters need root, or NVreg_RestrictProfilingToAdminUsers=0.
    results.counters_missing = error.what();
  }
}

void run_sanitizer(const GpuProgram& program, const GpuTools& tools, GpuResults& results) {
  for (const char* tool : {"memcheck", "racecheck"}) {
    const ProcessResult process =
        run({tools.sanitizer.string(), "--tool", tool, program.file.string(), "--gtest_brief=1"},
            kSanitizerSeconds);
    SanitizerRun found{program.target, tool, parse_sanitizer_summary(process.output), ""};
    if (found.n_errors != 0) found.output = shorten(clean_text(process.output), 40, 4000);
    results.sanitizer.push_back(std::move(found));
  }
}

/// A student's program may be wrong; the kit's and the solutions' may not.
bool is_student(const std::string& target) {
  return target.ends_with("_student");
}

std::string cuda_version(const GpuTools& tools) {
  if (tools.nvcc.empty()) return "";
  const ProcessResult process = run({tools.nvcc.string(), "--version"}, kTestSeconds);
  std::smatch match;
  const std::string output = clean_text(process.output);
  return std::regex_search(output, match, std::regex("V[0-9.]+")) ? match.str() : "";
}

}  // namespace

void read_gtest_json(const std::string& text, GpuSuite& suite) {
  const Json json = Json::parse(clean_text(text), nullptr, false);
  if (!json.is_object() || !json.contains("testsuites"))
    throw InfrastructureError(fmt::format("{} wrote no test report", suite.target));
  for (const Json& test_suite : json["testsuites"]) {
    for (const Json& test : test_suite.value("testsuite", Json::array())) {
      const std::string time = test.value("time", "0s");
      suite.seconds += std::strtod(time.c_str(), nullptr);
      if (test.value("result", "") == "SKIPPED") {
        ++suite.n_skipped;
      } else if (!test.contains("failures")) {
        ++suite.n_passed;
      } else {
        const std::string why = test["failures"].empty() ? "" : test["failures"][0].value("failure", "");
        const bool stub = why.find(kit::NotImplemented::kPrefix) != std::string::npos;
        ++(stub ? suite.n_not_implemented : suite.n_failed);
        if (!stub) {
          suite.failures.push_back(fmt::format("{}.{}: {}", test_suite.value("name", ""),
                                               test.value("name", ""), shorten(why, 4, 500)));
        }
      }
    }
  }
}

int parse_sanitizer_summary(std::string_view output) {
  static const std::regex pattern(R"((ERROR|RACECHECK) SUMMARY: (\d+) (error|hazard))");
  std::match_results<std::string_view::const_iterator> match;
  if (!std::regex_search(output.begin(), output.end(), match, pattern)) return -1;
  return std::stoi(match[2].str());
}

bool GpuResults::all_well() const {
  // A program that passed nothing, because its driver is too old, say, has shown nothing.
  const auto well = [](const GpuSuite& suite) {
    return is_student(suite.target) ||
           (suite.error.empty() && suite.n_failed == 0 && suite.n_not_implemented == 0 && suite.n_passed > 0);
  };
  const auto clean = [](const SanitizerRun& run) { return is_student(run.target) || run.n_errors == 0; };
  const auto equal = [](const CounterPair& pair) { return !pair.gpu || pair.agrees(); };
  return std::all_of(suites.begin(), suites.end(), well) &&
         std::all_of(sanitizer.begin(), sanitizer.end(), clean) &&
         std::all_of(counters.begin(), counters.end(), equal);
}

GpuResults run_on_gpu(const fs::path& build_dir, const GpuTools& tools, Progress& progress) {
  const std::vector<GpuProgram> programs = parse_gpu_programs(read_file(build_dir / "gpu_programs.txt"));
  GpuResults results;
  results.date = utc_now();
  results.gpu = tools.gpu;
  results.cuda = cuda_version(tools);
  if (tools.sanitizer.empty())
    results.sanitizer_missing = "no compute-sanitizer in PATH or /usr/local/cuda/bin";
  const ScratchFolder scratch(build_dir / "gpu");
  for (const GpuProgram& program : programs) {
    progress.stage("running " + program.target);
    const bool built = fs::exists(program.file);
    if (program.kind == "tests") {
      results.suites.push_back(built ? run_suite(program, scratch.path())
                                     : GpuSuite{.target = program.target, .error = "it did not build"});
      if (built && !tools.sanitizer.empty()) run_sanitizer(program, tools, results);
    } else if (program.kind == "bench" && built) {
      run_bench_program(program, scratch.path(), results);
    } else if (program.kind == "bench") {
      results.bench_errors.push_back(program.target + ": it did not build");
    }
  }
  progress.stage("counting with ncu");
  compare_with_ncu(programs, tools, results);
  return results;
}

}  // namespace grader
