// new_frames: takes each frame of a coroutine from operator new while it lives, so that allocations
// of frames fail and are counted like others.
#pragma once

#include <cstddef>
#include <new>

#include "kedge/runtime/awaiting/frame_recycler.h"

namespace kedge::net {

class new_frames final : public frame_resource {
 public:
  new_frames() { frame_recycler::use(this); }
  new_frames(const new_frames&) = delete;
  new_frames& operator=(const new_frames&) = delete;
  ~new_frames() { frame_recycler::use(nullptr); }

  void* allocate(std::size_t size) override { return ::operator new(size); }
  void release(void* block, std::size_t) noexcept override { ::operator delete(block); }
};

}  // namespace kedge::net
