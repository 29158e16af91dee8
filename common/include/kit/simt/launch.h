#pragma once

#include <array>
#include <cstddef>
#include <utility>

/// What kit::launch hands to the executor.
namespace kit::simt::detail {

struct KernelCall {
  const void* kernel = nullptr;     // for its name
  const void* arguments = nullptr;  // read by every thread; a kernel's parameters, not host memory
  std::size_t arguments_bytes = 0;
  void (*call)(const void* kernel, const void* arguments) = nullptr;  // runs one thread
};

void launch(const KernelCall& call, std::array<unsigned, 3> grid, std::array<unsigned, 3> thread_block,
            std::size_t dynamic_shared_bytes);

template <std::size_t index, class T>
struct Argument {
  T value;
};

template <class Indices, class... Parameters>
struct ArgumentPack;

/// The arguments of a launch. A std::tuple would be read through functions that the kernel's compilation
/// instruments, at the cost of a traced access for each argument of each thread.
template <std::size_t... index, class... Parameters>
struct ArgumentPack<std::index_sequence<index...>, Parameters...> : Argument<index, Parameters>... {
  template <class... P>
  __attribute__((no_sanitize("thread"))) static void call(const void* kernel, const void* arguments) {
    const auto& pack = *static_cast<const ArgumentPack*>(arguments);
    reinterpret_cast<void (*)(P...)>(const_cast<void*>(kernel))(
        static_cast<const Argument<index, Parameters>&>(pack).value...);
  }
};

}  // namespace kit::simt::detail
