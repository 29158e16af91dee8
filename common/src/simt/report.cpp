#include "report.h"

#include <algorithm>
#include <mutex>
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

ReportBuilder::ReportBuilder(std::string kernel, std::array<unsigned, 3> grid,
                             std::array<unsigned, 3> thread_block, std::int64_t static_shared_bytes,
                             std::int64_t dynamic_shared_bytes) {
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
    const auto found = std::find_if(report_.lines.begin(), report_.lines.end(), [&](const LineReport& other) {
      return line_key(other) == line_key(line);
    });
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

}  // namespace kit::simt
