// frame_recycler: memory for coroutine frames and child records. Keeps released blocks, by size,
// for the next allocation.
//
// In the steady state a task costs no call to malloc, and an allocation some ten instructions.
// Blocks of up to 2 KiB, in steps of 16 bytes, are cut from slabs of 64 KiB. Each thread keeps at
// most 1 MiB of released blocks; the rest goes to a pool of the process, from which every thread
// takes. Slabs are never returned to the system, so the process keeps as much as it once needed.
// Larger blocks come from the global operator new. In a library that is compiled with
// AddressSanitizer no thread keeps blocks, and those in the pool are poisoned, so that a use after
// free is found as without recycling.
//
// While an observer may make allocations fail (observer.h), the thread keeps no blocks, and each
// allocation asks. This costs nothing otherwise: an empty cache takes the slow path.
//
// Threads: any thread may release any block, which then belongs to that thread's cache.
#pragma once

#include <cstddef>

namespace kedge {

// A source of memory in place of the recycler's.
class frame_resource {
 public:
  // As operator new and operator delete. `size` is not 0, and is the same in both calls.
  virtual void* allocate(std::size_t size) = 0;
  virtual void release(void* block, std::size_t size) noexcept = 0;

 protected:
  frame_resource() = default;
  ~frame_resource() = default;
};

class frame_recycler {
 public:
  // Returns a block of at least `size` bytes (not 0), aligned for every type of fundamental
  // alignment. Throws std::bad_alloc.
  static void* allocate(std::size_t size) {
    const std::size_t index = class_of(size);
    if (index < classes) {
      cache& own = of_thread;
      if (block* const b = own.free[index]) {
        own.free[index] = b->next;
        own.room += bytes_of(index);
        return b;
      }
    }
    return allocate_slowly(size);
  }
  // Releases a block that allocate(size) returned.
  static void release(void* memory, std::size_t size) noexcept {
    const std::size_t index = class_of(size);
    if (index < classes) {
      cache& own = of_thread;
      if ((own.room -= bytes_of(index)) >= 0) {
        own.free[index] = new (memory) block{own.free[index]};
        return;
      }
    }
    release_slowly(memory, size);
  }

  // Makes the calling thread take its blocks from `r` instead, or from the recycler again if `r` is
  // null. Requires that every block the thread will release was allocated after this call. `r` must
  // outlive these blocks.
  static void use(frame_resource* r) noexcept;

  // Empties the calling thread's cache, and lets it keep blocks again if it may.
  static void reopen_cache() noexcept;

 private:
  struct block {
    static void* operator new(std::size_t, void* at) noexcept { return at; }
    block* next;
  };
  static constexpr std::size_t granule = 16;
  static constexpr std::size_t classes = 128;
  struct cache {
    std::ptrdiff_t room;  // bytes that may be kept in addition
    block* free[classes];
  };
  struct thread_end;
  struct pool;

  static std::size_t class_of(std::size_t size) noexcept { return (size - 1) / granule; }
  static std::ptrdiff_t bytes_of(std::size_t index) noexcept {
    return static_cast<std::ptrdiff_t>((index + 1) * granule);
  }
  static void* allocate_slowly(std::size_t size);
  static void release_slowly(void* memory, std::size_t size) noexcept;
  static bool recycles() noexcept;
  static bool open_cache() noexcept;
  static void empty_cache() noexcept;

  // Without a constructor or destructor, so that an access costs no check. It has no room before
  // the thread's first slow call.
  static constinit thread_local cache of_thread;
  static constinit thread_local frame_resource* resource;
};

}  // namespace kedge
