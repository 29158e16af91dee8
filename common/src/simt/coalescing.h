#pragma once

#include <cstdint>

/// What one warp instruction costs, from its addresses alone. Sources: NVIDIA's CUDA C++ Best Practices
/// Guide, "Coalesced access to global memory" and "Shared memory and memory banks".
namespace kit::simt::detail {

/// Number of 32-byte sectors that the active lanes touch. addresses: [32], read where `mask` has a bit; each
/// access is aligned to its width of up to 16 bytes, so none crosses a sector.
int count_sectors(const std::uint64_t* addresses, std::uint32_t mask);

/// Passes over the 32 banks of 4 bytes. Accesses of 8 bytes go by half-warps, of 16 by quarter-warps. Lanes
/// that read or write the same word share it; different words of one bank take turns.
int count_wavefronts(const std::uint64_t* addresses, std::uint32_t mask, int width);

/// The same without any conflict: 1, or the number of half- or quarter-warps with an active lane.
int count_ideal_wavefronts(std::uint32_t mask, int width);

/// Passes of an atomic on words of 4 bytes, where lanes on the same word take turns too.
int count_atomic_wavefronts(const std::uint64_t* addresses, std::uint32_t mask);

}  // namespace kit::simt::detail
