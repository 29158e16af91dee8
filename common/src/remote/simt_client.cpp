// The checker's CUDA back end: device memory is in the worker, where the student's kernels run on the
// executor. The third answer, beside kit_simt and kit_gpu, to what the kit's CUDA headers declare.
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "kit/cuda/device_buffer.h"
#include "kit/cuda/stream.h"
#include "simt_messages.h"

namespace kit {

namespace {

using remote::Call;
using remote::Connection;

template <class Signature, class... A>
auto ask(std::string_view name, A&&... arguments) {
  return Call<Signature>::ask(Connection::of_checker(), {.name = name}, std::forward<A>(arguments)...);
}

/// What stands for device memory here: address space that nobody may touch, so that no pointer of the
/// checker's own can be taken for it. By its first byte.
struct Allocation {
  std::size_t n_bytes = 0;
  std::size_t mapped_bytes = 0;
  std::uint64_t address = 0;  // in the worker
};

class DeviceMemory {
 public:
  static DeviceMemory& instance() {
    static auto* memory = new DeviceMemory;  // never destroyed: buffers with static storage may outlive it
    return *memory;
  }

  void* add(std::size_t n_bytes, std::uint64_t address) {
    // Views may begin anywhere inside and one element behind the end is a valid pointer, too.
    constexpr std::size_t kPage = 4096;
    const std::size_t mapped = (n_bytes / kPage + 1) * kPage;
    void* pages = ::mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    KIT_CHECK(pages != MAP_FAILED, "device memory: no address space for {} bytes", n_bytes);
    const std::scoped_lock lock(mutex_);
    allocations_[reinterpret_cast<std::uintptr_t>(pages)] = {n_bytes, mapped, address};
    return pages;
  }

  /// The worker's address; 0 when it is none of ours.
  std::uint64_t remove(void* data) {
    const std::scoped_lock lock(mutex_);
    const auto found = allocations_.find(reinterpret_cast<std::uintptr_t>(data));
    if (found == allocations_.end()) return 0;
    const Allocation allocation = found->second;
    allocations_.erase(found);
    ::munmap(data, allocation.mapped_bytes);
    return allocation.address;
  }

  std::optional<std::uint64_t> translate(const void* pointer) {
    const auto at = reinterpret_cast<std::uintptr_t>(pointer);
    const std::scoped_lock lock(mutex_);
    auto next = allocations_.upper_bound(at);
    if (next == allocations_.begin()) return std::nullopt;
    const auto& [start, allocation] = *std::prev(next);
    if (at - start > allocation.mapped_bytes - 1) return std::nullopt;
    return allocation.address + (at - start);
  }

 private:
  DeviceMemory() {
    remote::set_device_translator([](const void* pointer) { return instance().translate(pointer); });
  }
  std::mutex mutex_;
  std::map<std::uintptr_t, Allocation> allocations_;
};

std::uint64_t address_of(const void* device, const char* what) {
  const auto address = DeviceMemory::instance().translate(device);
  KIT_CHECK(address.has_value(), "{}: {} is not device memory", what, device);
  return *address;
}

// Larger buffers cross in pieces: the shared memory has an end.
constexpr std::size_t kPieceBytes = std::size_t{256} << 20;

}  // namespace

namespace cuda {

void* device_allocate(std::size_t n_bytes) {
  return DeviceMemory::instance().add(n_bytes, ask<remote::Allocate>(remote::kAllocate, n_bytes));
}

void device_free(void* data) noexcept {
  const std::uint64_t address = DeviceMemory::instance().remove(data);
  if (address == 0) return;
  try {
    ask<remote::Free>(remote::kFree, address);
  } catch (const std::exception&) {
    // A worker that is gone has freed everything; whoever asks it next is told.
  }
}

void copy_to_device(void* device, const void* host, std::size_t n_bytes) {
  const std::uint64_t address = address_of(device, "copy to the device");
  const std::span all(static_cast<const std::byte*>(host), n_bytes);
  for (std::size_t at = 0; at < n_bytes; at += kPieceBytes)
    ask<remote::CopyToDevice>(remote::kCopyToDevice, address + at,
                              all.subspan(at, std::min(kPieceBytes, n_bytes - at)));
}

void copy_to_host(void* host, const void* device, std::size_t n_bytes) {
  const std::uint64_t address = address_of(device, "copy from the device");
  const std::span all(static_cast<std::byte*>(host), n_bytes);
  for (std::size_t at = 0; at < n_bytes; at += kPieceBytes)
    ask<remote::CopyToHost>(remote::kCopyToHost, all.subspan(at, std::min(kPieceBytes, n_bytes - at)),
                            address + at);
}

void device_fill(void* device, int byte, std::size_t n_bytes) {
  ask<remote::Fill>(remote::kFill, address_of(device, "fill device memory"), byte, n_bytes);
}

// As on the executor, a launch has ended when the call that launched it returns.
void synchronize() {}
void* stream_create() {
  return nullptr;
}
void stream_destroy(void* /*stream*/) noexcept {}
void stream_synchronize(void* /*stream*/) {}

}  // namespace cuda

namespace simt {

namespace {
std::mutex options_mutex;
Options& current_options() {
  static Options value;
  return value;
}
}  // namespace

Options options() {
  const std::scoped_lock lock(options_mutex);
  return current_options();
}

void set_options(const Options& options) {
  {
    const std::scoped_lock lock(options_mutex);
    current_options() = options;
  }
  try {
    ask<remote::SetOptions>(remote::kSetOptions, OptionsMessage{.trace = options.trace,
                                                                .order = options.order,
                                                                .device = std::string(options.limits.device),
                                                                .max_cpu_seconds = options.max_cpu_seconds});
  } catch (const std::exception&) {
    // ~ScopedOptions calls this and must not throw. Whoever asks a worker that is gone next is told; one that
    // refuses could as well have said yes and done nothing.
  }
}

namespace {

/// Tests add counts up. They come from the worker, so sums must not overflow.
void require_counts(const LaunchReport& launch) {
  constexpr std::int64_t kMost = std::int64_t{1} << 50;
  constexpr std::size_t kMostLines = 4096;
  const auto require = [](std::int64_t count) {
    if (count < 0 || count > kMost)
      throw remote::ProtocolError(fmt::format("{}a count of {}", remote::ProtocolError::kPrefix, count));
  };
  require(static_cast<std::int64_t>(launch.lines.size()) <= static_cast<std::int64_t>(kMostLines) ? 0 : -1);
  for (const std::int64_t count : {launch.static_shared_bytes, launch.dynamic_shared_bytes, launch.barriers,
                                   launch.warp_syncs, launch.shuffles})
    require(count);
  for (const LineReport& line : launch.lines) {
    const auto& [requests, accesses, partial, sectors, ideal_sectors, useful, wavefronts, ideal_wavefronts] =
        line.counters;
    for (const std::int64_t count :
         {requests, accesses, partial, sectors, ideal_sectors, useful, wavefronts, ideal_wavefronts})
      require(count);
    if (line.width != 1 && line.width != 2 && line.width != 4 && line.width != 8 && line.width != 16)
      require(-1);
  }
}

}  // namespace

std::vector<LaunchReport> profile(const std::function<void()>& body) {
  int n_runs = 0;
  std::exception_ptr error;
  const std::function<void()> once = [&] {
    if (++n_runs > 1)
      throw remote::ProtocolError(fmt::format("{}a profile that runs twice", remote::ProtocolError::kPrefix));
    try {
      body();
    } catch (...) {
      // Kept here, with everything that it is; the worker only learns that there was something.
      error = std::current_exception();
      throw;
    }
  };
  std::vector<LaunchReport> launches;
  try {
    launches = ask<remote::Profile>(remote::kProfile, once);
  } catch (...) {
    if (error) std::rethrow_exception(error);
    throw;
  }
  if (error) std::rethrow_exception(error);
  if (n_runs != 1)
    throw remote::ProtocolError(fmt::format("{}a profile of nothing", remote::ProtocolError::kPrefix));
  for (const LaunchReport& launch : launches) require_counts(launch);
  return launches;
}

}  // namespace simt

}  // namespace kit
