#pragma once

#include <span>

/// The kit's own STREAM triad, which lab 01's is held against (McCalpin 1995, STREAM).
namespace kit {

/// a[i] = b[i] + s * c[i] on all cores, with ordinary stores: a cache that allocates on a write reads each
/// line of a before it is overwritten. All spans have the same length; a does not overlap b or c. Throws
/// kit::Error on lengths that differ.
void reference_triad(double s, std::span<const double> b, std::span<const double> c, std::span<double> a);

/// The same with non-temporal stores, which write whole lines past the caches and read nothing of a.
void reference_triad_nontemporal(double s, std::span<const double> b, std::span<const double> c,
                                 std::span<double> a);

}  // namespace kit
