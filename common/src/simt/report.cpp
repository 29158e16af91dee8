#include "report.h"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "source_lines.h"
#include "worker.h"

namespace kit::simt {

namespace detail {

namespace {

std::mutex listener_mutex;
std::vector<LaunchReport>* listener = nullptr;

auto line_key(const LineReport& line) {
  return std::tie(line.file, line.line, line.column, line.space, line.access, line.width);
}

}  // namespace

ReportBuilder::ReportBuilder(std::string kernel, std::array<unsigned, 3> grid, std::array<unsigned, 3> thread_block,
                             std::int64_t static_shared_bytes, std::int64_t dynamic_shared_bytes) {
  report_.kernel = std::move(kernel);
  report_.grid = grid;
  report_.thread_block = thread_block;
  report_.static_shared_bytes = static_shared_bytes;
  report_.dynamic_shared_bytes = dynamic_shared_bytes;
}

void ReportBuilder::add(const Worker& worker) {
  report_.barriers += worker.statistics.barriers;
  report_.warp_syncs += worker.statistics.warp_syncs;
  report_.shuffles += worker.statistics.shuffles;
  for (const auto& site : worker.tracer().sites()) {
    if (site->counters.requests == 0) continue;
    const SourcePlace& place = find_source(site->code_address);
    LineReport line{.file = place.place.file,
                    .function = place.function,
                    .line = place.place.line,
                    .column = place.place.column,
                    .space = site->space,
                    .access = site->access,
                    .width = site->width,
                    .counters = site->counters};
    const auto found = std::find_if(report_.lines.begin(), report_.lines.end(),
                                    [&](const LineReport& other) { return line_key(other) == line_key(line); });
    if (found == report_.lines.end()) {
      report_.lines.push_back(std::move(line));
    } else {
      found->counters += line.counters;
    }
  }
}

void ReportBuilder::publish() {
  std::sort(report_.lines.begin(), report_.lines.end(),
            [](const LineReport& a, const LineReport& b) { return line_key(a) < line_key(b); });
  const std::scoped_lock lock(listener_mutex);
  if (listener != nullptr) listener->push_back(std::move(report_));
}

}  // namespace detail

std::string_view name(Space space) {
  return space == Space::kGlobal ? "global" : "shared";
}

std::string_view name(Access access) {
  return access == Access::kLoad ? "load" : access == Access::kStore ? "store" : "atomic";
}

void Counters::operator+=(const Counters& other) {
  requests += other.requests;
  thread_accesses += other.thread_accesses;
  partial_requests += other.partial_requests;
  sectors += other.sectors;
  ideal_sectors += other.ideal_sectors;
  useful_bytes += other.useful_bytes;
  wavefronts += other.wavefronts;
  ideal_wavefronts += other.ideal_wavefronts;
}

double Counters::sectors_per_request() const {
  return requests == 0 ? 0.0 : static_cast<double>(sectors) / static_cast<double>(requests);
}
double Counters::sector_efficiency() const {
  return sectors == 0 ? 1.0 : static_cast<double>(useful_bytes) / (32.0 * static_cast<double>(sectors));
}
double Counters::bank_conflict_degree() const {
  return ideal_wavefronts == 0 ? 1.0 : static_cast<double>(wavefronts) / static_cast<double>(ideal_wavefronts);
}
double Counters::threads_per_request() const {
  return requests == 0 ? 0.0 : static_cast<double>(thread_accesses) / static_cast<double>(requests);
}

Counters LaunchReport::total(Space space, Access access) const {
  Counters sum;
  for (const LineReport& line : lines) {
    if (line.space == space && line.access == access) sum += line.counters;
  }
  return sum;
}

std::int64_t LaunchReport::global_bytes() const {
  std::int64_t sectors = 0;
  for (const LineReport& line : lines) sectors += line.counters.sectors;
  return 32 * sectors;
}

std::vector<LaunchReport> profile(const std::function<void()>& body) {
  std::vector<LaunchReport> reports;
  std::vector<LaunchReport>* outer = nullptr;
  {
    const std::scoped_lock lock(detail::listener_mutex);
    outer = std::exchange(detail::listener, &reports);
  }
  const auto restore = [&] {
    const std::scoped_lock lock(detail::listener_mutex);
    detail::listener = outer;
    if (outer != nullptr) outer->insert(outer->end(), reports.begin(), reports.end());
  };
  try {
    body();
  } catch (...) {
    restore();
    throw;
  }
  restore();
  return reports;
}

namespace {

nlohmann::json to_json(const Counters& counters, Space space) {
  nlohmann::json json = {{"requests", counters.requests},
                         {"thread_accesses", counters.thread_accesses},
                         {"partial_requests", counters.partial_requests},
                         {"thread_inst_executed_per_inst_executed", counters.threads_per_request()}};
  if (space == Space::kGlobal) {
    json["memory_l2_theoretical_sectors_global"] = counters.sectors;
    json["memory_l2_theoretical_sectors_global_ideal"] = counters.ideal_sectors;
    json["sectors_per_request"] = counters.sectors_per_request();
    json["useful_bytes"] = counters.useful_bytes;
    json["sector_efficiency"] = counters.sector_efficiency();
  } else {
    json["memory_l1_wavefronts_shared"] = counters.wavefronts;
    json["memory_l1_wavefronts_shared_ideal"] = counters.ideal_wavefronts;
    json["bank_conflict_degree"] = counters.bank_conflict_degree();
  }
  return json;
}

}  // namespace

std::string to_json(const LaunchReport& report) {
  nlohmann::json json = {{"kernel", report.kernel},
                         {"grid", report.grid},
                         {"thread_block", report.thread_block},
                         {"static_shared_bytes", report.static_shared_bytes},
                         {"dynamic_shared_bytes", report.dynamic_shared_bytes},
                         {"barriers", report.barriers},
                         {"warp_syncs", report.warp_syncs},
                         {"shuffles", report.shuffles},
                         {"global_bytes", report.global_bytes()}};
  for (const Space space : {Space::kGlobal, Space::kShared}) {
    for (const Access access : {Access::kLoad, Access::kStore, Access::kAtomic}) {
      const Counters total = report.total(space, access);
      if (total.requests > 0)
        json["totals"][std::string(name(space)) + "_" + std::string(name(access))] = to_json(total, space);
    }
  }
  json["lines"] = nlohmann::json::array();
  for (const LineReport& line : report.lines) {
    nlohmann::json entry = to_json(line.counters, line.space);
    entry.update({{"file", line.file},
                  {"line", line.line},
                  {"column", line.column},
                  {"function", line.function},
                  {"space", name(line.space)},
                  {"access", name(line.access)},
                  {"width", line.width}});
    json["lines"].push_back(std::move(entry));
  }
  return json.dump();
}

}  // namespace kit::simt
