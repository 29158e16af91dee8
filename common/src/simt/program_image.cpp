#include <link.h>

#include <vector>

#include "tracer.h"

namespace kit::simt::detail {

namespace {

struct Range {
  std::uintptr_t base;
  std::size_t size;
};

// Segments that cannot be written, and those that cannot any more once the program has been linked.
std::vector<Range> find_constant_segments() {
  std::vector<Range> ranges;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          const bool constant = header.p_type == PT_GNU_RELRO ||
                                (header.p_type == PT_LOAD && (header.p_flags & (PF_W | PF_R)) == PF_R);
          if (constant)
            static_cast<std::vector<Range>*>(data)->push_back(
                {info->dlpi_addr + header.p_vaddr, header.p_memsz});
        }
        return 0;
      },
      &ranges);
  return ranges;
}

}  // namespace

bool is_constant_memory(std::uintptr_t address) {
  static const std::vector<Range> ranges = find_constant_segments();
  for (const Range& range : ranges) {
    if (address - range.base < range.size) return true;
  }
  return false;
}

}  // namespace kit::simt::detail
