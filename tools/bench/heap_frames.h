// heap_frames: while it lives, frames of coroutines are taken from the heap. For benchmarks that
// count bytes: the recycler keeps what an earlier run has released.
#pragma once

#include <cstddef>
#include <new>

#include "kedge/runtime/awaiting/frame_recycler.h"

class heap_frames final : private kedge::frame_resource {
 public:
  heap_frames() { kedge::frame_recycler::use(this); }
  heap_frames(const heap_frames&) = delete;
  heap_frames& operator=(const heap_frames&) = delete;
  ~heap_frames() { kedge::frame_recycler::use(nullptr); }

 private:
  void* allocate(std::size_t size) override { return ::operator new(size); }
  void release(void* block, std::size_t) noexcept override { ::operator delete(block); }
};
