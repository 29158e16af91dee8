#include "coalescing.h"

#include <algorithm>
#include <array>
#include <bit>

namespace kit::simt::detail {

namespace {

// Sorts and counts; for the few requests whose sectors do not come in order.
int count_distinct(std::array<std::uint64_t, 32>& values, int n) {
  std::sort(values.begin(), values.begin() + n);
  return static_cast<int>(std::unique(values.begin(), values.begin() + n) - values.begin());
}

// Passes for one group of lanes whose accesses together fill at most one pass if no two words share a bank.
int count_group(const std::uint64_t* addresses, std::uint32_t mask, int words_per_access) {
  std::array<std::uint64_t, 32> word_of_bank;  // valid where `seen` has a bit
  std::array<std::uint64_t, 32> extra;         // distinct words whose bank was taken already
  std::uint32_t seen = 0;
  int n_extra = 0;
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const std::uint64_t first = addresses[std::countr_zero(rest)] / 4;
    for (int i = 0; i < words_per_access; ++i) {
      const std::uint64_t word = first + static_cast<std::uint64_t>(i);
      const auto bank = static_cast<std::size_t>(word % 32);
      if ((seen >> bank & 1U) == 0) {
        seen |= 1U << bank;
        word_of_bank[bank] = word;
      } else if (word_of_bank[bank] != word) {
        const auto* end = extra.data() + n_extra;
        if (std::find(static_cast<const std::uint64_t*>(extra.data()), end, word) == end)
          extra[static_cast<std::size_t>(n_extra++)] = word;
      }
    }
  }
  std::array<std::uint8_t, 32> n_words{};
  int passes = 1;
  for (int i = 0; i < n_extra; ++i) {
    const int n = ++n_words[extra[static_cast<std::size_t>(i)] % 32] + 1;
    passes = std::max(passes, n);
  }
  return passes;
}

}  // namespace

int count_sectors(const std::uint64_t* addresses, std::uint32_t mask) {
  std::array<std::uint64_t, 32> sectors;
  int n = 0;
  bool in_order = true;
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const std::uint64_t sector = addresses[std::countr_zero(rest)] / 32;
    if (n > 0 && sectors[static_cast<std::size_t>(n - 1)] == sector) continue;
    if (n > 0 && sectors[static_cast<std::size_t>(n - 1)] > sector) in_order = false;
    sectors[static_cast<std::size_t>(n++)] = sector;
  }
  return in_order ? n : count_distinct(sectors, n);
}

int count_wavefronts(const std::uint64_t* addresses, std::uint32_t mask, int width) {
  if (width <= 4) return count_group(addresses, mask, 1);
  const int lanes_per_group = width == 8 ? 16 : 8;
  const std::uint32_t group_mask = (1U << lanes_per_group) - 1;
  int passes = 0;
  for (int first = 0; first < 32; first += lanes_per_group) {
    const std::uint32_t group = mask & group_mask << first;
    if (group != 0) passes += count_group(addresses, group, width / 4);
  }
  return passes;
}

int count_ideal_wavefronts(std::uint32_t mask, int width) {
  if (width <= 4) return 1;
  const int lanes_per_group = width == 8 ? 16 : 8;
  const std::uint32_t group_mask = (1U << lanes_per_group) - 1;
  int n_groups = 0;
  for (int first = 0; first < 32; first += lanes_per_group)
    n_groups += (mask & group_mask << first) != 0 ? 1 : 0;
  return n_groups;
}

int count_atomic_wavefronts(const std::uint64_t* addresses, std::uint32_t mask) {
  std::array<std::uint8_t, 32> lanes_on_bank{};
  int passes = 0;
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int n = ++lanes_on_bank[addresses[std::countr_zero(rest)] / 4 % 32];
    passes = std::max(passes, n);
  }
  return passes;
}

}  // namespace kit::simt::detail
