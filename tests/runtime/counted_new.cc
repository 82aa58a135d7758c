// The global operators new and delete, which count in counted_new.h.
#include "counted_new.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#if KEDGE_COUNTED_NEW
namespace {

// Each block has its size in front.
constexpr std::size_t front = alignof(std::max_align_t);

// Returns null if there is no memory, or if this allocation is to fail.
void* allocate(std::size_t size) noexcept {
  ++kedge::allocated;
  if (kedge::until_failure >= 0 && kedge::until_failure-- == 0) return nullptr;
  if (size > PTRDIFF_MAX - front) return nullptr;
  auto* const block = static_cast<std::byte*>(std::malloc(front + size));
  if (block == nullptr) return nullptr;
  *reinterpret_cast<std::size_t*>(block) = size;
  kedge::live_bytes += static_cast<long>(size);
  return block + front;
}
void release(void* memory) noexcept {
  ++kedge::freed;
  if (memory == nullptr) return;
  auto* const block = static_cast<std::byte*>(memory) - front;
  kedge::live_bytes -= static_cast<long>(*reinterpret_cast<std::size_t*>(block));
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* block = allocate(size)) return block;
  throw std::bad_alloc();
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
#endif
