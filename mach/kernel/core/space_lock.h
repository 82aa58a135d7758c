// The lock of a space. Whoever changes the space takes it whole; whoever only looks a name up takes
// a part of it, so that threads that send to and receive from unrelated ports do not meet here.
#pragma once

#include <array>

#include "kedge/mach/kernel/core/shard_of_stack.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class space_lock {
 public:
  void lock() noexcept {
    if (base::one_thread()) return;
    for (part& each : parts_) each.lock.lock();
    taken_ = true;
  }
  void unlock() noexcept {
    if (!taken_) return;  // there was one thread
    taken_ = false;
    for (part& each : parts_) each.lock.unlock();
  }

  // The part for a thread, of which `own` is an address on the stack. Nothing may be changed under
  // it.
  base::mutex& part_near(const void* own) noexcept { return parts_[shard_of_stack(own)].lock; }

 private:
  struct alignas(64) part {  // a cache line each
    base::mutex lock;
  };
  std::array<part, stack_shards> parts_;
  bool taken_ = false;
};

}  // namespace kedge::mach::kernel
