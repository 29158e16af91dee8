#pragma once

#include <cstdint>

#include "kit/tensor.h"

/// Lab 01, task 7: what a GPU's memory system wants.
///
/// Every view is device memory (kit::DeviceBuffer::view). Each function checks its arguments, then launches
/// one kernel or two, and may return before they have ended. Inputs are left as they are, outputs may hold
/// anything before, and `in` and `out` do not overlap. Counts are those of full warps on arrays that begin at
/// a multiple of 128 bytes. Sources: NVIDIA, CUDA C++ Best Practices Guide, "Coalesced access to global
/// memory"; Harris, "An Efficient Matrix Transpose in CUDA C/C++" and "Optimizing Parallel Reduction in
/// CUDA"; docs/01_memory_bound_inference.md.
namespace lab01 {

/// out[i] = in[i], neighbouring threads on neighbouring elements: a warp instruction moves 128 bytes in 4
/// sectors. in, out: [n], n >= 0. Throws kit::Error when the shapes differ.
void copy_cuda(kit::TensorView<const float> in, kit::TensorView<float> out);

/// The same with 16 bytes a thread (float4): a quarter of the warp instructions, 16 sectors each.
/// in, out: [n], n >= 0; the last n mod 4 elements, which do not fill 16 bytes, are copied one by one. Throws
/// kit::Error when the shapes differ, or when a view does not begin at a multiple of 16 bytes.
void copy_vectorized_cuda(kit::TensorView<const float> in, kit::TensorView<float> out);

/// out[i] = in[i * stride], one thread an element of out: what it costs to use one element of many.
/// in: [at least (n - 1) * stride + 1], out: [n], n >= 0. Throws kit::Error on a stride below 1 or an `in`
/// that is too short.
void copy_strided_cuda(kit::TensorView<const float> in, kit::TensorView<float> out, std::int64_t stride);

/// out[j][i] = in[i][j], straight from memory to memory. A warp reads 32 neighbours of a row (4 sectors) and
/// writes them a row of `out` apart (32 sectors). in: [rows, cols], out: [cols, rows], any sizes up to 65,535
/// * 32. Throws kit::Error when the shapes do not match.
void transpose_naive_cuda(kit::TensorView<const float> in, kit::TensorView<float> out);

/// The same through a 32 x 32 tile in shared memory: a warp reads and writes 32 neighbours of a row (4
/// sectors each), and taking a column out of the tile hits one bank 32 times.
void transpose_tiled_cuda(kit::TensorView<const float> in, kit::TensorView<float> out);

/// The same without bank conflicts, by a tile whose rows are one element longer: no two elements of a column
/// share a bank.
void transpose_padded_cuda(kit::TensorView<const float> in, kit::TensorView<float> out);

/// out[0] = sum of in, in an order that does not depend on timing: the same bits on every run. Each thread
/// adds up its share, each warp its threads' sums with shuffles; shared memory holds one value a warp, and a
/// second launch adds the thread blocks' sums. in: [n], n >= 0 (the empty sum is 0), out: [1]. Throws
/// kit::Error when out has another shape.
void sum_cuda(kit::TensorView<const float> in, kit::TensorView<float> out);

}  // namespace lab01
