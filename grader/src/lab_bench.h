#pragma once

#include <filesystem>
#include <vector>

#include "grader/bench.h"
#include "grader/build.h"
#include "grader/rubric.h"

namespace grader {

/// Builds and runs one lab's benchmarks, the student's and, where it exists, the solution's.
std::vector<BenchResult> bench_lab(const BuildTree& tree, const Rubric& lab,
                                   const std::filesystem::path& scratch, Progress& progress);

}  // namespace grader
