#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "kit/cuda/stream.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include "kit/cuda/cuda_error.h"
#else
#include "kit/simt/launch.h"
#include "kit/simt/vector_types.h"
#endif

namespace kit {

/// The <<<...>>> of a launch.
struct LaunchConfig {
  dim3 grid;                             // thread blocks
  dim3 thread_block;                     // threads
  std::size_t dynamic_shared_bytes = 0;  // a KIT_DYNAMIC_SHARED array's
  const cuda::Stream* stream = nullptr;  // the default stream
};

/// ceil(n / d) for n >= 0, d > 0: how many thread blocks of d cover n.
template <class N, class D>
constexpr unsigned ceil_div(N n, D d) {
  return static_cast<unsigned>((n + static_cast<N>(d) - 1) / static_cast<N>(d));
}

/// Runs `kernel` and waits for nothing: copying a DeviceBuffer back waits. On the executor the kernel has
/// ended when launch returns, and a fault in it throws simt::LaunchError (a kit::Error). On a GPU a bad
/// configuration throws. Inlined, so that a fault of the launch itself is on the caller's line.
template <class... Parameters, class... Arguments>
inline __attribute__((always_inline)) void launch(void (*kernel)(Parameters...), const LaunchConfig& config,
                                                  Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments),
                "one argument for each parameter of the kernel");
#if defined(__CUDACC__)
  // Beyond 48 KiB of dynamic shared memory a kernel must ask.
  if (config.dynamic_shared_bytes > 48 * 1024) {
    KIT_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(config.dynamic_shared_bytes)));
  }
  auto* const stream =
      static_cast<cudaStream_t>(config.stream == nullptr ? nullptr : config.stream->handle());
  kernel<<<config.grid, config.thread_block, config.dynamic_shared_bytes, stream>>>(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  KIT_CUDA_CHECK(cudaGetLastError());
#else
  simt::detail::ArgumentPack<std::index_sequence_for<Parameters...>, Parameters...> pack{
      {static_cast<Parameters>(std::forward<Arguments>(arguments))}...};
  simt::detail::launch({.kernel = reinterpret_cast<const void*>(kernel),
                        .arguments = &pack,
                        .arguments_bytes = sizeof(pack),
                        .call = &decltype(pack)::template call<Parameters...>},
                       {config.grid.x, config.grid.y, config.grid.z},
                       {config.thread_block.x, config.thread_block.y, config.thread_block.z},
                       config.dynamic_shared_bytes);
#endif
}

}  // namespace kit
