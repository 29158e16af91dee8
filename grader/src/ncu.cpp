#include "grader/ncu.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "grader/error.h"
#include "grader/text.h"

namespace grader {

namespace {

using Json = nlohmann::json;

/// Where a metric is in the executor's report: the sum of `counter` over these totals.
struct Metric {
  const char* name;
  std::vector<const char*> totals;
  const char* counter;
};

const std::vector<Metric>& metrics() {
  static const std::vector<const char*> global = {"global_load", "global_store", "global_atomic"};
  static const std::vector<const char*> shared = {"shared_load", "shared_store", "shared_atomic"};
  static const char* const sectors = "memory_l2_theoretical_sectors_global";
  static const std::vector<Metric> all = {
      {"l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum", {"global_load"}, "requests"},
      {"l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum", {"global_load"}, sectors},
      {"l1tex__t_requests_pipe_lsu_mem_global_op_st.sum", {"global_store"}, "requests"},
      {"l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum", {"global_store"}, sectors},
      {sectors, global, sectors},
      {"memory_l2_theoretical_sectors_global_ideal", global, "memory_l2_theoretical_sectors_global_ideal"},
      {"memory_l1_wavefronts_shared", shared, "memory_l1_wavefronts_shared"},
      {"memory_l1_wavefronts_shared_ideal", shared, "memory_l1_wavefronts_shared_ideal"},
  };
  return all;
}

/// The fields of one line: quoted, with "" for a quote inside.
std::vector<std::string> split_csv(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

/// "1,048,576", "31.5", and "4096 (12; 13)" where ncu adds the values by instruction.
std::optional<double> parse_number(std::string text) {
  text = text.substr(0, text.find(' '));
  std::erase(text, ',');
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "void kit::(anonymous namespace)::copy_kernel<float4>(const T1 *, ...)" and "copy_kernel" are both
/// "copy_kernel".
std::string bare_name(const std::string& kernel) {
  std::string name = kernel;
  // The demanglers' words for the namespace without a name.
  for (const std::string_view nameless : {"(anonymous namespace)::", "<unnamed>::"}) {
    for (std::size_t at = 0; (at = name.find(nameless)) != std::string::npos;)
      name.erase(at, nameless.size());
  }
  name = name.substr(0, name.find_first_of("<("));
  return name.substr(name.find_last_of(": ") + 1);
}

double executor_value(const Json& report, const Metric& metric) {
  double sum = 0.0;
  const Json totals = report.value("totals", Json::object());
  for (const char* total : metric.totals) {
    if (totals.contains(total)) sum += totals[total].value(metric.counter, 0.0);
  }
  return sum;
}

}  // namespace

std::vector<std::string> ncu_metrics() {
  std::vector<std::string> names;
  for (const Metric& metric : metrics()) names.emplace_back(metric.name);
  return names;
}

std::vector<NcuLaunch> parse_ncu_csv(std::string_view text) {
  std::vector<std::string> names;
  std::vector<NcuLaunch> launches;
  std::size_t kernel_column = 0;
  for (const std::string& line : split_lines(text)) {
    if (!line.starts_with('"')) continue;  // "==PROF== ...", and what the program printed
    const std::vector<std::string> fields = split_csv(line);
    if (names.empty()) {
      const auto kernel = std::find(fields.begin(), fields.end(), "Kernel Name");
      if (kernel == fields.end()) continue;
      names = fields;
      kernel_column = static_cast<std::size_t>(kernel - fields.begin());
      continue;
    }
    if (fields.front().empty()) continue;  // units
    if (fields.size() != names.size()) {
      throw InfrastructureError(fmt::format("ncu's table: a row of {} fields under {} names: {}",
                                            fields.size(), names.size(), line));
    }
    NcuLaunch launch{bare_name(fields[kernel_column]), {}};
    for (std::size_t i = 0; i < fields.size(); ++i) {
      if (const auto value = parse_number(fields[i])) launch.metrics[names[i]] = *value;
    }
    launches.push_back(std::move(launch));
  }
  if (names.empty()) {
    throw InfrastructureError("ncu printed no table: " + shorten(trim(clean_text(text)), 6, 600));
  }
  return launches;
}

std::vector<CounterPair> compare_counters(const std::string& counts_json, const std::vector<NcuLaunch>& gpu) {
  const Json counts = Json::parse(counts_json, nullptr, false);
  if (!counts.is_object() || !counts.contains("launches")) {
    throw InfrastructureError("kit_calibration_counts printed no counts: " +
                              shorten(clean_text(counts_json), 3, 300));
  }
  const Json& launches = counts["launches"];
  if (launches.size() != gpu.size()) {
    throw InfrastructureError(
        fmt::format("the executor ran {} calibration launches, ncu saw {}", launches.size(), gpu.size()));
  }
  std::vector<CounterPair> pairs;
  for (std::size_t i = 0; i < gpu.size(); ++i) {
    const Json report = launches[i].value("report", Json::object());
    const std::string name = launches[i].value("name", "");
    const std::string kernel = bare_name(report.value("kernel", ""));
    if (kernel != gpu[i].kernel) {
      throw InfrastructureError(
          fmt::format("launch {} ({}) is {} on the executor, {} in ncu", i, name, kernel, gpu[i].kernel));
    }
    for (const Metric& metric : metrics()) {
      CounterPair pair{name, metric.name, executor_value(report, metric), {}};
      if (const auto found = gpu[i].metrics.find(metric.name); found != gpu[i].metrics.end())
        pair.gpu = found->second;
      pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

std::string counters_table(const std::vector<CounterPair>& pairs) {
  std::string table;
  std::string launch;
  std::size_t n_compared = 0;
  std::size_t n_equal = 0;
  for (const CounterPair& pair : pairs) {
    if (pair.executor == 0.0 && pair.gpu.value_or(0.0) == 0.0) continue;
    if (pair.launch != launch) table += fmt::format("  {}\n", pair.launch);
    launch = pair.launch;
    n_compared += pair.gpu.has_value() ? 1 : 0;
    n_equal += pair.agrees() ? 1 : 0;
    table += fmt::format("    {} executor {:>10}  ncu {:>10}  {}\n", pad(pair.metric, 50),
                         format_number(pair.executor), pair.gpu ? format_number(*pair.gpu) : "-",
                         pair.agrees() ? "equal"
                         : pair.gpu    ? "DIFFERS"
                                       : "not reported");
  }
  return table + fmt::format("  {} of {} counters equal\n", n_equal, n_compared);
}

}  // namespace grader
