// allocations: global operators new and delete that count calls and bytes.
#include "allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__APPLE__)
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

namespace {

std::atomic<std::uint64_t> count{0}, in_use{0}, peak{0};

std::size_t size_of(void* block) noexcept {
#if defined(__APPLE__)
  return malloc_size(block);
#else
  return block ? malloc_usable_size(block) + sizeof(std::size_t) : 0;
#endif
}

void* counted(void* block) noexcept {
  count.fetch_add(1, std::memory_order_relaxed);
  const std::size_t size = size_of(block);
  const std::uint64_t now = in_use.fetch_add(size, std::memory_order_relaxed) + size;
  std::uint64_t most = peak.load(std::memory_order_relaxed);
  while (most < now && !peak.compare_exchange_weak(most, now, std::memory_order_relaxed)) continue;
  return block;
}
void* allocate(std::size_t size) noexcept {
  return counted(std::malloc(size != 0 ? size : 1));
}
void* allocate(std::size_t size, std::align_val_t alignment) noexcept {
  const auto a = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(a, (size + a - 1) / a * a));
}
void release(void* block) noexcept {
  in_use.fetch_sub(size_of(block), std::memory_order_relaxed);
  std::free(block);
}
void* or_throw(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

std::uint64_t allocations() noexcept {
  return count.load(std::memory_order_relaxed);
}
std::uint64_t peak_bytes() noexcept {
  return peak.load(std::memory_order_relaxed);
}
std::uint64_t start_peak() noexcept {
  const std::uint64_t now = in_use.load(std::memory_order_relaxed);
  peak.store(now, std::memory_order_relaxed);
  return now;
}

void* operator new(std::size_t size) {
  return or_throw(allocate(size));
}
void* operator new(std::size_t size, std::align_val_t a) {
  return or_throw(allocate(size, a));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* block) noexcept {
  release(block);
}
void operator delete(void* block, std::size_t) noexcept {
  release(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
  release(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  release(block);
}
void operator delete(void* block, const std::nothrow_t&) noexcept {
  release(block);
}
