#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "grader/gpu.h"
#include "grader/text.h"

namespace grader {

namespace {

using Json = nlohmann::ordered_json;

Json suites_json(const std::vector<GpuSuite>& suites) {
  Json json = Json::array();
  for (const GpuSuite& suite : suites) {
    json.push_back({{"target", suite.target},
                    {"passed", suite.n_passed},
                    {"failed", suite.n_failed},
                    {"not_implemented", suite.n_not_implemented},
                    {"skipped", suite.n_skipped},
                    {"seconds", suite.seconds},
                    {"failures", suite.failures},
                    {"error", suite.error}});
  }
  return json;
}

Json bench_json(const GpuResults& results) {
  Json json = Json::array();
  for (const auto& [target, pass] : results.bench) {
    for (const std::string& name : pass.order) {
      Json entry = {{"target", target}, {"name", name}};
      if (const auto found = pass.counters.find(name); found != pass.counters.end())
        entry["counters"] = found->second;
      if (const auto found = pass.errors.find(name); found != pass.errors.end())
        entry["error"] = found->second;
      json.push_back(std::move(entry));
    }
  }
  return json;
}

Json counters_json(const std::vector<CounterPair>& pairs) {
  Json json = Json::array();
  for (const CounterPair& pair : pairs) {
    json.push_back({{"launch", pair.launch},
                    {"metric", pair.metric},
                    {"executor", pair.executor},
                    {"gpu", pair.gpu ? Json(*pair.gpu) : Json()}});
  }
  return json;
}

std::string suites_table(const std::vector<GpuSuite>& suites) {
  std::string table = "tests on the GPU\n";
  for (const GpuSuite& suite : suites) {
    if (!suite.error.empty()) {
      table += fmt::format("  {} {}\n", pad(suite.target, 34), suite.error);
      continue;
    }
    table += fmt::format("  {} {} passed, {} failed, {} not implemented, {} skipped, {}\n",
                         pad(suite.target, 34), suite.n_passed, suite.n_failed, suite.n_not_implemented,
                         suite.n_skipped, format_seconds(suite.seconds));
    for (const std::string& failure : suite.failures) table += "    " + failure + "\n";
  }
  return table;
}

std::string bench_lines(const GpuResults& results) {
  std::string table = "benchmarks: share of the measured device-to-device copy bandwidth\n";
  for (const auto& [target, pass] : results.bench) {
    for (const std::string& name : pass.order) {
      const std::string label = target + " " + name.substr(0, name.find("/iterations:"));
      if (const auto error = pass.errors.find(name); error != pass.errors.end()) {
        table += fmt::format("  {} {}\n", pad(label, 60), shorten(error->second, 1, 200));
      } else if (const auto found = pass.counters.find(name); found != pass.counters.end()) {
        const auto value = [&](const char* key) {
          return found->second.contains(key) ? found->second.at(key) : 0.0;
        };
        const double share = value("share_of_ceiling");
        table += fmt::format("  {} {:5.1f} % {:8.1f} GB/s", pad(label, 60), 100.0 * share, value("gb_per_s"));
        if (const double bar = value("bar"); bar > 0.0)
          table +=
              fmt::format("  {} (the bar is {:.0f} %)", share >= bar ? "reached" : "missed", 100.0 * bar);
        table += "\n";
      }
    }
  }
  for (const std::string& error : results.bench_errors) table += "  " + error + "\n";
  return table;
}

std::string sanitizer_table(const GpuResults& results) {
  if (!results.sanitizer_missing.empty())
    return fmt::format("compute-sanitizer\n  skipped: {}\n", results.sanitizer_missing);
  std::string table = "compute-sanitizer\n";
  for (const SanitizerRun& run : results.sanitizer) {
    table += fmt::format("  {} {} {}\n", pad(run.target, 34), pad(run.tool, 10),
                         run.n_errors < 0 ? "no summary" : fmt::format("{} errors", run.n_errors));
    if (!run.output.empty()) table += run.output + "\n";
  }
  return table;
}

}  // namespace

nlohmann::ordered_json to_json(const GpuResults& results) {
  Json sanitizer = Json::array();
  for (const SanitizerRun& run : results.sanitizer) {
    sanitizer.push_back(
        {{"target", run.target}, {"tool", run.tool}, {"errors", run.n_errors}, {"output", run.output}});
  }
  return {{"schema", "memory-wall-labs/gpu/1"},
          {"date", results.date},
          {"gpu", results.gpu},
          {"cuda", results.cuda},
          {"all_well", results.all_well()},
          {"tests", suites_json(results.suites)},
          {"bench", bench_json(results)},
          {"bench_errors", results.bench_errors},
          {"counters", counters_json(results.counters)},
          {"counters_missing", results.counters_missing},
          {"sanitizer", std::move(sanitizer)},
          {"sanitizer_missing", results.sanitizer_missing}};
}

std::string gpu_table(const GpuResults& results) {
  return fmt::format("{}, nvcc {}, {}\n\n{}\n{}\ncounters: executor and Nsight Compute\n{}\n{}", results.gpu,
                     results.cuda, results.date, suites_table(results.suites), bench_lines(results),
                     results.counters_missing.empty()
                         ? counters_table(results.counters)
                         : fmt::format("  skipped: {}\n", results.counters_missing),
                     sanitizer_table(results));
}

}  // namespace grader
