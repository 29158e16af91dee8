#include "kit/simt/profile.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

// What counts are, without the executor: the other back ends link this file too.
namespace kit::simt {

std::string LaneOrder::to_string() const {
  switch (kind) {
    case Kind::kForward:
      return "forward";
    case Kind::kReverse:
      return "reverse";
    case Kind::kSeeded:
      return fmt::format("seeded ({})", seed);
  }
  return "";
}

DeviceLimits device_limits(std::string_view device) {
  // CUDA C++ Programming Guide, "Technical specifications per compute capability": 163 KiB of shared memory
  // per block at 8.0, 99 KiB at 8.9, 227 KiB at 9.0.
  static constexpr std::array kDevices = {DeviceLimits{"a100-40gb", 1024, 48 * 1024, 163 * 1024},
                                          DeviceLimits{"a100-80gb", 1024, 48 * 1024, 163 * 1024},
                                          DeviceLimits{"h100", 1024, 48 * 1024, 227 * 1024},
                                          DeviceLimits{"h200", 1024, 48 * 1024, 227 * 1024},
                                          DeviceLimits{"l4", 1024, 48 * 1024, 99 * 1024},
                                          DeviceLimits{"rtx4090", 1024, 48 * 1024, 99 * 1024}};
  std::string names;
  for (const auto& limits : kDevices) {
    if (limits.device == device) return limits;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", limits.device);
  }
  throw Error(fmt::format("unknown device '{}'; known are {}", device, names));
}

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
  return ideal_wavefronts == 0 ? 1.0
                               : static_cast<double>(wavefronts) / static_cast<double>(ideal_wavefronts);
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
