// counted_new: the global operator new and delete, counting. To be included by one source of a
// test.
//
// Not under ThreadSanitizer, whose runtime brings these operators itself: nothing is counted there.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_THREAD__)
#define KEDGE_COUNTED_NEW 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_COUNTED_NEW 0
#endif
#endif
#ifndef KEDGE_COUNTED_NEW
#define KEDGE_COUNTED_NEW 1
#endif

namespace kedge {

// Of the calling thread.
inline thread_local long allocated = 0;
inline thread_local long freed = 0;

}  // namespace kedge

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
