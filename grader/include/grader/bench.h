#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "grader/progress.h"

/// Google Benchmark binaries of a lab, student and solution side by side. Numbers to learn from; never
/// points.
namespace grader {

/// One implementation's medians over the rounds.
struct BenchSide {
  int n_rounds = 0;
  std::optional<double>
      share_of_ceiling;  ///< a fraction of what this machine was measured to do in the same run
  std::map<std::string, double> counters;  ///< other counters the benchmark reports, such as tokens_per_s
  std::string error;                       ///< why there is no number: "not implemented: ...", ...
};

struct BenchResult {
  std::string lab;
  std::string name;
  BenchSide student;
  BenchSide solution;
};

/// One pass of one binary: benchmark name -> its counters, or its error.
struct BenchPass {
  std::map<std::string, std::map<std::string, double>> counters;
  std::map<std::string, std::string> errors;
  std::vector<std::string> order;  ///< names as the binary ran them
};

/// Reads Google Benchmark's JSON. Throws InfrastructureError when it is none.
BenchPass parse_benchmark_json(const std::string& text, const std::string& origin);

/// Middle value; the mean of the middle two when their number is even. `values` must not be empty.
double median(std::vector<double> values);

/// What is run: a binary and how many ABBA rounds of it. A missing binary leaves that side empty.
struct BenchPlan {
  std::string lab;
  std::filesystem::path student;   ///< may be empty: not built
  std::filesystem::path solution;  ///< may be empty: no solutions here
  std::string student_error;       ///< why `student` is empty
  std::string solution_error;
  int n_rounds = 2;
  std::filesystem::path scratch;  ///< folder for the binaries' output files
};

/// Runs student, solution, solution, student, n_rounds times over, so that a machine that slows down
/// meanwhile slows both.
std::vector<BenchResult> run_bench(const BenchPlan& plan, Progress& progress);

}  // namespace grader
