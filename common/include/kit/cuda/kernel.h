#pragma once

/// What a .cu file includes: CUDA C++, kit::launch and DeviceBuffer. nvcc takes NVIDIA's headers; any other
/// compiler takes the SIMT executor's, and the same kernel runs without a GPU.
#if defined(__CUDACC__)
#include <cuda_bf16.h>     // IWYU pragma: export
#include <cuda_fp16.h>     // IWYU pragma: export
#include <cuda_runtime.h>  // IWYU pragma: export

/// An array of T in dynamic shared memory, LaunchConfig::dynamic_shared_bytes long; declare it once in a
/// kernel.
#define KIT_DYNAMIC_SHARED(T, name)                                          \
  extern __shared__ __align__(16) unsigned char kit_dynamic_shared_memory[]; \
  T* name = reinterpret_cast<T*>(kit_dynamic_shared_memory)
#else
#include "kit/simt/language.h"  // IWYU pragma: export

#define KIT_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(::kit::simt::detail::dynamic_shared())
#endif

#include "kit/cuda/device_buffer.h"  // IWYU pragma: export
#include "kit/cuda/launch.h"         // IWYU pragma: export
