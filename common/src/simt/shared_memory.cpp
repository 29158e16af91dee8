#include "shared_memory.h"

#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "source_lines.h"

namespace kit::simt::detail {

namespace {

// Guard zones of the dynamic array, on both sides.
constexpr std::size_t kGuardBytes = 4096;
constexpr std::string_view kPadName = "kit_simt_shared_pad_";

struct ThreadBlockOfModule {
  std::uintptr_t base = 0;
  std::size_t size = 0;
};

// The calling thread's copy of the thread storage of the module that holds the executor, which is the
// program.
ThreadBlockOfModule find_thread_storage() {
  ThreadBlockOfModule result;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        const auto self = reinterpret_cast<std::uintptr_t>(&find_thread_storage);
        bool is_ours = false;
        std::size_t size = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type == PT_LOAD && self - (info->dlpi_addr + header.p_vaddr) < header.p_memsz)
            is_ours = true;
          if (header.p_type == PT_TLS) size = header.p_memsz;
        }
        if (!is_ours) return 0;
        *static_cast<ThreadBlockOfModule*>(data) = {
            .base = reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data), .size = size};
        return 1;
      },
      &result);
  if (result.base == 0) result.size = 0;
  return result;
}

bool is_pad(std::string_view name) {
  return name.find(kPadName) != std::string_view::npos;
}

// GCC notes the construction of static variables whose type has constructors, even when there is nothing to
// construct.
bool is_guard(std::string_view name) {
  return name.starts_with("_ZGV");
}

// thread_local variables of libraries and of the executor itself are nobody's shared memory.
bool is_shared_array(std::string_view name) {
  return name.starts_with("_ZZ") && !is_pad(name);
}

// _ZZN5lab0114tiled_kernelEPKfPfiiE4tile: the array's own name stands last, with its length before it.
std::string array_name(std::string_view mangled) {
  std::size_t digits = mangled.find_last_not_of("0123456789");
  // A discriminator "_0" may follow.
  if (digits != std::string_view::npos && mangled[digits] == '_') mangled = mangled.substr(0, digits);
  for (std::size_t length = 1; length < mangled.size(); ++length) {
    const std::string number = std::to_string(length);
    if (mangled.substr(0, mangled.size() - length).ends_with("E" + number))
      return std::string(mangled.substr(mangled.size() - length));
  }
  return std::string(mangled);
}

}  // namespace

SharedMemory::SharedMemory() {
  const ThreadBlockOfModule storage = find_thread_storage();
  // Down to a word's start, so that a word of memory is a word of the region.
  statics.base = storage.base / 4 * 4;
  statics.size = storage.size + (storage.base - statics.base);
  statics.cells.resize(statics.size / 4 + 1);
  const auto& variables = thread_variables();
  statics.bytes.assign(statics.size, variables.empty() ? Byte::kArray : Byte::kNobodys);
  for (const auto& variable : variables) {
    if (!is_shared_array(variable.name) && !is_guard(variable.name)) continue;
    const std::size_t begin = storage.base - statics.base + variable.offset;
    for (std::size_t byte = begin; byte < std::min(begin + variable.size, statics.size); ++byte)
      statics.bytes[byte] = is_guard(variable.name) ? Byte::kGuard : Byte::kArray;
  }
}

void SharedMemory::resize_dynamic(std::size_t n_bytes) {
  if (n_bytes == dynamic.size && dynamic.base != 0) return;
  // 128-byte aligned, as on the device; guard zones around it are not part of the region.
  storage_.assign(n_bytes + 2 * kGuardBytes + 128, 0xFF);
  const auto raw = reinterpret_cast<std::uintptr_t>(storage_.data()) + kGuardBytes;
  dynamic.base = (raw + 127) / 128 * 128;
  dynamic.size = n_bytes;
  dynamic.cells.assign(n_bytes / 4 + 1, SharedCell{});
  dynamic.bytes.assign(n_bytes, Byte::kArray);
}

bool SharedMemory::is_near(std::uintptr_t address) const {
  return dynamic.base != 0 && address - (dynamic.base - kGuardBytes) < dynamic.size + 2 * kGuardBytes;
}

std::string SharedMemory::describe(std::uintptr_t address) const {
  if (is_near(address)) {
    if (address < dynamic.base)
      return fmt::format("{} bytes before the dynamic shared array of {} bytes", dynamic.base - address,
                         dynamic.size);
    return fmt::format("byte {} of a dynamic shared array of {} bytes", address - dynamic.base, dynamic.size);
  }
  const std::uint64_t offset = address - statics.base;
  const ThreadVariable* nearest = nullptr;
  std::uint64_t best = UINT64_MAX;
  for (const auto& variable : thread_variables()) {
    if (!is_shared_array(variable.name)) continue;
    const std::uint64_t distance = offset < variable.offset ? variable.offset - offset
                                   : offset < variable.offset + variable.size
                                       ? 0
                                       : offset - variable.offset - variable.size + 1;
    if (distance < best) {
      best = distance;
      nearest = &variable;
    }
  }
  if (nearest == nullptr) return "shared memory";
  const std::string array =
      fmt::format("shared array {} of {} bytes", array_name(nearest->name), nearest->size);
  if (best == 0) return fmt::format("byte {} of {}", offset - nearest->offset, array);
  if (offset < nearest->offset) return fmt::format("{} bytes before {}", best, array);
  return fmt::format("{} behind the end of {}", best == 1 ? "right" : fmt::format("{} bytes", best - 1),
                     array);
}

std::size_t static_shared_bytes(const std::string& mangled_kernel) {
  if (!mangled_kernel.starts_with("_Z")) return 0;
  // A local variable's name holds its function's: _ZZ<function>E<variable>.
  const std::string prefix = "_ZZ" + mangled_kernel.substr(2) + "E";
  std::size_t sum = 0;
  for (const auto& variable : thread_variables()) {
    if (variable.name.starts_with(prefix) && is_shared_array(variable.name)) sum += variable.size;
  }
  return sum;
}

}  // namespace kit::simt::detail
