#pragma once

/// Lab 01, task 3: the roofline. Source: Williams, Waterman and Patterson 2009, "Roofline", section 3.
///
/// Every function throws kit::Error that names the parameter and its value when one is not positive or not
/// finite; FLOPs may be zero, for work that only moves bytes.
namespace lab01 {

/// A device's two limits.
struct Roof {
  double peak_flop_per_s = 0.0;
  double bandwidth_bytes_per_s = 0.0;
};

enum class Bound { kMemory, kCompute };

/// FLOPs for each byte moved.
double arithmetic_intensity(double flops, double bytes);

/// The intensity, in FLOP/byte, at which both limits take equal time.
double ridge_point(const Roof& roof);

/// The most FLOP/s that work of this intensity (FLOP/byte, may be 0) can reach.
double attainable_flop_per_s(const Roof& roof, double intensity);

/// Which limit holds work of this intensity back. At the ridge point itself: kCompute.
Bound bound(const Roof& roof, double intensity);

/// The least time for this work, in milliseconds: arithmetic and memory overlap perfectly, so the slower of
/// the two decides.
double time_floor_ms(const Roof& roof, double flops, double bytes);

}  // namespace lab01
