#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "kit/number_format.h"
#include "kit/probe.h"

/// What devices can do, from their makers' data sheets, and what this machine was measured to do.
namespace kit {

struct Device {
  std::string name;                    ///< "a100-80gb", as the command line says it
  std::string title;                   ///< "NVIDIA A100 SXM 80 GB"
  std::int64_t memory_bytes = 0;       ///< as sold, 1 GB = 1e9 bytes; a driver keeps some of it to itself
  double bandwidth_bytes_per_s = 0.0;  ///< of the device's memory
  /// Dense matrix products, never the doubled number "with sparsity"; 1 multiply-add = 2 operations. A format
  /// that the device does not multiply in is not in the map.
  std::map<NumberFormat, double> peak_flop_per_s;
};

/// Peak of products whose operands have this format. Throws kit::Error that names the device and the formats
/// it has.
double peak_flop_per_s(const Device& device, NumberFormat format);

/// Every device of the table: a100-40gb, a100-80gb, h100-sxm, h200-sxm, l4, rtx-4090. Each row names its
/// source.
std::span<const Device> devices();

/// A device by name. Throws kit::Error that lists the names.
const Device& find_device(std::string_view name);

/// The entry "this-machine": its memory, its measured read bandwidth, and its measured FP32 FMA rate. 16-bit
/// formats have the same peak, because the kit widens them to float before it computes.
Device this_machine(const MachineCeilings& ceilings);

}  // namespace kit
