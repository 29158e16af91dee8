#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kit/simt/atomics.h"
#include "kit/simt/vector_types.h"
#include "worker.h"

/// What compiled kernels call. The compiler puts __tsan_read4(address) before each load of a file that is
/// compiled with -fsanitize=thread; the sanitizer's own runtime is not linked, so these functions answer.
/// Host code of the same files calls them too, and pays a load and a branch.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

#define KIT_CODE_ADDRESS (reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1)

namespace {

using kit::simt::Access;
using kit::simt::detail::current_tracer;
using kit::simt::detail::Tracer;

template <int width, Access access>
inline void on_access(const void* address, std::uintptr_t code_address) {
  Tracer* tracer = current_tracer;
  if (tracer == nullptr) [[likely]]
    return;
  tracer->on_access<width, access>(reinterpret_cast<std::uintptr_t>(address), code_address);
}

// A copy of a plain struct; a GPU moves it by the widest pieces that its alignment allows, four bytes as a
// rule.
template <Access access>
void on_range(const void* address, std::size_t n_bytes, std::uintptr_t code_address) {
  if (current_tracer == nullptr) return;
  const auto* bytes = static_cast<const char*>(address);
  for (std::size_t i = 0; i < n_bytes;) {
    const bool word = reinterpret_cast<std::uintptr_t>(bytes + i) % 4 == 0 && n_bytes - i >= 4;
    if (word) {
      on_access<4, access>(bytes + i, code_address);
    } else {
      on_access<1, access>(bytes + i, code_address);
    }
    i += word ? 4 : 1;
  }
}

}  // namespace

extern "C" {

#define KIT_HOOK(name, width, access)                            \
  void name(void* address);                                      \
  void name(void* address) {                                     \
    on_access<width, Access::access>(address, KIT_CODE_ADDRESS); \
  }
#define KIT_HOOKS(width)                                        \
  KIT_HOOK(__tsan_read##width, width, kLoad)                    \
  KIT_HOOK(__tsan_write##width, width, kStore)                  \
  KIT_HOOK(__tsan_unaligned_read##width, width, kLoad)          \
  KIT_HOOK(__tsan_unaligned_write##width, width, kStore)        \
  KIT_HOOK(__tsan_volatile_read##width, width, kLoad)           \
  KIT_HOOK(__tsan_volatile_write##width, width, kStore)         \
  KIT_HOOK(__tsan_unaligned_volatile_read##width, width, kLoad) \
  KIT_HOOK(__tsan_unaligned_volatile_write##width, width, kStore)
KIT_HOOKS(1)
KIT_HOOKS(2)
KIT_HOOKS(4)
KIT_HOOKS(8)
KIT_HOOKS(16)

void __tsan_read_range(void* address, std::size_t n_bytes);
void __tsan_read_range(void* address, std::size_t n_bytes) {
  on_range<Access::kLoad>(address, n_bytes, KIT_CODE_ADDRESS);
}
void __tsan_write_range(void* address, std::size_t n_bytes);
void __tsan_write_range(void* address, std::size_t n_bytes) {
  on_range<Access::kStore>(address, n_bytes, KIT_CODE_ADDRESS);
}
void* __tsan_memcpy(void* to, const void* from, std::size_t n_bytes);
void* __tsan_memcpy(void* to, const void* from, std::size_t n_bytes) {
  on_range<Access::kLoad>(from, n_bytes, KIT_CODE_ADDRESS);
  on_range<Access::kStore>(to, n_bytes, KIT_CODE_ADDRESS);
  return std::memcpy(to, from, n_bytes);
}
void* __tsan_memmove(void* to, const void* from, std::size_t n_bytes);
void* __tsan_memmove(void* to, const void* from, std::size_t n_bytes) {
  on_range<Access::kLoad>(from, n_bytes, KIT_CODE_ADDRESS);
  on_range<Access::kStore>(to, n_bytes, KIT_CODE_ADDRESS);
  return std::memmove(to, from, n_bytes);
}
void* __tsan_memset(void* to, int value, std::size_t n_bytes);
void* __tsan_memset(void* to, int value, std::size_t n_bytes) {
  on_range<Access::kStore>(to, n_bytes, KIT_CODE_ADDRESS);
  return std::memset(to, value, n_bytes);
}

void __tsan_init();
void __tsan_init() {}
void __tsan_func_entry(void* caller);
void __tsan_func_entry(void* /*caller*/) {}
void __tsan_func_exit();
void __tsan_func_exit() {}
void __tsan_vptr_update(void** vptr, void* value);
void __tsan_vptr_update(void** /*vptr*/, void* /*value*/) {}
void __tsan_vptr_read(void** vptr);
void __tsan_vptr_read(void** /*vptr*/) {}

// The vector types' copies: one access of the full width on either side.
#define KIT_COPY(width)                                        \
  void kit_simt_copy##width(void* to, const void* from) {      \
    if (current_tracer != nullptr) {                           \
      on_access<width, Access::kLoad>(from, KIT_CODE_ADDRESS); \
      on_access<width, Access::kStore>(to, KIT_CODE_ADDRESS);  \
    }                                                          \
    std::memcpy(to, from, width);                              \
  }
KIT_COPY(4)
KIT_COPY(8)
KIT_COPY(16)

// -fsanitize=bounds: an index beyond the declared bound of an array, even where the memory behind belongs to
// another part of the same array.
struct UbsanType {
  std::uint16_t kind;
  std::uint16_t info;
  char name[1];  // the type's name in quotes, zero-terminated
};
struct UbsanOutOfBounds {
  const char* file;
  std::uint32_t line;
  std::uint32_t column;
  const UbsanType* array_type;
  const UbsanType* index_type;
};
void __ubsan_handle_out_of_bounds(UbsanOutOfBounds* data, void* index);
}

namespace kit::simt::detail {

namespace {

template <class T>
T apply(AtomicOp op, T* address, T operand) {
  std::atomic_ref<T> cell(*address);
  if constexpr (std::is_floating_point_v<T>) {
    if (op == AtomicOp::kExchange) return cell.exchange(operand);
    return cell.fetch_add(operand);
  } else {
    switch (op) {
      case AtomicOp::kAdd:
        return cell.fetch_add(operand);
      case AtomicOp::kExchange:
        return cell.exchange(operand);
      case AtomicOp::kAnd:
        return cell.fetch_and(operand);
      case AtomicOp::kOr:
        return cell.fetch_or(operand);
      case AtomicOp::kXor:
        return cell.fetch_xor(operand);
      default:
        break;
    }
    T old = cell.load();
    const auto changed = [&](T value) -> T {
      if (op == AtomicOp::kMin) return operand < value ? operand : value;
      if (op == AtomicOp::kMax) return value < operand ? operand : value;
      return value >= operand ? T{0} : static_cast<T>(value + 1);
    };
    while (!cell.compare_exchange_weak(old, changed(old))) {
    }
    return old;
  }
}

template <int width>
inline void before_atomic(const void* address, std::uintptr_t code_address) {
  Tracer* tracer = current_tracer;
  if (tracer == nullptr) return;
  tracer->on_access<width, Access::kAtomic>(reinterpret_cast<std::uintptr_t>(address), code_address);
  tracer->note_release();
}

inline void after_atomic() {
  if (current_tracer != nullptr) current_tracer->note_acquire();
}

}  // namespace

template <class T>
T atomic(AtomicOp op, T* address, T operand) {
  before_atomic<sizeof(T)>(address, KIT_CODE_ADDRESS);
  const T old = apply(op, address, operand);
  after_atomic();
  return old;
}
template <class T>
T atomic_compare_and_swap(T* address, T expected, T desired) {
  before_atomic<sizeof(T)>(address, KIT_CODE_ADDRESS);
  std::atomic_ref<T>(*address).compare_exchange_strong(expected, desired);
  after_atomic();
  return expected;
}

template int atomic(AtomicOp, int*, int);
template unsigned atomic(AtomicOp, unsigned*, unsigned);
template unsigned long long atomic(AtomicOp, unsigned long long*, unsigned long long);
template float atomic(AtomicOp, float*, float);
template double atomic(AtomicOp, double*, double);
template int atomic_compare_and_swap(int*, int, int);
template unsigned atomic_compare_and_swap(unsigned*, unsigned, unsigned);
template unsigned long long atomic_compare_and_swap(unsigned long long*, unsigned long long,
                                                    unsigned long long);

void* dynamic_shared() {
  return current_worker->dynamic_shared();
}
void sync_threads() {
  current_worker->wait_at_barrier(KIT_CODE_ADDRESS, 0);
}
int sync_threads_count(int predicate) {
  return current_worker->wait_at_barrier(KIT_CODE_ADDRESS, predicate);
}
void sync_warp(unsigned mask) {
  current_worker->wait_at_collective(WarpOp::kSync, mask, 0, 0, 32, KIT_CODE_ADDRESS);
}
void thread_fence() {
  if (current_tracer != nullptr) current_tracer->note_fence();
}
std::uint64_t warp_collective(WarpOp op, unsigned mask, std::uint64_t value, int argument, int width) {
  return current_worker->wait_at_collective(op, mask, value, argument, width, KIT_CODE_ADDRESS);
}

}  // namespace kit::simt::detail

void __ubsan_handle_out_of_bounds(UbsanOutOfBounds* data, void* index) {
  using namespace kit::simt::detail;  // NOLINT(google-build-using-namespace): inside one function
  const auto value = reinterpret_cast<std::intptr_t>(index);
  if (current_worker == nullptr || !current_worker->runs_kernel()) {
    // Host code of a .cu file: end as the sanitizer would.
    std::fprintf(stderr, "%s:%u:%u: index %td is out of bounds of %s\n", data->file, data->line, data->column,
                 value, data->array_type->name);
    std::abort();
  }
  Fault fault{.kind = FaultKind::kIndexOutOfBounds, .code_address = KIT_CODE_ADDRESS};
  fault.value = value;
  std::strncpy(fault.text.data(), data->array_type->name, fault.text.size() - 1);
  current_worker->fail(fault);
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
