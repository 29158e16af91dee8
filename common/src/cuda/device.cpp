#include "kit/cuda/device.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace kit::cuda {

namespace {

int attribute(cudaDeviceAttr which) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, which, 0) == cudaSuccess ? value : 0;
}

double peak_gb_per_s() {
  const double clock_hz = 1e3 * attribute(cudaDevAttrMemoryClockRate);  // reported in kHz
  const double bus_bytes = attribute(cudaDevAttrGlobalMemoryBusWidth) / 8.0;
  constexpr double kTransfersPerClock = 2.0;
  return kTransfersPerClock * clock_hz * bus_bytes / 1e9;
}

}  // namespace

DeviceInfo query_device() {
  DeviceInfo info;
  cudaDriverGetVersion(&info.driver_version);
  cudaRuntimeGetVersion(&info.runtime_version);
  int n_devices = 0;
  cudaDeviceProp properties{};
  cudaError_t error = cudaGetDeviceCount(&n_devices);
  if (error == cudaSuccess && n_devices == 0) error = cudaErrorNoDevice;
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
  if (error != cudaSuccess) {
    cudaGetLastError();
    info.reason = fmt::format("{} ({})", cudaGetErrorString(error), cudaGetErrorName(error));
    return info;
  }
  info.present = true;
  info.name = properties.name;
  info.compute_major = properties.major;
  info.compute_minor = properties.minor;
  info.n_multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  info.l2_bytes = properties.l2CacheSize;
  info.peak_gb_per_s = peak_gb_per_s();
  return info;
}

bool device_present() {
  static const bool present = query_device().present;
  return present;
}

}  // namespace kit::cuda
