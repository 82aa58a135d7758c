// Memory for coroutine frames and child records: freed blocks are kept, by size, for the next one.
//
// In the steady state a task costs no call to malloc. Each thread keeps its own blocks, a bounded
// number per size; any thread may release any block. Blocks beyond the largest size go to
// the global operator new. Under AddressSanitizer a kept block is poisoned, so that use after free
// is found as without recycling.
#pragma once

#include <cstddef>

namespace kedge {

class frame_recycler {
 public:
  // Throws std::bad_alloc. Aligned for any type of fundamental alignment.
  static void* allocate(std::size_t size);
  // `size` as it was given to allocate().
  static void release(void* block, std::size_t size) noexcept;
};

}  // namespace kedge
