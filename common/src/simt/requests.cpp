#include <algorithm>
#include <bit>
#include <utility>

#include "coalescing.h"
#include "source_lines.h"
#include "tracer.h"
#include "tracer_pause.h"
#include "worker.h"

/// The tracer's other half: which place in the source an access belongs to, and how the accesses of 32 lanes
/// become warp instructions. The checks are in tracer.cpp.
namespace kit::simt::detail {

// One site for each place in the source, whatever copies of it the compiler made (unrolled loops, threaded
// jumps), and for each way it was inlined.
Site* Tracer::find_site(std::uint64_t key, Space space, int width, Access access,
                        std::uintptr_t code_address) {
  std::size_t slot = (code_address ^ code_address >> 12 ^ static_cast<std::size_t>(access)) % kTableSize;
  const Pause pause(*this);
  if (const auto found = site_of_key_.find(key); found != site_of_key_.end()) {
    table_[slot] = {.key = key, .site = found->second};
    return found->second;
  }
  const SourcePlace& place = find_source(code_address);
  Site* site = nullptr;
  if (!place.place.file.empty()) {
    for (const auto& candidate : sites_) {
      const SourcePlace& other = find_source(candidate->code_address);
      if (candidate->space == space && candidate->access == access && candidate->width == width &&
          other.place == place.place && other.chain == place.chain && other.function == place.function) {
        site = candidate.get();
        break;
      }
    }
  }
  if (site == nullptr) {
    sites_.push_back(std::make_unique<Site>());
    site = sites_.back().get();
    site->code_address = code_address;
    site->space = space;
    site->access = access;
    site->width = width;
  }
  site_of_key_[key] = site;
  table_[slot] = {.key = key, .site = site};
  return site;
}

void Tracer::note_touched(Site* site) {
  site->touched = true;
  const Pause pause(*this);
  touched_.push_back(site);
}

void Tracer::wait_for_window(Site& site) {
  site.n_executed[lane_] = std::max(site.n_executed[lane_], site.base);
  while (site.n_executed[lane_] - site.base >= kWindow) {
    waits_for_[lane_] = &site;
    worker_.wait_for_window();
    // A request that was completed without this lane is over; the lane joins the present one.
    site.n_executed[lane_] = std::max(site.n_executed[lane_], site.base);
  }
}

void Tracer::complete(Site& site, std::uint32_t until, std::uint32_t live) {
  for (; site.base != until; ++site.base) {
    Request& request = site.window[site.base % kWindow];
    const std::uint32_t mask = std::exchange(request.mask, 0);
    if (mask == 0) continue;
    Counters& counters = site.counters;
    const int n_lanes = std::popcount(mask);
    const std::int64_t n_bytes = std::int64_t{n_lanes} * site.width;
    ++counters.requests;
    counters.thread_accesses += n_lanes;
    counters.partial_requests += (mask & live) != live ? 1 : 0;
    const std::uint64_t* addresses = request.addresses.data();
    if (site.space == Space::kGlobal) {
      const int sectors = count_sectors(addresses, mask);
      counters.sectors += sectors;
      counters.ideal_sectors += (n_bytes + 31) / 32;
      counters.useful_bytes += std::min<std::int64_t>(n_bytes, 32 * sectors);
    } else {
      counters.wavefronts += site.access == Access::kAtomic ? count_atomic_wavefronts(addresses, mask)
                                                            : count_wavefronts(addresses, mask, site.width);
      counters.ideal_wavefronts += count_ideal_wavefronts(mask, site.width);
    }
  }
}

void Tracer::converge() {
  for (Site* site : touched_) {
    const std::uint32_t until = *std::max_element(site->n_executed.begin(), site->n_executed.end());
    complete(*site, std::max(until, site->base), live_mask_);
    site->n_executed.fill(0);
    site->base = 0;
    site->touched = false;
  }
  touched_.clear();
}

void Tracer::advance_window(std::uint32_t waiting) {
  bool advanced = false;
  for (Site* site : touched_) {
    // Lanes that do not stand before a window wait for the whole warp or have returned: they add nothing
    // here.
    std::uint32_t slowest = UINT32_MAX;
    for (std::uint32_t rest = waiting; rest != 0; rest &= rest - 1)
      slowest = std::min(slowest, site->n_executed[static_cast<std::size_t>(std::countr_zero(rest))]);
    if (slowest == UINT32_MAX || slowest <= site->base) continue;
    const std::uint32_t until = std::min(slowest, site->base + kWindow);
    complete(*site, until, live_mask_);
    for (std::uint32_t rest = waiting; rest != 0; rest &= rest - 1) {
      if (waits_for_[static_cast<std::size_t>(std::countr_zero(rest))] == site) advanced = true;
    }
  }
  if (advanced) return;
  // The lanes' paths differ: some wait here that others never reach. Half a window is taken as it is.
  for (std::uint32_t rest = waiting; rest != 0; rest &= rest - 1) {
    Site& site = *waits_for_[static_cast<std::size_t>(std::countr_zero(rest))];
    if (site.n_executed[static_cast<std::size_t>(std::countr_zero(rest))] - site.base < kWindow) continue;
    complete(site, site.base + kWindow / 2, live_mask_);
    for (auto& n : site.n_executed) n = std::max(n, site.base);
  }
}

void Tracer::reset() {
  for (Site* site : touched_) {
    for (Request& request : site->window) request.mask = 0;
    site->n_executed.fill(0);
    site->base = 0;
    site->touched = false;
  }
  touched_.clear();
}

}  // namespace kit::simt::detail
