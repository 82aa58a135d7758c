// frame_recycler: memory for coroutine frames and child records. Keeps released blocks, by size,
// for the next allocation.
//
// In the steady state a task costs no call to malloc. Each thread keeps at most 1,024 blocks of
// each size class; larger blocks than 2 KiB come from the global operator new. Under
// AddressSanitizer a kept block is poisoned, so that a use after free is found as without
// recycling.
//
// Threads: any thread may release any block, which then belongs to that thread's cache.
#pragma once

#include <cstddef>

namespace kedge {

class frame_recycler {
 public:
  // Returns a block of at least `size` bytes (not 0), aligned for every type of fundamental
  // alignment. Throws std::bad_alloc.
  static void* allocate(std::size_t size);
  // Releases a block that allocate(size) returned.
  static void release(void* block, std::size_t size) noexcept;
};

}  // namespace kedge
