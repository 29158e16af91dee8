#include "kit/cuda/cuda_error.h"

#include <fmt/format.h>

#include <string_view>

#include "kit/check.h"

namespace kit::cuda::detail {

void check_cuda(cudaError_t error, const char* expression, const char* file, int line) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // forget it; an error that the context cannot survive comes back by itself
  const std::string_view path = file;
  throw Error(fmt::format("{} failed: {} ({}) [{}:{}]", expression, cudaGetErrorString(error),
                          cudaGetErrorName(error), path.substr(path.find_last_of('/') + 1), line));
}

}  // namespace kit::cuda::detail
