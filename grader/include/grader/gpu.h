#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "grader/bench.h"
#include "grader/ncu.h"
#include "grader/progress.h"

/// Everything that needs a GPU, for `grader gpu`.
namespace grader {

/// Where to look for tools. Default: this machine.
struct ToolPlaces {
  std::string path;     ///< folders, as in PATH
  std::string cudacxx;  ///< nvcc, as CMake's CUDACXX; may be empty
  std::filesystem::path
      root;  ///< of the file system: usr/local/cuda/bin, opt/nvidia/nsight-compute, dev are looked up in it
  static ToolPlaces of_this_machine();
};

struct GpuTools {
  std::filesystem::path nvcc;  ///< each empty where it was not found
  std::filesystem::path ncu;
  std::filesystem::path sanitizer;  ///< compute-sanitizer
  std::string gpu;                  ///< "NVIDIA A100 80GB PCIe, 81920 MiB"; empty: no GPU
};

GpuTools find_gpu_tools(const ToolPlaces& places);
/// What of nvcc and a GPU is missing, where it was looked for and what to do; empty when both are there.
std::string missing_for_gpu(const GpuTools& tools);

/// A line of gpu_programs.txt, which CMake writes into the build folder.
struct GpuProgram {
  std::string kind;  ///< tests, bench, calibration or counts
  std::string target;
  std::filesystem::path file;
};
/// Throws InfrastructureError on a line that is none.
std::vector<GpuProgram> parse_gpu_programs(std::string_view text);

/// What one test program did.
struct GpuSuite {
  std::string target;
  int n_passed = 0;
  int n_failed = 0;
  int n_not_implemented = 0;  ///< failed on a stub
  int n_skipped = 0;
  double seconds = 0.0;
  std::vector<std::string> failures = {};  ///< "Suite.Name: first line of why"
  std::string error = {};                  ///< why there are no numbers: it did not build, it crashed
};
/// Reads GoogleTest's JSON into the numbers of `suite`. Throws InfrastructureError when it is none.
void read_gtest_json(const std::string& json, GpuSuite& suite);

/// One tool of compute-sanitizer on one program.
struct SanitizerRun {
  std::string target;
  std::string tool;    ///< memcheck or racecheck
  int n_errors = -1;   ///< -1: it did not say
  std::string output;  ///< of a run with errors, the beginning
};
/// "========= ERROR SUMMARY: 2 errors" and racecheck's "RACECHECK SUMMARY: 2 hazards displayed (...)"; -1 for
/// neither.
int parse_sanitizer_summary(std::string_view output);

struct GpuResults {
  std::string date;  ///< ISO 8601, UTC
  std::string gpu;
  std::string cuda;  ///< the last line of nvcc --version
  std::vector<GpuSuite> suites;
  std::vector<std::pair<std::string, BenchPass>> bench;  ///< by target
  std::vector<std::string> bench_errors;                 ///< "lab01_gpu_bench_student: why"
  std::vector<CounterPair> counters;
  std::string counters_missing;  ///< why there are none
  std::vector<SanitizerRun> sanitizer;
  std::string sanitizer_missing;

  /// False on a failed test of the kit or a solution (or none passed), a counter that differs, a sanitizer's
  /// finding.
  bool all_well() const;
};

/// Runs the programs of `build_dir`, built or not, with the tools that are there.
GpuResults run_on_gpu(const std::filesystem::path& build_dir, const GpuTools& tools, Progress& progress);

/// Schema "memory-wall-labs/gpu/1".
nlohmann::ordered_json to_json(const GpuResults& results);
std::string gpu_table(const GpuResults& results);

}  // namespace grader
