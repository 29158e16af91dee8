#pragma once

#include <cuda_runtime_api.h>

/// Errors of the CUDA runtime as kit::Error. Needs NVIDIA's headers: only code of the GPU back end includes
/// it.
namespace kit::cuda::detail {

/// Nothing when `error` is cudaSuccess; else throws kit::Error with the expression, the error's name and
/// description, file and line. Clears the runtime's last error, so that the next check tells of its own call.
void check_cuda(cudaError_t error, const char* expression, const char* file, int line);

}  // namespace kit::cuda::detail

/// KIT_CUDA_CHECK(cudaMalloc(&data, n_bytes)): throws kit::Error in every build type when the call failed.
/// A kernel's own fault shows only at a call after its launch, at the latest in kit::cuda::synchronize().
#define KIT_CUDA_CHECK(expression) \
  ::kit::cuda::detail::check_cuda((expression), #expression, __FILE__, __LINE__)
