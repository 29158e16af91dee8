#include "grader/kernel_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "grader/error.h"
#include "grader/text.h"

namespace grader {

namespace {

using Json = nlohmann::json;

KernelCounts parse_counts(const Json& json, const std::string& space, const std::string& access) {
  const bool global = space == "global";
  return {.space = space,
          .access = access,
          .requests = json.at("requests"),
          .thread_accesses = json.at("thread_accesses"),
          .units = json.at(global ? "memory_l2_theoretical_sectors_global" : "memory_l1_wavefronts_shared"),
          .ideal_units = json.at(global ? "memory_l2_theoretical_sectors_global_ideal"
                                        : "memory_l1_wavefronts_shared_ideal"),
          .useful_bytes = global ? json.at("useful_bytes").get<std::int64_t>() : 0};
}

KernelLaunches parse_launch(const std::string& test, const Json& json) {
  KernelLaunches launch{.test = test,
                        .kernel = json.at("kernel"),
                        .grid = json.at("grid"),
                        .thread_block = json.at("thread_block"),
                        .n_launches = 1,
                        .shared_bytes = json.at("static_shared_bytes").get<std::int64_t>() +
                                        json.at("dynamic_shared_bytes").get<std::int64_t>(),
                        .barriers = json.at("barriers"),
                        .shuffles = json.at("shuffles"),
                        .global_bytes = json.at("global_bytes"),
                        .totals = {},
                        .lines = {}};
  for (const Json& line : json.at("lines")) {
    const KernelCounts counts = parse_counts(line, line.at("space"), line.at("access"));
    launch.lines.push_back(
        {.file = line.at("file"), .line = line.at("line"), .width = line.at("width"), .counts = counts});
    const auto same =
        std::find_if(launch.totals.begin(), launch.totals.end(), [&](const KernelCounts& total) {
          return total.space == counts.space && total.access == counts.access;
        });
    if (same == launch.totals.end()) {
      launch.totals.push_back(counts);
    } else {
      *same += counts;
    }
  }
  std::sort(launch.totals.begin(), launch.totals.end(), [](const KernelCounts& a, const KernelCounts& b) {
    return std::tie(a.space, a.access) < std::tie(b.space, b.access);
  });
  return launch;
}

bool same_shape(const KernelLaunches& a, const KernelLaunches& b) {
  return a.test == b.test && a.kernel == b.kernel && a.grid == b.grid && a.thread_block == b.thread_block;
}

void add(KernelLaunches& sum, const KernelLaunches& other) {
  sum.n_launches += other.n_launches;
  sum.barriers += other.barriers;
  sum.shuffles += other.shuffles;
  sum.global_bytes += other.global_bytes;
  for (const KernelCounts& counts : other.totals) {
    const auto same = std::find_if(sum.totals.begin(), sum.totals.end(), [&](const KernelCounts& total) {
      return total.space == counts.space && total.access == counts.access;
    });
    if (same == sum.totals.end()) {
      sum.totals.push_back(counts);
    } else {
      *same += counts;
    }
  }
  sum.lines.insert(sum.lines.end(), other.lines.begin(), other.lines.end());
}

double ratio(std::int64_t a, std::int64_t b) {
  return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b);
}

// "lab01::(anonymous namespace)::copy_kernel<float4>" without its namespaces.
std::string short_name(const std::string& kernel) {
  const std::size_t template_at = kernel.find("_kernel<");
  const std::size_t end = template_at == std::string::npos ? kernel.size() : template_at;
  const std::size_t colon = kernel.rfind("::", end);
  return colon == std::string::npos ? kernel : kernel.substr(colon + 2);
}

std::string dim_text(const std::array<unsigned, 3>& dim) {
  if (dim[2] != 1) return fmt::format("({}, {}, {})", dim[0], dim[1], dim[2]);
  if (dim[1] != 1) return fmt::format("({}, {})", dim[0], dim[1]);
  return fmt::format("{}", dim[0]);
}

std::string counts_row(const KernelCounts& counts) {
  const bool global = counts.space == "global";
  return fmt::format(
      "    {:<14}{:>12}{:>12}{:>12}{:>12.2f}{:>11}{:>10.1f}\n", counts.space + " " + counts.access,
      format_number(static_cast<double>(counts.requests)), format_number(static_cast<double>(counts.units)),
      format_number(static_cast<double>(counts.ideal_units)), ratio(counts.units, counts.requests),
      global ? fmt::format("{:.0f} %", 100.0 * ratio(counts.useful_bytes, 32 * counts.units))
             : fmt::format("{:.1f} x", ratio(counts.units, counts.ideal_units)),
      ratio(counts.thread_accesses, counts.requests));
}

std::string line_costs(const std::vector<KernelCounts>& all) {
  std::string text;
  for (const KernelCounts& counts : all) {
    const bool global = counts.space == "global";
    text += fmt::format("{}{} {}: {:.2f} {}, ideal {:.2f}", text.empty() ? "" : "; ", counts.space,
                        counts.access, ratio(counts.units, counts.requests),
                        global ? "sectors" : "wavefronts", ratio(counts.ideal_units, counts.requests));
  }
  return text;
}

}  // namespace

void KernelCounts::operator+=(const KernelCounts& other) {
  requests += other.requests;
  thread_accesses += other.thread_accesses;
  units += other.units;
  ideal_units += other.ideal_units;
  useful_bytes += other.useful_bytes;
}

std::vector<KernelLaunches> parse_kernel_report(const std::string& text) {
  std::vector<KernelLaunches> kernels;
  for (const std::string& line : split_lines(text)) {
    if (trim(line).empty()) continue;
    try {
      const Json json = Json::parse(line);
      for (const Json& entry : json.at("launches")) {
        const KernelLaunches launch = parse_launch(json.at("test"), entry);
        const auto same = std::find_if(kernels.begin(), kernels.end(), [&](const KernelLaunches& other) {
          return same_shape(other, launch);
        });
        if (same == kernels.end()) {
          kernels.push_back(launch);
        } else {
          add(*same, launch);
        }
      }
    } catch (const Json::exception& error) {
      throw InfrastructureError(fmt::format("a kernel report cannot be read: {}", error.what()));
    }
  }
  return kernels;
}

std::string kernel_table(const std::vector<KernelLaunches>& kernels, const kit::Device& device) {
  std::string text;
  std::string test;
  for (const KernelLaunches& kernel : kernels) {
    if (kernel.test != test) {
      text += fmt::format("\n{:<50}sectors or\n", kernel.test);
      text += fmt::format("    {:<14}{:>12}{:>12}{:>12}{:>12}{:>11}{:>10}\n", "", "requests", "wavefronts",
                          "ideal", "a request", "efficiency", "threads");
      test = kernel.test;
    }
    text += fmt::format("  {} <<<{}, {}>>>{}", short_name(kernel.kernel), dim_text(kernel.grid),
                        dim_text(kernel.thread_block),
                        kernel.n_launches > 1 ? fmt::format(" {} launches", kernel.n_launches) : "");
    if (kernel.shared_bytes > 0)
      text += fmt::format(", {} of shared memory", format_bytes(double(kernel.shared_bytes)));
    if (kernel.barriers > 0) text += fmt::format(", {} barriers", format_number(double(kernel.barriers)));
    if (kernel.shuffles > 0) text += fmt::format(", {} shuffles", format_number(double(kernel.shuffles)));
    text += "\n";
    for (const KernelCounts& counts : kernel.totals) text += counts_row(counts);
    text += fmt::format("    floor: {} bytes to and from memory take {:.3g} us on {} at {:.0f} GB/s\n",
                        format_number(static_cast<double>(kernel.global_bytes)),
                        static_cast<double>(kernel.global_bytes) / device.bandwidth_bytes_per_s * 1e6,
                        device.name, device.bandwidth_bytes_per_s / 1e9);
  }
  if (kernels.empty()) return "no kernel was launched\n";
  return text + R"(
Efficiency: in global memory, bytes asked for / bytes of the sectors; in shared memory, wavefronts / ideal (1.0 x: no bank
conflicts). The floor assumes that no sector is found in a cache. Nsight Compute's names:
  requests    l1tex__t_requests_pipe_lsu_mem_global_op_{ld,st}
  sectors     memory_l2_theoretical_sectors_global, ideal ..._ideal
  wavefronts  memory_l1_wavefronts_shared, ideal ..._ideal
  threads     smsp__thread_inst_executed_per_inst_executed, here of memory instructions only
)";
}

std::string annotate_source(const std::vector<KernelLaunches>& kernels) {
  std::map<std::string, std::map<int, std::vector<KernelCounts>>> files;
  for (const KernelLaunches& kernel : kernels) {
    for (const KernelLine& line : kernel.lines) {
      auto& all = files[line.file][line.line];
      const auto same = std::find_if(all.begin(), all.end(), [&](const KernelCounts& counts) {
        return counts.space == line.counts.space && counts.access == line.counts.access;
      });
      if (same == all.end()) {
        all.push_back(line.counts);
      } else {
        *same += line.counts;
      }
    }
  }
  std::string text;
  for (const auto& [name, lines] : files) {
    text += fmt::format("\n{}\n", name);
    std::ifstream file(name);
    if (!file) {
      text += "  (the file cannot be read)\n";
      continue;
    }
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      const auto found = lines.find(number);
      if (found != lines.end())
        text += fmt::format("{:>5}   {:^4}{}\n", "", "", "| " + line_costs(found->second));
      text += fmt::format("{:>5} {} {}\n", number, found == lines.end() ? " " : ">", line);
    }
  }
  return text;
}

std::string kernel_json(const std::vector<KernelLaunches>& kernels) {
  const auto counts_json = [](const KernelCounts& counts) {
    const bool global = counts.space == "global";
    return Json{
        {"space", counts.space},
        {"access", counts.access},
        {"requests", counts.requests},
        {"thread_accesses", counts.thread_accesses},
        {global ? "memory_l2_theoretical_sectors_global" : "memory_l1_wavefronts_shared", counts.units},
        {global ? "memory_l2_theoretical_sectors_global_ideal" : "memory_l1_wavefronts_shared_ideal",
         counts.ideal_units},
        {"useful_bytes", counts.useful_bytes}};
  };
  Json json = {{"schema", 1}, {"kernels", Json::array()}};
  for (const KernelLaunches& kernel : kernels) {
    Json entry = {{"test", kernel.test},
                  {"kernel", kernel.kernel},
                  {"grid", kernel.grid},
                  {"thread_block", kernel.thread_block},
                  {"launches", kernel.n_launches},
                  {"shared_bytes", kernel.shared_bytes},
                  {"barriers", kernel.barriers},
                  {"shuffles", kernel.shuffles},
                  {"global_bytes", kernel.global_bytes}};
    for (const KernelCounts& counts : kernel.totals) entry["totals"].push_back(counts_json(counts));
    for (const KernelLine& line : kernel.lines) {
      Json line_json = counts_json(line.counts);
      line_json.update({{"file", line.file}, {"line", line.line}, {"width", line.width}});
      entry["lines"].push_back(std::move(line_json));
    }
    json["kernels"].push_back(std::move(entry));
  }
  return json.dump(2) + "\n";
}

}  // namespace grader
