// The global operators new and delete, which count in counted_new.h.
#include "counted_new.h"

#include <cstddef>
#include <cstdlib>
#include <new>

#if KEDGE_COUNTED_NEW
void* operator new(std::size_t size) {
  ++kedge::allocated;
  if (void* block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++kedge::allocated;
  return std::malloc(size);
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
