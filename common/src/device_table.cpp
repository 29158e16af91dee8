#include "kit/device_table.h"

#include <unistd.h>

#include <vector>

#include "kit/check.h"

namespace kit {

namespace {

using enum NumberFormat;

constexpr std::int64_t kGigabyte = 1'000'000'000;
constexpr double kGigabytesPerSecond = 1e9;
constexpr double kTera = 1e12;

/// Ampere's tensor cores; FP32 is the rate of the CUDA cores (TF32 is another format, 156 TFLOP/s).
/// NVIDIA A100 Tensor Core GPU data sheet, and A100 architecture white paper, table 1.
std::map<NumberFormat, double> a100_peaks() {
  return {{kFp32, 19.5 * kTera},
          {kFp16, 312 * kTera},
          {kBf16, 312 * kTera},
          {kInt8, 624 * kTera},
          {kInt4, 1248 * kTera}};
}

/// NVIDIA H100 Tensor Core GPU Architecture white paper, table "H100 SXM5", dense rates. The data sheet
/// prints twice as much, "with sparsity". No INT4.
std::map<NumberFormat, double> hopper_peaks() {
  return {{kFp32, 66.9 * kTera},
          {kFp16, 989.4 * kTera},
          {kBf16, 989.4 * kTera},
          {kFp8, 1978.9 * kTera},
          {kInt8, 1978.9 * kTera}};
}

std::vector<Device> make_table() {
  return {
      // NVIDIA A100 Tensor Core GPU data sheet: 40 GB HBM2 at 1,555 GB/s; 80 GB SXM, HBM2e, at
      // 2,039 GB/s (the 80 GB PCIe card has 1,935 GB/s).
      {"a100-40gb", "NVIDIA A100 40 GB", 40 * kGigabyte, 1555 * kGigabytesPerSecond, a100_peaks()},
      {"a100-80gb", "NVIDIA A100 SXM 80 GB", 80 * kGigabyte, 2039 * kGigabytesPerSecond, a100_peaks()},
      // NVIDIA H100 Tensor Core GPU data sheet, column SXM: 80 GB at 3.35 TB/s.
      {"h100-sxm", "NVIDIA H100 SXM 80 GB", 80 * kGigabyte, 3350 * kGigabytesPerSecond, hopper_peaks()},
      // NVIDIA H200 Tensor Core GPU data sheet: 141 GB at 4.8 TB/s, arithmetic as the H100 SXM.
      {"h200-sxm", "NVIDIA H200 SXM 141 GB", 141 * kGigabyte, 4800 * kGigabytesPerSecond, hopper_peaks()},
      // NVIDIA L4 Tensor Core GPU data sheet: 24 GB at 300 GB/s. It prints 242 TFLOP/s FP16 and
      // 485 FP8 and INT8 with sparsity; these are half.
      {"l4",
       "NVIDIA L4 24 GB",
       24 * kGigabyte,
       300 * kGigabytesPerSecond,
       {{kFp32, 30.3 * kTera},
        {kFp16, 121 * kTera},
        {kBf16, 121 * kTera},
        {kFp8, 242.5 * kTera},
        {kInt8, 242.5 * kTera}}},
      // NVIDIA Ada GPU Architecture white paper, appendix A: 24 GB at 1,008 GB/s; dense tensor
      // rates with FP32 accumulation for the floating formats (twice that with FP16 accumulation).
      {"rtx-4090",
       "NVIDIA GeForce RTX 4090 24 GB",
       24 * kGigabyte,
       1008 * kGigabytesPerSecond,
       {{kFp32, 82.6 * kTera},
        {kFp16, 165.2 * kTera},
        {kBf16, 165.2 * kTera},
        {kFp8, 330.3 * kTera},
        {kInt8, 660.6 * kTera},
        {kInt4, 1321.2 * kTera}}},
  };
}

const std::vector<Device>& table() {
  static const std::vector<Device> devices = make_table();
  return devices;
}

}  // namespace

double peak_flop_per_s(const Device& device, NumberFormat format) {
  const auto found = device.peak_flop_per_s.find(format);
  if (found != device.peak_flop_per_s.end()) return found->second;
  std::string names;
  for (const auto& [known, peak] : device.peak_flop_per_s)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name(known));
  throw Error(
      fmt::format("{} does not multiply in {}; its formats are {}", device.name, name(format), names));
}

std::span<const Device> devices() {
  return table();
}

const Device& find_device(std::string_view name) {
  std::string names;
  for (const Device& device : table()) {
    if (device.name == name) return device;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", device.name);
  }
  throw Error(fmt::format("there is no device '{}'; there are {}", name, names));
}

Device this_machine(const MachineCeilings& ceilings) {
  const std::int64_t memory_bytes = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE);
  const double peak = ceilings.peak_gflop_per_s * 1e9;
  return {"this-machine",
          fmt::format("this machine, {} threads, as measured", ceilings.n_threads),
          memory_bytes,
          ceilings.read_gb_per_s * kGigabytesPerSecond,
          {{kFp32, peak}, {kFp16, peak}, {kBf16, peak}}};
}

}  // namespace kit
