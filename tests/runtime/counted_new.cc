// The global operators new and delete, which count in counted_new.h.
#include "counted_new.h"

#include <cstddef>
#include <cstdlib>
#include <new>

#if KEDGE_COUNTED_NEW
namespace {

// Returns null if there is no memory, or if this allocation is to fail.
void* allocate(std::size_t size) noexcept {
  ++kedge::allocated;
  if (kedge::until_failure >= 0 && kedge::until_failure-- == 0) return nullptr;
  return std::malloc(size != 0 ? size : 1);
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
  ++kedge::freed;
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept {
  ++kedge::freed;
  std::free(block);
}
#endif
