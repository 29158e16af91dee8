#pragma once

#include <cstddef>
#include <cstdint>

#include "kit/tensor.h"

/// Kernels that show how the executor runs threads; all views are device memory.
namespace scheduling {

/// One thread block of 32: each thread adds up n elements, 32 apart.
void long_loop(kit::TensorView<const float> in, kit::TensorView<float> out);
/// One warp; lane l reads in[0 .. l) and writes their sum.
void triangle(kit::TensorView<const float> in, kit::TensorView<float> out);
/// One warp; even lanes read 1000 elements of one array, odd lanes 1000 of another.
void two_paths(kit::TensorView<const float> in, kit::TensorView<float> out);
/// Thread 0 waits, polling an atomic, for all others of its block.
void wait_for_others(kit::TensorView<int> out);
/// out[i] += 1 for each thread block i of a grid of out.size().
void visit_blocks(kit::TensorView<int> out);
/// A barrier that g++ copies to both sides of a branch that all threads take the same way.
void uniform_branch(kit::TensorView<float> data, int times);
/// in[i] at lane l % 2 == 0 by __ldg through a device function that is inlined twice.
void inlined_twice(kit::TensorView<const float> in, kit::TensorView<float> out);

/// One warp copies 32 float3, each 12 bytes. in, out: [96].
void copy_triples(kit::TensorView<const float> in, kit::TensorView<float> out);
/// n bytes by one thread.
void copy_bytes(const std::uint8_t* in, std::uint8_t* out, std::size_t n);

void clear_bytes(std::uint8_t* out, std::size_t n);

}  // namespace scheduling
