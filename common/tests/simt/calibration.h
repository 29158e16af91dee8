#pragma once

#include "kit/tensor.h"

/// Kernels whose counts can be derived by hand, for the executor's tests and for comparison with Nsight
/// Compute. All views are device memory.
namespace calibration {

/// n elements, threads of 256, `width` bytes (4, 8 or 16) a thread; n * 4 bytes in all.
void copy(kit::TensorView<const float> in, kit::TensorView<float> out, int width);
/// out[i] = in[i * stride]; one thread an element.
void strided_copy(kit::TensorView<const float> in, kit::TensorView<float> out, int stride);

enum class Transpose { kNaive, kTiled, kPadded };
/// in: [n, n] to out: [n, n], n a multiple of 32. Thread blocks of 32 x 8, each a tile of 32 x 32.
void transpose(kit::TensorView<const float> in, kit::TensorView<float> out, Transpose variant);

enum class Histogram { kGlobalAtomics, kSharedAtomics };
/// bins[in[i]] += 1 for 256 bins. n a multiple of 256; thread blocks of 256.
void histogram(kit::TensorView<const int> in, kit::TensorView<int> bins, Histogram variant);

enum class Reduction { kDivergent, kSequential };
/// out[b] = sum of the b-th 256 elements of in. One thread block of 256 each.
void reduce(kit::TensorView<const float> in, kit::TensorView<float> out, Reduction variant);

/// One warp a thread block: lane l moves 16 bytes to shared memory and back; n floats, a multiple of 128.
void shared_16_bytes(kit::TensorView<const float> in, kit::TensorView<float> out);

}  // namespace calibration
