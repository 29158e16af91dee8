// The worker's half of the CUDA back end: the executor, asked by the checker.
#include "kit/cuda/device_buffer.h"
#include "simt_messages.h"

namespace kit::remote {

namespace {

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

template <class Signature, class F>
Registration service(std::string_view name, F function) {
  return {std::string(name),
          [function](Reader& reader, Writer& writer) { Call<Signature>::answer(reader, writer, function); }};
}

const Registration kServices[] = {
    service<Allocate>(kAllocate,
                      [](std::uint64_t n_bytes) {
                        return reinterpret_cast<std::uint64_t>(cuda::device_allocate(n_bytes));
                      }),
    service<Free>(kFree, [](std::uint64_t address) { cuda::device_free(pointer(address)); }),
    service<CopyToDevice>(kCopyToDevice,
                          [](std::uint64_t device, std::span<const std::byte> host) {
                            cuda::copy_to_device(pointer(device), host.data(), host.size());
                          }),
    service<CopyToHost>(kCopyToHost,
                        [](std::span<std::byte> host, std::uint64_t device) {
                          cuda::copy_to_host(host.data(), pointer(device), host.size());
                        }),
    service<Fill>(kFill, [](std::uint64_t device, std::int32_t byte,
                            std::uint64_t n_bytes) { cuda::device_fill(pointer(device), byte, n_bytes); }),
    service<SetOptions>(kSetOptions,
                        [](const simt::OptionsMessage& message) {
                          simt::set_options({.trace = message.trace,
                                             .order = message.order,
                                             .limits = simt::device_limits(message.device),
                                             .max_cpu_seconds = message.max_cpu_seconds});
                        }),
    service<Profile>(kProfile, [](const std::function<void()>& body) { return simt::profile(body); }),
};

}  // namespace

}  // namespace kit::remote
