// malloc() and its like: those of the C library, but in a process with a heap of its own, which
// they take from. operator new takes from malloc().
//
// The sanitizers have a malloc() of their own: with them the processes share the program's heap.
#include "kedge/tools/harness/process_heap.h"

#include "kedge/tools/harness/sanitizers.h"

#if !defined(__APPLE__) && !defined(KEDGE_HARNESS_ASAN) && !defined(KEDGE_HARNESS_TSAN)

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <bit>
#include <cstring>

#include "kedge/runtime/base/outside_heap.h"
#include "kedge/tools/harness/libc_call.h"

extern "C" {
int __cxa_atexit(void (*run)(void*), void* object, void* library) noexcept;
int __cxa_thread_atexit_impl(void (*run)(void*), void* object, void* library) noexcept;
std::size_t malloc_usable_size(void* block) noexcept;
}

using kedge::base::outside_heap;
using kedge::harness::next_of;
using kedge::harness::process_heap;

extern "C" {

// The C library's, by the names that it has for programs that define malloc().
void* __libc_malloc(std::size_t size);
void __libc_free(void* block);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

namespace {

void* or_no_memory(void* block) noexcept {
  if (block == nullptr) errno = ENOMEM;
  return block;
}

}  // namespace

void* malloc(std::size_t size) noexcept {
  process_heap* const heap = process_heap::current();
  return heap == nullptr ? __libc_malloc(size) : or_no_memory(heap->allocate(size));
}

void free(void* block) noexcept {
  process_heap::holds(block) ? process_heap::release(block) : __libc_free(block);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
  process_heap* const heap = process_heap::current();
  if (heap == nullptr) return __libc_calloc(count, size);
  std::size_t bytes = 0;
  void* const block = __builtin_mul_overflow(count, size, &bytes) ? nullptr : heap->allocate(bytes);
  return block != nullptr ? std::memset(block, 0, bytes) : or_no_memory(nullptr);
}

void* realloc(void* block, std::size_t size) noexcept {
  if (block == nullptr) return malloc(size);
  if (!process_heap::holds(block)) {
    // It is the program's, and stays there.
    return __libc_realloc(block, size);
  }
  const std::size_t room = process_heap::room_of(block);
  if (size <= room && size != 0) return block;
  void* const larger = size == 0 ? nullptr : malloc(size);
  if (larger == nullptr && size != 0) return nullptr;
  if (larger != nullptr) std::memcpy(larger, block, room);
  free(block);
  return larger;
}

void* memalign(std::size_t alignment, std::size_t size) noexcept {
  process_heap* const heap = process_heap::current();
  if (heap == nullptr) return __libc_memalign(alignment, size);
  return or_no_memory(heap->allocate(size, std::bit_ceil(alignment)));
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return memalign(alignment, size);
}

int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  if (!std::has_single_bit(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  const int error = errno;
  void* const made = memalign(alignment, size);
  errno = error;
  if (made == nullptr) return ENOMEM;
  *block = made;
  return 0;
}

std::size_t malloc_usable_size(void* block) noexcept {
  if (process_heap::holds(block)) return process_heap::room_of(block);
  static auto* const next = next_of<decltype(::malloc_usable_size)>("malloc_usable_size");
  return next(block);
}

// What the C library keeps beyond the process: its list of streams.

// Its lists of destructors of static and thread_local variables.
int __cxa_atexit(void (*run)(void*), void* object, void* library) noexcept {
  static auto* const next = next_of<decltype(::__cxa_atexit)>("__cxa_atexit");
  const outside_heap kept;
  return next(run, object, library);
}

int __cxa_thread_atexit_impl(void (*run)(void*), void* object, void* library) noexcept {
  static auto* const next =
      next_of<decltype(::__cxa_thread_atexit_impl)>("__cxa_thread_atexit_impl");
  const outside_heap kept;
  return next(run, object, library);
}

FILE* fopen(const char* __restrict path, const char* __restrict mode) {
  static auto* const next = next_of<decltype(::fopen)>("fopen");
  const outside_heap kept;
  return next(path, mode);
}

FILE* fdopen(int fd, const char* mode) noexcept {
  static auto* const next = next_of<decltype(::fdopen)>("fdopen");
  const outside_heap kept;
  return next(fd, mode);
}

}  // extern "C"

#endif
