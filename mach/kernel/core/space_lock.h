// space_lock: the lock of a space. A thread that changes the space takes all of it. A thread that
// only looks a name up takes one shard, so that threads that send to and receive from unrelated
// ports do not contend.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

inline constexpr std::size_t stack_shards = 4;

// Picks a shard for the calling thread from an address on its stack. The core has no thread ids,
// and a stack address is close enough: nearly all addresses of a stack give the same shard. Stacks
// are 8 MiB, one behind the other, unless a thread asks for less.
inline std::size_t shard_of_stack(const void* on_stack) noexcept {
  constexpr unsigned stack_bits = 23;
  return (reinterpret_cast<std::uintptr_t>(on_stack) >> stack_bits) % stack_shards;
}

// A Lockable: lock() takes all shards.
class space_lock {
 public:
  void lock() noexcept {
    if (base::one_thread()) return;
    for (shard& each : shards_) each.lock.lock();
    taken_ = true;
  }
  void unlock() noexcept {
    if (!taken_) return;  // the process had one thread
    taken_ = false;
    for (shard& each : shards_) each.lock.unlock();
  }

  // The shard of the calling thread, for looking names up: nothing may be changed under it.
  base::mutex& shard_near(const void* on_stack) noexcept {
    return shards_[shard_of_stack(on_stack)].lock;
  }

 private:
  struct alignas(64) shard {  // a cache line each
    base::mutex lock;
  };
  std::array<shard, stack_shards> shards_;
  bool taken_ = false;
};

}  // namespace kedge::mach::kernel
