#pragma once

#include <cstdint>
#include <string>

/// The GPU of this machine, if there is one. In library kit_gpu.
namespace kit::cuda {

/// What the driver says of device 0. Source of each: CUDA Runtime API, cudaGetDeviceProperties and
/// cudaDeviceGetAttribute.
struct DeviceInfo {
  bool present = false;
  std::string reason;     ///< why it is not present: "no CUDA-capable device is detected (cudaErrorNoDevice)"
  std::string name;       ///< "NVIDIA A100-SXM4-80GB"; what follows is 0 when it is not present
  int compute_major = 0;  ///< compute capability 8.0: major 8, minor 0
  int compute_minor = 0;
  int n_multiprocessors = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t l2_bytes = 0;
  /// GB/s (1e9 bytes a second): 2 transfers a clock * memory clock * bus width, both as the driver reports
  /// them. 0 where it reports none. The datasheet's number may differ, and no kernel reaches either: measure
  /// (kit/cuda/timing.h).
  double peak_gb_per_s = 0.0;
  int driver_version =
      0;  ///< newest CUDA that the driver knows: 1000 * major + 10 * minor; 0 without a driver
  int runtime_version = 0;  ///< CUDA runtime this program was built with, in the same form
};

/// Never throws: without a driver or a device, `present` is false and `reason` says why.
DeviceInfo query_device();

/// query_device().present, asked once in a program's life.
bool device_present();

}  // namespace kit::cuda
