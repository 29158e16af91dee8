#include "faults.h"

#include <cstdint>
#include <numeric>
#include <stdexcept>

#include "kit/cuda/kernel.h"

// One fault a kernel is the point of this file; it is not built by nvcc, which would refuse some of it.
// Longer than other .cu files: each fault stands beside its near miss in one table, and the test reads the
// marked lines from this one file.
namespace faults {

namespace {

template <class T>
kit::DeviceBuffer<T> filled(std::int64_t n) {
  kit::DeviceBuffer<T> buffer(n);
  buffer.fill_bytes(0);
  return buffer;
}

// ------------------------------------------------------------------------------------------- memory

template <class T>
__global__ void read_kernel(const T* data, T* out, long index) {
  out[0] = data[index];  // FAULT read
}
template <class T>
__global__ void write_kernel(T* data, T value, long index) {
  data[index] = value;  // FAULT write
}
__global__ void atomic_kernel(int* data, long index) {
  atomicAdd(&data[index], 1);  // FAULT atomic
}

template <class T>
void add_width_cases(std::vector<Case>& cases, const std::string& type) {
  constexpr std::int64_t kN = 100;
  const auto read = [](long index) {
    return [index] {
      auto data = filled<T>(kN);
      auto out = filled<T>(1);
      kit::launch(read_kernel<T>, {1, 1}, data.data(), out.data(), index);
    };
  };
  const auto write = [](long index) {
    return [index] {
      auto data = filled<T>(kN);
      kit::launch(write_kernel<T>, {1, 1}, data.data(), T{}, index);
    };
  };
  cases.push_back(
      {"read", read(kN), read(kN - 1), "out-of-bounds read of " + std::to_string(sizeof(T)) + " byte"});
  cases.push_back({"read", read(-1), read(0), "before the device buffer"});
  cases.push_back({"write", write(kN), write(kN - 1), "right behind the end of the device buffer"});
  cases.push_back(
      {"write", write(-1), write(0), "out-of-bounds write of " + std::to_string(sizeof(T)) + " byte"});
  (void)type;
}

__global__ void guard_kernel(float* out, int n, int guarded_n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < guarded_n) out[i] = static_cast<float>(n);  // FAULT tail
}

__global__ void host_pointer_kernel(const float* in, float* out) {
  out[0] = in[0];  // FAULT host_pointer
}

__global__ void local_of_another_kernel(int* out) {
  __shared__ const int* shared_pointer;
  int local[2] = {static_cast<int>(threadIdx.x), 1};
  if (threadIdx.x == 0) shared_pointer = local;
  __syncthreads();
  out[threadIdx.x] = shared_pointer[1];  // FAULT local_of_another
  __syncthreads();
}
__global__ void own_local_kernel(int* out, int n) {
  int local[4] = {1, 2, 3, 4};
  for (int i = 0; i < n; ++i) local[i % 4] += local[(i + 1) % 4];
  out[threadIdx.x] = local[n % 4];
}

__global__ void misaligned_kernel(const float* in, float* out, int offset) {
  const float4 value = *reinterpret_cast<const float4*>(in + offset);  // FAULT misaligned
  out[0] = value.x + value.w;
}

__global__ void uninitialised_shared_kernel(float* out, int n_filled) {
  __shared__ float values[64];
  const int i = static_cast<int>(threadIdx.x);
  if (i < n_filled) values[i] = 1.0F;
  __syncthreads();
  out[i] = values[63 - i];  // FAULT uninitialised_shared
}

__global__ void shared_past_end_kernel(float* out, int index) {
  __shared__ float before[32];
  __shared__ float values[32];
  __shared__ float after[32];
  before[threadIdx.x] = values[threadIdx.x] = after[threadIdx.x] = 1.0F;
  __syncthreads();
  const float* pointer = values;
  asm volatile("" : "+r"(pointer));  // the compiler must not know the bound
  out[threadIdx.x] = before[threadIdx.x] + after[threadIdx.x];
  if (threadIdx.x == 0) out[0] = pointer[index];  // FAULT shared_past_end
}

__global__ void array_bound_kernel(float* out, int column) {
  __shared__ float tile[4][4];
  const int i = static_cast<int>(threadIdx.x);
  tile[i / 4][i % 4] = 1.0F;
  __syncthreads();
  out[i] = tile[i / 4][column];  // FAULT array_bound
}

__global__ void dynamic_shared_kernel(float* out, int n, int index) {
  KIT_DYNAMIC_SHARED(float, values);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) values[i] = 2.0F;
  __syncthreads();
  if (threadIdx.x == 0) out[0] = values[index];  // FAULT dynamic_shared
}

// ------------------------------------------------------------------------------------------- races

template <bool kWithBarrier>
__global__ void neighbour_kernel(float* out) {
  __shared__ float values[64];
  const int i = static_cast<int>(threadIdx.x);
  values[i] = static_cast<float>(i);  // FAULT shared_race
  values[i] += 1.0F;                  // FAULT shared_race
  if (kWithBarrier) __syncthreads();
  out[i] = values[(i + 33) % 64];  // FAULT shared_race
}

// Each thread reads its neighbour's value and then overwrites its own.
template <bool kWithBarrier>
__global__ void shift_kernel(float* data) {
  __shared__ float values[64];
  const int i = static_cast<int>(threadIdx.x);
  values[i] = data[i];
  __syncthreads();
  const float neighbour = values[(i + 1) % 64];  // FAULT shared_write_after_read
  if (kWithBarrier) __syncthreads();
  values[i] = neighbour;  // FAULT shared_write_after_read
  __syncthreads();
  data[i] = values[i];
}

template <bool kWithSync>
__global__ void warp_exchange_kernel(float* out) {
  __shared__ float values[32];
  const int i = static_cast<int>(threadIdx.x);
  values[i] = static_cast<float>(i);  // FAULT warp_race
  if (kWithSync) __syncwarp();
  out[i] = values[31 - i];  // FAULT warp_race
}

__global__ void shared_sum_kernel(int* out, bool atomically) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  if (atomically) {
    atomicAdd(&sum, 1);
  } else {
    sum += 1;  // FAULT shared_sum
  }
  __syncthreads();
  if (threadIdx.x == 0) out[0] = sum;
}

__global__ void global_race_kernel(int* out, bool own_element) {
  out[own_element ? blockIdx.x : 0] = static_cast<int>(blockIdx.x);  // FAULT global_race
}
__global__ void global_read_race_kernel(int* data, bool own_elements) {
  const unsigned n = gridDim.x;
  const unsigned from = own_elements ? blockIdx.x : n + (blockIdx.x + 1) % n;
  data[n + blockIdx.x] = data[from];  // FAULT global_read_race
}
__global__ void global_sum_kernel(int* out, bool atomically) {
  if (atomically) {
    atomicAdd(out, 1);
  } else {
    *out += 1;  // FAULT global_sum
  }
}

// NVIDIA's programming guide begins its atomicCAS loop with a plain read.
__global__ void cas_loop_kernel(int* maximum, bool atomically) {
  __shared__ int block_maximum;
  if (threadIdx.x == 0) block_maximum = 0;
  __syncthreads();
  const int value = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  int* targets[2] = {&block_maximum, maximum};
  for (int* target : targets) {
    int old = *target;  // FAULT cas_loop
    while (atomically && old < value) {
      const int assumed = old;
      old = atomicCAS(target, assumed, value);
      if (old == assumed) break;
    }
    if (!atomically && old < value) *target = value;  // FAULT cas_loop
  }
}

// Bytes of one word, written by different thread blocks: no race.
__global__ void bytes_kernel(std::int8_t* out) {
  out[blockIdx.x] = static_cast<std::int8_t>(blockIdx.x);
}

// The last thread block to finish adds up what all have written: ordered by the fence and the atomic.
template <bool kWithFence>
__global__ void last_block_kernel(float* partial, unsigned* n_finished, float* out) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = 1.0F;
    if (kWithFence) __threadfence();
    is_last = atomicAdd(n_finished, 1U) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last || threadIdx.x != 0) return;
  float sum = 0.0F;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += partial[i];  // FAULT last_block
  out[0] = sum;
}

// A lock between thread blocks: the fence makes the sum visible to the next owner.
template <bool kWithFence>
__global__ void lock_kernel(int* lock, int* sum) {
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  *sum += 1;  // FAULT lock
  if (kWithFence) __threadfence();
  atomicExch(lock, 0);
}

// ------------------------------------------------------------------------------------------- barriers

__global__ void early_return_kernel(float* out, int n) {
  __shared__ float values[64];
  const int i = static_cast<int>(threadIdx.x);
  if (i >= n) return;
  values[i] = 1.0F;
  __syncthreads();  // FAULT early_return
  out[i] = values[n - 1 - i];
}

__global__ void divergent_barrier_kernel(float* out, int split) {
  __shared__ float values[64];
  const int i = static_cast<int>(threadIdx.x);
  if (i < split) {
    values[i] = 1.0F;
    __syncthreads();  // FAULT divergent_barrier
  } else {
    values[i] = 2.0F;
    __syncthreads();  // FAULT divergent_barrier
  }
  out[i] = values[63 - i];
}

// ------------------------------------------------------------------------------------------- warp functions

__global__ void missing_lane_kernel(int* out, unsigned mask, int n) {
  const int lane = static_cast<int>(threadIdx.x);
  int value = lane;
  if (lane < n) value = __shfl_sync(mask, value, 0);  // FAULT missing_lane
  out[lane] = value;
  __syncthreads();
}

__global__ void returned_lane_kernel(int* out, int n) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane >= n) return;
  out[lane] = __shfl_down_sync(0xffffffffU, lane, 16);  // FAULT returned_lane
}

__global__ void own_lane_kernel(int* out, unsigned mask) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane % 2 == 0) out[lane] = __any_sync(mask, lane == 2);  // FAULT own_lane
}

__global__ void outside_mask_kernel(int* out, int source) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) out[lane] = __shfl_sync(0x0000ffffU, lane, source);  // FAULT outside_mask
}

__global__ void other_mask_kernel(int* out, unsigned low_mask) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned mask = lane < 16 ? low_mask : 0xffff0000U;
  out[lane] = static_cast<int>(__ballot_sync(mask, 1));  // FAULT other_mask
  __syncwarp();
}

__global__ void width_kernel(int* out, int width) {
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffU, static_cast<int>(threadIdx.x), 1, width);  // FAULT width
}

// ------------------------------------------------------------------------------------------- resources and
// time

__global__ void threads_kernel(int* out) {
  if (threadIdx.x == 0) out[0] = static_cast<int>(blockDim.x);
}
template <int kFloats>
__global__ void static_shared_kernel(float* out) {
  __shared__ float values[kFloats];
  values[threadIdx.x] = 1.0F;
  __syncthreads();
  out[threadIdx.x] = values[31 - threadIdx.x];
}

__global__ void endless_kernel(const volatile int* flag, int* out, long n) {
  long i = 0;
  while (*flag == 0 && i < n) ++i;  // FAULT endless
  out[0] = static_cast<int>(i);
}
__global__ void endless_without_memory_kernel(int* out, unsigned stop) {
  unsigned x = 1;
  while (x != stop) x = (x * 1664525U + 1013904223U) | 1U;  // FAULT endless_without_memory
  out[0] = static_cast<int>(x);
}

__global__ void divide_kernel(int* out, int divisor) {
  out[0] = 7 / divisor;  // FAULT divide
}

// Whichever touches the first page below the stack: it depends on where the stack began.
__device__ int recurse(int depth, volatile int* sink) {  // FAULT recursion
  volatile int frame[64];
  frame[depth % 64] = depth;  // FAULT recursion
  if (depth == 0) return *sink;
  const int below = recurse(depth - 1, sink);  // FAULT recursion
  return below + frame[depth % 64];
}
__global__ void recursion_kernel(int* out, int depth) {
  out[0] = recurse(depth, out);
}

__global__ void throwing_kernel(int* out, bool throws) {
  if (throws) throw std::runtime_error("no such thing on a device");
  out[0] = 1;
}

constexpr int kTable[4] = {1, 2, 3, 4};
__global__ void constant_kernel(int* out, int i, bool write) {
  if (write) {
    const_cast<volatile int*>(kTable)[i] = 5;  // FAULT constant_write
  } else {
    out[0] = kTable[i];
  }
}

// ------------------------------------------------------------------------------------------- the table

template <class Kernel, class... Arguments>
std::function<void()> with_output(Kernel kernel, kit::LaunchConfig config, Arguments... arguments) {
  return [=] {
    auto out = filled<std::remove_const_t<float>>(4096);
    kit::launch(kernel, config, reinterpret_cast<int*>(out.data()), arguments...);
  };
}
template <class Kernel, class... Arguments>
std::function<void()> with_floats(Kernel kernel, kit::LaunchConfig config, Arguments... arguments) {
  return [=] {
    auto out = filled<float>(4096);
    kit::launch(kernel, config, out.data(), arguments...);
  };
}

std::function<void()> tail(int guarded_n) {
  return [=] {
    kit::DeviceBuffer<float> out(1000);
    kit::launch(guard_kernel, {4, 256}, out.data(), 1000, guarded_n);
  };
}
std::function<void()> host_pointer(bool device) {
  return [=] {
    const std::vector<float> host(4, 1.0F);
    const kit::DeviceBuffer<float> copy{std::span<const float>(host)};
    kit::DeviceBuffer<float> out(1);
    kit::launch(host_pointer_kernel, {1, 1}, device ? copy.data() : host.data(), out.data());
  };
}
std::function<void()> freed(bool still_there) {
  return [=] {
    kit::DeviceBuffer<float> buffer = filled<float>(16);
    const float* pointer = buffer.data();
    if (!still_there) buffer = kit::DeviceBuffer<float>();
    kit::DeviceBuffer<float> out(1);
    kit::launch(read_kernel<float>, {1, 1}, pointer, out.data(), 0L);
  };
}
std::function<void()> uninitialised(long index) {
  return [=] {
    // 10 of 12 elements are filled by a kernel of their own.
    kit::DeviceBuffer<float> data(12);
    kit::launch(guard_kernel, {1, 32}, data.data(), 12, 10);
    kit::DeviceBuffer<float> out(1);
    kit::launch(read_kernel<float>, {1, 1}, data.data(), out.data(), index);
  };
}
std::function<void()> misaligned(int offset) {
  return [=] {
    const auto in = filled<float>(16);
    kit::DeviceBuffer<float> out(1);
    kit::launch(misaligned_kernel, {1, 1}, in.data(), out.data(), offset);
  };
}
std::function<void()> last_block(bool with_fence) {
  return [=] {
    kit::DeviceBuffer<float> partial(64);
    auto n_finished = filled<unsigned>(1);
    kit::DeviceBuffer<float> out(1);
    kit::launch(with_fence ? last_block_kernel<true> : last_block_kernel<false>, {64, 32}, partial.data(),
                n_finished.data(), out.data());
  };
}
std::function<void()> lock(bool with_fence) {
  return [=] {
    auto lock_word = filled<int>(1);
    auto sum = filled<int>(1);
    kit::launch(with_fence ? lock_kernel<true> : lock_kernel<false>, {64, 1}, lock_word.data(), sum.data());
  };
}
std::function<void()> endless(long n) {
  return [=] {
    const auto flag = filled<int>(1);
    kit::DeviceBuffer<int> out(1);
    kit::launch(endless_kernel, {1, 1}, static_cast<const volatile int*>(flag.data()), out.data(), n);
  };
}
__global__ void nesting_kernel(int* out, bool nests) {
  if (nests) {
    kit::launch(threads_kernel, {1, 1}, out);  // FAULT nested
  } else {
    out[0] = 1;
  }
}

void add_memory_cases(std::vector<Case>& cases) {
  add_width_cases<std::int8_t>(cases, "int8");
  add_width_cases<__half>(cases, "half");
  add_width_cases<float>(cases, "float");
  add_width_cases<float2>(cases, "float2");
  add_width_cases<float4>(cases, "float4");
  cases.push_back({"atomic", with_output(atomic_kernel, {1, 1}, 4096L),
                   with_output(atomic_kernel, {1, 1}, 4095L), "out-of-bounds atomic update of 4 bytes"});
  cases.push_back({"tail", tail(1024), tail(1000), "guard of the last, partial thread block"});
  cases.push_back({"host_pointer", host_pointer(false), host_pointer(true), "host memory"});
  cases.push_back({"read", freed(false), freed(true), "out-of-bounds read"});
  cases.push_back({"local_of_another", with_output(local_of_another_kernel, {1, 2}),
                   with_output(own_local_kernel, {1, 2}, 9), "local variables are their thread's own"});
  cases.push_back({"read", uninitialised(10), uninitialised(9), "uninitialised device memory"});
  cases.push_back(
      {"misaligned", misaligned(2), misaligned(4), "misaligned read of 16 bytes: the address is 8 past"});
  cases.push_back({"uninitialised_shared", with_floats(uninitialised_shared_kernel, {1, 64}, 63),
                   with_floats(uninitialised_shared_kernel, {1, 64}, 64), "uninitialised shared memory"});
  cases.push_back({"shared_past_end", with_floats(shared_past_end_kernel, {1, 32}, 32),
                   with_floats(shared_past_end_kernel, {1, 32}, 31),
                   "right behind the end of shared array values"});
  cases.push_back({"shared_past_end", with_floats(shared_past_end_kernel, {1, 32}, -1),
                   with_floats(shared_past_end_kernel, {1, 32}, 0), "4 bytes before shared array values"});
  cases.push_back({"array_bound", with_floats(array_bound_kernel, {1, 16}, 4),
                   with_floats(array_bound_kernel, {1, 16}, 3),
                   "index 4 is outside of an array of type 'float"});
  cases.push_back({"dynamic_shared", with_floats(dynamic_shared_kernel, {1, 32, 400}, 100, 100),
                   with_floats(dynamic_shared_kernel, {1, 32, 400}, 100, 99),
                   "dynamic shared array of 400 bytes"});
  cases.push_back({"dynamic_shared", with_floats(dynamic_shared_kernel, {1, 32, 400}, 100, -1),
                   with_floats(dynamic_shared_kernel, {1, 32, 400}, 100, 0), "4 bytes before the dynamic"});
  cases.push_back({"constant_write", with_output(constant_kernel, {1, 1}, 2, true),
                   with_output(constant_kernel, {1, 1}, 2, false), "constant memory"});
}

void add_race_cases(std::vector<Case>& cases) {
  cases.push_back({"shared_race", with_floats(neighbour_kernel<false>, {1, 64}),
                   with_floats(neighbour_kernel<true>, {1, 64}), "race on shared memory"});
  cases.push_back({"shared_write_after_read", with_floats(shift_kernel<false>, {1, 64}),
                   with_floats(shift_kernel<true>, {1, 64}), "race on shared memory"});
  cases.push_back({"warp_race", with_floats(warp_exchange_kernel<false>, {1, 32}),
                   with_floats(warp_exchange_kernel<true>, {1, 32}), "__syncwarp() within a warp"});
  cases.push_back({"shared_sum", with_output(shared_sum_kernel, {1, 64}, false),
                   with_output(shared_sum_kernel, {1, 64}, true), "race on shared memory"});
  cases.push_back({"global_race", with_output(global_race_kernel, {64, 1}, false),
                   with_output(global_race_kernel, {64, 1}, true), "race on device memory"});
  cases.push_back({"global_read_race", with_output(global_read_race_kernel, {64, 1}, false),
                   with_output(global_read_race_kernel, {64, 1}, true), "race on device memory"});
  cases.push_back({"global_sum", with_output(global_sum_kernel, {64, 1}, false),
                   with_output(global_sum_kernel, {64, 1}, true), "use an atomic"});
  cases.push_back({"cas_loop", with_output(cas_loop_kernel, {4, 64}, false),
                   with_output(cas_loop_kernel, {4, 64}, true), "race on "});
  cases.push_back({"last_block", last_block(false), last_block(true), "race on device memory"});
  cases.push_back({"lock", lock(false), lock(true), "race on device memory"});
  cases.push_back({"global_race", with_output(global_race_kernel, {2, 1}, false),
                   [] {
                     kit::DeviceBuffer<std::int8_t> out(64);
                     kit::launch(bytes_kernel, {64, 1}, out.data());
                   },
                   "race on device memory"});
}

void add_scheduling_cases(std::vector<Case>& cases) {
  cases.push_back({"early_return", with_floats(early_return_kernel, {1, 64}, 40),
                   with_floats(early_return_kernel, {1, 64}, 64), "24 threads of the block returned"});
  cases.push_back({"divergent_barrier", with_floats(divergent_barrier_kernel, {1, 64}, 20),
                   with_floats(divergent_barrier_kernel, {1, 64}, 64), "divergent __syncthreads()"});
  cases.push_back({"missing_lane", with_output(missing_lane_kernel, {1, 32}, 0xffffffffU, 16),
                   with_output(missing_lane_kernel, {1, 32}, 0x0000ffffU, 16), "waits for lanes 16-31"});
  cases.push_back({"returned_lane", with_output(returned_lane_kernel, {1, 32}, 20),
                   with_output(returned_lane_kernel, {1, 32}, 32), "which has returned"});
  cases.push_back({"own_lane", with_output(own_lane_kernel, {1, 32}, 0xaaaaaaaaU),
                   with_output(own_lane_kernel, {1, 32}, 0x55555555U), "leaves out its own lane"});
  cases.push_back({"outside_mask", with_output(outside_mask_kernel, {1, 32}, 20),
                   with_output(outside_mask_kernel, {1, 32}, 15), "shuffle from lane 20"});
  cases.push_back({"other_mask", with_output(other_mask_kernel, {1, 32}, 0xffffffffU),
                   with_output(other_mask_kernel, {1, 32}, 0x0000ffffU), "make another call"});
  cases.push_back({"width", with_output(width_kernel, {1, 32}, 12), with_output(width_kernel, {1, 32}, 16),
                   "shuffle with width 12"});
  cases.push_back({"endless", endless(INT64_MAX), endless(1000), "did not end within"});
  cases.push_back({"endless_without_memory", with_output(endless_without_memory_kernel, {1, 1}, 2U),
                   with_output(endless_without_memory_kernel, {1, 1}, 1U), "did not end within"});
  cases.push_back({"divide", with_output(divide_kernel, {1, 1}, 0), with_output(divide_kernel, {1, 1}, 2),
                   "division by zero"});
  cases.push_back({"recursion", with_output(recursion_kernel, {1, 1}, 1'000'000),
                   with_output(recursion_kernel, {1, 1}, 100), "stack overflow"});
  cases.push_back({"", with_output(throwing_kernel, {1, 1}, true),
                   with_output(throwing_kernel, {1, 1}, false), "no such thing on a device"});
  cases.push_back({"nested", with_output(nesting_kernel, {1, 1}, true),
                   with_output(nesting_kernel, {1, 1}, false), "launches another kernel"});
}

void add_resource_cases(std::vector<Case>& cases) {
  constexpr std::size_t kMax = 163 * 1024;  // of an A100
  cases.push_back({"config", with_output(threads_kernel, {1, 1025}), with_output(threads_kernel, {1, 1024}),
                   "at most (1024, 1024, 64)"});
  cases.push_back({"config", with_output(threads_kernel, {1, dim3(32, 33)}),
                   with_output(threads_kernel, {1, dim3(32, 32)}), "thread blocks of 1056 threads"});
  cases.push_back({"config", with_output(threads_kernel, {0, 32}), with_output(threads_kernel, {1, 32}),
                   "a grid of (0, 1, 1)"});
  cases.push_back({"config", with_output(threads_kernel, {1, 32, kMax + 1}),
                   with_output(threads_kernel, {1, 32, kMax}), "a100-80gb allows 166912"});
  cases.push_back({"config", with_floats(static_shared_kernel<12289>, {1, 32}),
                   with_floats(static_shared_kernel<12288>, {1, 32}), "49156 bytes of __shared__ arrays"});
}

}  // namespace

std::vector<Case> cases() {
  std::vector<Case> all;
  add_memory_cases(all);
  add_race_cases(all);
  add_scheduling_cases(all);
  add_resource_cases(all);
  return all;
}

}  // namespace faults
