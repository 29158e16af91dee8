#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Nsight Compute's counters beside the executor's.
namespace grader {

/// One launch as Nsight Compute counted it.
struct NcuLaunch {
  std::string kernel;                     ///< "copy_kernel", without what follows the name
  std::map<std::string, double> metrics;  ///< by ncu's name, in base units
};

/// The metrics that have a counterpart in the executor, for ncu's --metrics.
std::vector<std::string> ncu_metrics();

/// Reads what `ncu --csv --page raw --print-units base` prints: lines of ncu and of the profiled program, a
/// row of names, a row of units, then one row a launch. A value that is no number is left out. Throws
/// InfrastructureError when there is no row of names, and on a row that ends early.
std::vector<NcuLaunch> parse_ncu_csv(std::string_view text);

/// One counter of one launch.
struct CounterPair {
  std::string launch;  ///< "transpose_tiled"
  std::string metric;  ///< ncu's name
  double executor = 0.0;
  std::optional<double> gpu;  ///< nothing where ncu did not report it
  bool agrees() const { return gpu.has_value() && *gpu == executor; }
};

/// Pairs the launches of `counts_json`, which kit_calibration_counts printed, with ncu's by their order.
/// Throws InfrastructureError when their number or a kernel's name differs, or when `counts_json` is none.
std::vector<CounterPair> compare_counters(const std::string& counts_json, const std::vector<NcuLaunch>& gpu);

/// Launch by launch; counters that are 0 on both sides are left out, disagreements are marked.
std::string counters_table(const std::vector<CounterPair>& pairs);

}  // namespace grader
